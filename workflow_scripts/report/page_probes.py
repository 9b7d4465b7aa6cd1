"""The page's part on probes: a block for each benchmark, its tables and its figures."""

from collections.abc import Callable
from typing import Any

from workflow_scripts.probe.reading import metrics, protocol_title, spread
from workflow_scripts.report import tables_probes, tables_published
from workflow_scripts.report.chosen_probes import whole_probes
from workflow_scripts.report.collect import Collected
from workflow_scripts.report.figure_names import runs_along
from workflow_scripts.report.probe_data import ProbeData

Json = dict[str, Any]
Picture = Callable[[str], Any]  # a figure's name → what the page shows of it

MOST_CARDS = 12  # results at the top of the page, each a card

# How to read the figures of an encoder.
_MISTAKES = (
    "The test images whose wrong class was the surest; protocol {protocol}, first split, first "
    "seed. Above each its true class, below it the predicted one and its share of the softmax (of "
    "the votes, for neighbours)."
)
_EMBEDDING = (
    "Features of test images, standardised, their first principal components laid out in a plane "
    "by t-SNE. Near points look alike to the encoder; distances between groups and the axes mean "
    "nothing. Names stand above the medians of their classes."
)
_ALONG = (
    "The encoder at steps of its pretraining. Step 0 is the same encoder with random weights; mean "
    "± standard deviation over splits and seeds."
)


def headlines(collected: Collected) -> list[Json]:
    """Results as the first thing on the page: each encoder on each benchmark.

    Where those are too many to be looked at, the highest of each benchmark's encoders.
    """
    whole = whole_probes(collected)
    if len(whole) <= MOST_CARDS:
        return [_card(probe) for probe in whole]
    cards = []
    for name in dict.fromkeys(probe.benchmark for probe in whole):
        among = [probe for probe in whole if probe.benchmark == name]
        cards.append(_card(max(among, key=_mean)) | {"among": len(among)})
    return cards


def _first_metric(probe: ProbeData, who: str) -> Json | None:
    (key, _), _ = metrics(probe.results[0])
    found: Json | None = (probe.verdict(probe.headline, who) or {}).get(key)
    return found


def _mean(probe: ProbeData) -> float:
    found = _first_metric(probe, "encoder")
    return found["mean"] if found else -1.0


def _card(probe: ProbeData) -> Json:
    (_, title), _ = metrics(probe.results[0])
    return {
        "value": spread(_first_metric(probe, "encoder")),
        "metric": title,
        "protocol": protocol_title(probe.headline),
        "floor": spread(_first_metric(probe, "random")),
        "encoder": probe.label,
        "benchmark": probe.benchmark_label,
        "synthetic": probe.synthetic,
        "anchor": f"probe-{probe.benchmark}",
        "among": 1,
    }


def benchmarks(collected: Collected, picture: Picture) -> list[Json]:
    """The blocks, in the order of the recipe."""
    blocks = []
    whole = whole_probes(collected)
    for name in dict.fromkeys(probe.benchmark for probe in collected.probes):
        probes = [probe for probe in collected.probes if probe.benchmark == name]
        main = [probe for probe in whole if probe.benchmark == name]
        (_, first), (_, second) = metrics(probes[0].results[0])
        blocks.append(
            {
                "name": name,
                "label": probes[0].benchmark_label,
                "synthetic": any(probe.synthetic for probe in probes),
                "metrics": [first, second],
                "classes": len(probes[0].classes),
                "chance": None
                if probes[0].multi_label
                else f"{100 / max(1, len(probes[0].classes)):.1f}",
                "splits": tables_probes.splits(probes),
                "same_splits": tables_probes.same_splits(probes),
                "encoders": [_rows(probe) for probe in main],
                "steps": [_rows(probe) for probe in probes if probe not in main],
                "references": tables_published.references(
                    probes, {run.name: run for run in collected.runs}
                ),
                "accuracy": picture(f"accuracy_{name}"),
                "along": _along(collected, probes, picture),
                "details": [_details(probe, picture) for probe in main],
            }
        )
    return blocks


def _rows(probe: ProbeData) -> Json:
    return {
        "label": probe.label,
        "synthetic": probe.synthetic,
        "seen": tables_probes.seen(probe),
        "rows": tables_probes.rows(probe),
    }


def _along(collected: Collected, probes: list[ProbeData], picture: Picture) -> list[Json]:
    labels = {run["name"]: run["label"] for run in collected.recipe["runs"]}
    entries = collected.recipe["probes"]
    return [
        {
            "alt": f"Accuracy over the pretraining of {labels.get(run, run)}",
            "uri": picture(f"along_{run}_{benchmark}"),
            "reading": _ALONG,
        }
        for run, benchmark in runs_along(entries)
        if benchmark == probes[0].benchmark
    ]


def _details(probe: ProbeData, picture: Picture) -> Json:
    name, protocol = probe.file_name, protocol_title(probe.headline)
    tail = f"{probe.label} on {probe.benchmark_label}{' (synthetic)' if probe.synthetic else ''}"
    by_class = "Average precision by class" if probe.multi_label else "Confusion and classes"
    kinds = [("probe", by_class, f"Protocol {protocol}, all splits and seeds together.")]
    if probe.pictures is not None:
        kinds.append(("mistakes", "Most confident mistakes", _MISTAKES.format(protocol=protocol)))
        kinds.append(("embedding", "Features in a plane", _EMBEDDING))
    return {
        "label": probe.label,
        "anchor": f"probe-{probe.encoder}-{probe.benchmark}",
        "synthetic": probe.synthetic,
        "how": tables_probes.how(probe),
        "pictures": [
            {
                "title": title,
                "alt": f"{title}: {tail}",
                "reading": reading,
                "uri": picture(f"{kind}_{name}"),
            }
            for kind, title, reading in kinds
        ],
    }
