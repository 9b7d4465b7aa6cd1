"""Tables of probes: each benchmark beside published numbers, ARP, and all that is published."""

from workflow_scripts.energy import climate
from workflow_scripts.energy.measured import measured
from workflow_scripts.probe.reading import Json, metrics, protocol_title
from workflow_scripts.published import groups, number, published
from workflow_scripts.report import tables_probes
from workflow_scripts.report.collect import Collected, RunData
from workflow_scripts.report.figure_data import SYNTHETIC, Column, Table, Value
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.run_tables import UNKNOWN
from workflow_scripts.report.tables_published import SCALES, references, scales_of

_SCALES = [
    Column(title, "px" if key == "image_size" else "", absent="not stated", detail=key != "images")
    for key, title in SCALES.items()
]


def probe_tables(collected: Collected) -> list[Table]:
    """A table for each benchmark, then ARP if it has a baseline, then everything published."""
    runs = {run.name: run for run in collected.runs}
    names = dict.fromkeys(probe.benchmark for probe in collected.probes)
    found = [
        _benchmark([probe for probe in collected.probes if probe.benchmark == name], runs)
        for name in names
    ]
    baseline = collected.recipe.get("arp_baseline")
    return [*found, *([_arp(collected, baseline)] if baseline else []), published_table()]


def _benchmark(probes: list[ProbeData], runs: dict[str, RunData]) -> Table:
    """Ours, a row for each encoder and protocol, then the published rows with what differs."""
    (_, first), (_, second) = metrics(probes[0].results[0])
    numbers: list[Column | str] = []
    for title in (first, second, f"{first}, random weights", f"{first}, mean colour"):
        numbers.append(Column(title, "%", ".1f"))
        numbers.append(Column(f"{title}, deviation", "%", ".1f", spread=True))
    return Table(
        name=f"probes_{probes[0].benchmark}",
        title=f"Encoders on {probes[0].benchmark_label}, beside published numbers",
        columns=[
            "encoder", "protocol", *numbers, f"published {first}",
            Column("training samples", detail=True), Column("test samples", detail=True),
            Column("pretrained on", detail=True), *_SCALES,
            "source", "what differs", Column("metric", detail=True), SYNTHETIC,
        ],
        rows=[*_ours(probes, runs), *_theirs(probes, runs)],
        synthetic=any(probe.synthetic for probe in probes),
        note="Mean ± sample standard deviation over splits and seeds. Published numbers are of "
        "other data, splits and protocols: context, not a comparison.",
    )  # fmt: skip


def _ours(probes: list[ProbeData], runs: dict[str, RunData]) -> list[list[Value]]:
    rows: list[list[Value]] = []
    for probe in probes:
        run = runs.get(probe.run or "")
        scales = scales_of(run)
        (main, _), (other, _) = metrics(probe.results[0])
        for protocol, result in probe.protocols.items():
            row: list[Value] = [probe.label, protocol_title(protocol)]
            for who, metric in (
                ("encoder", main), ("encoder", other), ("random", main), ("mean-colour", main),
            ):  # fmt: skip
                row += _pair((probe.verdict(protocol, who) or {}).get(metric))
            row.append(None)
            sizes = [
                max(split[part] for split in result["splits"]) for part in ("n_train", "n_test")
            ]
            row += [*sizes, run.summary["corpus"]["name"] if run else None]
            row += [scales.get(key) for key in SCALES]
            row += ["here", None, None, "yes" if probe.synthetic else "no"]
            rows.append(row)
    return rows


def _pair(found: dict[str, float] | None) -> list[Value]:
    """Mean and, of several trials, deviation."""
    if found is None:
        return [None, None]
    return [found["mean"], found["std"] if len(found["values"]) > 1 else None]  # type: ignore[arg-type]


def _theirs(probes: list[ProbeData], runs: dict[str, RunData]) -> list[list[Value]]:
    """Published rows, their values as they are printed: some are ranges."""
    return [
        [row["model"], row["protocol"], *[None] * 8, row["value"], None, None, row["data"],
         *(row[key] for key in SCALES), group["source"], row["differs"], group["metric"], "no"]
        for group in references(probes, runs)
        for row in group["rows"]
    ]  # fmt: skip


def _arp(collected: Collected, baseline: str) -> Table:
    """Our encoders against the baseline, then what GFM published, with its CO2."""
    runs = {run.name: run for run in collected.runs}
    found = tables_probes.arp_rows(collected.probes, baseline)
    cited = published("arp")

    rows: list[list[Value]] = [
        [row.label, row.protocol, row.percent, row.tasks, row.left_out or None,
         *_pretraining(runs.get(row.encoder), collected.recipe["energy"]),
         "here", "yes" if row.synthetic else "no"]
        for row in found
    ]  # fmt: skip
    rows += [
        [row["model"], row["protocol"], row["number"], row["benchmark"], None, row["data"],
         row.get("epochs"), row.get("co2_kg"), row["source"], "no"]
        for row in cited
    ]  # fmt: skip
    labels = {probe.encoder: probe.label for probe in collected.probes}
    note = " ".join(dict.fromkeys(row["note"] for row in cited if row["note"]))
    return Table(
        name="arp",
        title=f"Average relative performance against {labels.get(baseline, baseline)}",
        columns=[
            "encoder", "protocol", Column("ARP", "%", "+.2f"), "tasks",
            Column("left out", detail=True), Column("pretrained on", detail=True),
            Column("epochs", detail=True),
            Column("CO2e of pretraining", "kg", absent=UNKNOWN), "source", SYNTHETIC,
        ],
        rows=rows,
        synthetic=any(row.synthetic for row in found),
        note="The mean over benchmarks of (score − baseline's score) / baseline's score, by GFM's "
        "formula. Published: of other tasks, and against Swin-B supervised on ImageNet-22k; "
        f"context, not a comparison. {note}",
    )  # fmt: skip


def _pretraining(run: RunData | None, energy: Json) -> list[Value]:
    """Corpus, epochs and kg of CO2e of a whole run; None for what is no such."""
    if run is None:
        return [None] * 3
    used = measured(run.facts or {}).whole
    kilograms = None if used is None else climate.co2_kg(used, energy)
    return [run.summary["corpus"]["name"], run.summary["epochs"], kilograms]


def published_table() -> Table:
    """All published numbers with their sources."""
    rows: list[list[Value]] = [
        [group["title"], row["model"], row["data"], row["benchmark"], row["split"],
         row["protocol"], row["value"], number(row), row.get("top5"), group["metric"],
         *(row.get(key) for key in SCALES), row.get("co2_kg"), group["source"], group["link"],
         group["place"], group["note"]]
        for group in groups()
        for row in group["rows"]
    ]  # fmt: skip
    stated = "not stated"
    return Table(
        name="published",
        title="Published numbers: different data volumes, context and no comparison",
        columns=[
            Column("group", detail=True), "model", "trained on", "benchmark",
            Column("split", absent=stated), Column("protocol", absent=stated), "result",
            Column("result as a number", detail=True), Column("top-5", detail=True), "metric",
            *_SCALES, Column("CO2", "kg", detail=True), "source", Column("link", detail=True),
            Column("place", detail=True), Column("note", detail=True),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
