"""Which figures and tables a report has and what they are called, for it and for the rules."""

from typing import Any

from workflow_scripts.report import study_names

Json = dict[str, Any]


def file_name(encoder: str, benchmark: str) -> str:
    """`ucm-mae@200` on `ucm` → `ucm-mae-at-200_ucm`."""
    return f"{encoder.replace('@', '-at-')}_{benchmark}"


def figures(shown: Json) -> dict[str, list[str]]:
    """Names, without an ending, of all figures but that of the jobs, by category.

    Args:
        shown: The report's recipe, or what `report_recipe.shown` gives of it.
    """
    corpora, runs = shown["corpora"], shown["runs"]
    data = [f"data_{corpus['name']}" for corpus in corpora]
    for corpus in corpora:
        if corpus["kind"] == "chips":
            kinds = ("map", "bands", "dropped") if corpus["cut_from"] else ("map", "bands")
            data += [f"{kind}_{corpus['name']}" for kind in kinds]
    return {
        "Data": data,
        "Runs": [*study_names.together_figures(shown), *(f"run_{run['name']}" for run in runs)],
        "Reconstructions": [
            f"reconstruction_{run['name']}" for run in runs if run["objective"] != "supervised"
        ],
        "Probes": probe_figures(shown["probes"]),
        "Scaling": study_names.study_figures(shown),
        "Plans": study_names.plan_figures(shown),
        "Energy": [f"power_{run['name']}" for run in runs]
        + (["energy_accuracy"] if ends_of_runs(shown["probes"]) else []),
    }


def tables(shown: Json) -> list[str]:
    """Names, without an ending, of all tables.

    Args:
        shown: As of `figures`.
    """
    names = ["stages", "jobs", "environment", "datasets", "data-used", "files"]
    if any(corpus["cut_from"] for corpus in shown["corpora"]):
        names += ["granules", "detectors", "days", "granules-set-aside"]
    for corpus in shown["corpora"]:
        names += [f"classes_{corpus['name']}", f"set-aside_{corpus['name']}"]
    names += ["runs", "co2"]
    names += [f"probes_{name}" for name in dict.fromkeys(p["benchmark"] for p in shown["probes"])]
    names += study_names.scaling_tables(shown)
    return [*names, *(["arp"] if shown["arp_baseline"] else []), "published"]


def is_along(entry: Json, probes: list[Json]) -> bool:
    """Whether an entry is a step of a run that the same benchmark judges at its end.

    Such a step is a point in a curve and has no other figures of its own.
    """
    return entry["step"] is not None and any(
        other["benchmark"] == entry["benchmark"] and other["encoder"] == entry["run"]
        for other in probes
    )


def ends_of_runs(probes: list[Json]) -> list[Json]:
    """Entries of runs at their ends, not of steps or of weights from elsewhere."""
    return [entry for entry in probes if entry["run"] is not None and entry["step"] is None]


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
