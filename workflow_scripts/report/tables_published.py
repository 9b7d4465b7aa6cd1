"""Published numbers beside ours: with their sources, and what differs from what was done here."""

from collections.abc import Iterable, Mapping, Sequence

from workflow_scripts.probe.reading import Json, published_name
from workflow_scripts.published import published, value
from workflow_scripts.report.collect import RunData
from workflow_scripts.report.probe_data import ProbeData

# What makes numbers differ, as `published.yaml` calls it, and how people do.
SCALES = {
    "images": "images pretrained on",
    "epochs": "epochs of pretraining",
    "image_size": "image size",
    "parameters": "parameters",
}
_UNITS = {"image_size": " px"}


def scales_of(run: RunData | None) -> Json:
    """The keys of `SCALES` of a run of ours; empty for weights whose making is unknown."""
    if run is None:
        return {}
    return {
        "images": run.summary["corpus"]["count"],
        "epochs": run.summary["epochs"],
        "image_size": run.model["image_size"],
        "parameters": run.summary["encoder_parameters"],
    }


def references(probes: Sequence[ProbeData], runs: Mapping[str, RunData]) -> list[Json]:
    """Published numbers of the benchmark of these probes by source, and what differs from ours.

    Args:
        probes: Of one benchmark.
        runs: Those of the report, by name.
    """
    protocols = {published_name(name) for probe in probes for name in probe.protocols}
    ours = [scales_of(runs.get(probe.run or "")) for probe in probes]
    groups: dict[tuple[str, str], Json] = {}
    for row in published(probes[0].published):
        group = groups.setdefault(
            (row["source"], row["metric"]),
            {**{key: row[key] for key in ("source", "metric", "link", "place")}, "rows": []},
        )
        group["rows"].append(
            {
                **{key: row[key] for key in ("model", "data", "split", "number")},
                **{key: row.get(key) for key in SCALES},
                "protocol": row["protocol"] or "not stated",
                "value": value(row),
                "differs": "; ".join(differences(row, protocols, ours)),
            }
        )
    return list(groups.values())


def differences(row: Json, protocols: set[str | None], ours: Sequence[Json]) -> list[str]:
    """What of a published row is not as here, in words, and last what its source leaves open.

    Args:
        row: A row of `published`.
        protocols: Ours, as published rows call them.
        ours: The scales of each of our encoders.
    """
    words = [f"data: {row['data']}", f"split: {row['split'] or 'not stated'}"]
    if row["protocol"] is None or row["protocol"] not in protocols:
        words.append(f"protocol: {row['protocol'] or 'not stated'}")
    for key, title in SCALES.items():
        here, unit = sorted({one[key] for one in ours if key in one}), _UNITS.get(key, "")
        if key in row and here != [row[key]]:
            ours_too = f" (here {_range(here)}{unit})" if here else ""
            words.append(f"{title}: {row[key]:,}{unit}{ours_too}")
    if left_open := [title for key, title in SCALES.items() if key not in row]:
        words.append(f"not stated: {', '.join(left_open)}")
    return words


def _range(values: Iterable[int]) -> str:
    least, *_, most = [*values, *values]
    return f"{least:,}" if least == most else f"{least:,} to {most:,}"
