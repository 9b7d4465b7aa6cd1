"""Which figures of probes a report has and what they are called, for it and for the rules."""

from typing import Any

Json = dict[str, Any]


def file_name(encoder: str, benchmark: str) -> str:
    """`ucm-mae@200` on `ucm` → `ucm-mae-at-200_ucm`."""
    return f"{encoder.replace('@', '-at-')}_{benchmark}"


def is_along(entry: Json, probes: list[Json]) -> bool:
    """Whether an entry is a step of a run that the same benchmark judges at its end.

    Such a step is a point in a curve and has no other figures of its own.
    """
    return entry["step"] is not None and any(
        other["benchmark"] == entry["benchmark"] and other["encoder"] == entry["run"]
        for other in probes
    )


def runs_along(probes: list[Json]) -> list[tuple[str, str]]:
    """(run, benchmark) of each curve over the steps of a run."""
    pairs = [(p["run"], p["benchmark"]) for p in probes if p["step"] is not None]
    return list(dict.fromkeys(pairs))


def probe_figures(probes: list[Json]) -> list[str]:
    """Names, without `.svg`, of the figures of probes.

    Args:
        probes: As in the report's recipe: `encoder`, `run`, `step`, `benchmark`, and `features` if
            its features were probed.
    """
    names = [f"accuracy_{name}" for name in dict.fromkeys(p["benchmark"] for p in probes)]
    for entry in probes:
        if not is_along(entry, probes):
            kinds = ("probe", "mistakes", "embedding") if entry["features"] else ("probe",)
            name = file_name(entry["encoder"], entry["benchmark"])
            names += [f"{kind}_{name}" for kind in kinds]
    return names + [f"along_{run}_{benchmark}" for run, benchmark in runs_along(probes)]
