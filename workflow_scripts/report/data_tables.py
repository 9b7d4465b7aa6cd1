"""Tables of the data: datasets, what they are cited by, granules and chips, classes of corpora."""

from collections import Counter

from workflow_scripts import dates
from workflow_scripts.report import tables
from workflow_scripts.report.collect import Collected, CorpusData
from workflow_scripts.report.figure_data import SYNTHETIC, Column, Table, Value

_SYNTHETIC = Column(SYNTHETIC)


def data_tables(collected: Collected) -> list[Table]:
    """In the order of the page; those of granules where a corpus is cut from any."""
    found = [_datasets(collected), _used(collected), _files(collected)]
    if any(corpus["cut_from"] for corpus in collected.recipe["corpora"]):
        found += [_granules(collected), _detectors(collected), _days(collected)]
        found.append(_granules_aside(collected))
    for corpus in collected.corpora:
        found += [_classes(corpus), _samples_aside(corpus)]
    return found


def _any_synthetic(collected: Collected) -> bool:
    return any(sums["synthetic"] for _, sums in collected.manifests)


def _datasets(collected: Collected) -> Table:
    rows: list[list[Value]] = []
    for entry, sums in collected.manifests:
        days = dates.expand(collected.recipe["days"].get(entry["name"], ""))
        aside = tables.reasons(sums["set_aside"])
        rows.append(
            [entry["label"], entry["name"], len(days) or None, days[0] if days else None,
             days[-1] if days else None, sums["items"], sums["bytes"] / 1e6, len(sums["classes"]),
             sums["duplicates"], sums["duplicates_across_splits"],
             sum(count for _, count in aside), "; ".join(f"{n} × {why}" for why, n in aside),
             sums["source"], sums["synthetic"]]
        )  # fmt: skip
    return Table(
        name="datasets",
        title="Datasets",
        columns=[
            "dataset", Column("name", detail=True), "days", Column("first day", detail=True),
            Column("last day", detail=True), "items", Column("size", "MB", ",.1f"), "classes",
            "duplicates", Column("duplicates across splits", detail=True), "set aside",
            Column("why set aside", detail=True), "source", _SYNTHETIC,
        ],
        rows=rows,
        synthetic=_any_synthetic(collected),
    )  # fmt: skip


def _used(collected: Collected) -> Table:
    rows: list[list[Value]] = []
    for entry, sums in collected.manifests:
        cited = [entry[key] for key in ("label", "version", "licence", "citation", "homepage")]
        differing = sums["differences"]
        differs = None if differing is None else "; ".join(differing) or "no"
        rows.append([*cited, entry["origin"], differs, sums["synthetic"]])
    stated = "not stated"
    return Table(
        name="data-used",
        title="Data used, their licences and what they are cited by",
        columns=[
            "dataset", "version", Column("licence", absent=stated),
            Column("to be cited as", absent=stated), "homepage", Column("source", detail=True),
            Column("differs from what is expected", absent="not compared", detail=True),
            _SYNTHETIC,
        ],
        rows=rows,
        synthetic=_any_synthetic(collected),
    )  # fmt: skip


def _files(collected: Collected) -> Table:
    return Table(
        name="files",
        title="Files of these data, as they were verified",
        columns=["dataset", "file", Column("size", "bytes"), "sha256", _SYNTHETIC],
        rows=[
            [entry["label"], file["name"], file["bytes"], file["sha256"], sums["synthetic"]]
            for entry, sums in collected.manifests
            for file in sums["files"]
        ],
        synthetic=_any_synthetic(collected),
    )


def _labels(collected: Collected) -> dict[str, str]:
    return {entry["name"]: entry["label"] for entry in collected.recipe["datasets"]}


def _any_day_synthetic(collected: Collected) -> bool:
    return any(tally.synthetic for tally in collected.days.totals.values())


def _granules(collected: Collected) -> Table:
    """A row for each dataset and satellite, a column for each reason why a chip was dropped."""
    labels = _labels(collected)
    totals = collected.days.totals
    every = sum((tally.dropped for tally in totals.values()), Counter[str]())
    dropped = [reason for reason, _ in tables.reasons(every)]
    return Table(
        name="granules",
        title="Granules to chips",
        columns=[
            "dataset", "satellite", "days", "granules read", "granules set aside", "chips kept",
            "kept without a cloud mask", "kept at night", "kept with interpolated lines",
            "chips dropped", *(f"dropped: {reason}" for reason in dropped), _SYNTHETIC,
        ],
        rows=[
            [labels.get(dataset, dataset), platform, t.days, t.granules_read, t.granules_set_aside,
             t.chips_kept, t.chips_without_mask, t.chips_night, t.chips_with_filled_lines,
             t.dropped.total(), *(t.dropped[reason] for reason in dropped), t.synthetic]
            for (dataset, platform), t in totals.items()
        ],
        synthetic=_any_day_synthetic(collected),
        note="A dropped chip counts once.",
    )  # fmt: skip


def _detectors(collected: Collected) -> Table:
    labels = _labels(collected)
    return Table(
        name="detectors",
        title="Dead detectors, and in how many granules",
        columns=["dataset", "satellite", "band", "detector", "granules", _SYNTHETIC],
        rows=[
            [labels.get(dataset, dataset), platform, band, detector, count, tally.synthetic]
            for (dataset, platform), tally in collected.days.totals.items()
            for band, counts in sorted(tally.dead.items())
            for detector, count in sorted(counts.items())
        ],
        synthetic=_any_day_synthetic(collected),
    )


def _days(collected: Collected) -> Table:
    labels = _labels(collected)
    by_day = collected.days.by_day
    return Table(
        name="days",
        title=f"Granules and chips of each {'day' if by_day else 'month'}",
        columns=[
            "day" if by_day else "month", "dataset", "satellite", "days", "granules read",
            "granules set aside", "chips kept", "chips dropped", _SYNTHETIC,
        ],
        rows=[
            [period, labels.get(dataset, dataset), platform, t.days, t.granules_read,
             t.granules_set_aside, t.chips_kept, t.dropped.total(), t.synthetic]
            for (period, dataset, platform), t in sorted(collected.days.parts.items())
        ],
        synthetic=_any_day_synthetic(collected),
    )  # fmt: skip


def _granules_aside(collected: Collected) -> Table:
    labels = _labels(collected)
    listed = collected.days.set_aside
    every = sum(tally.granules_set_aside for tally in collected.days.totals.values())
    more = every - len(listed)
    return Table(
        name="granules-set-aside",
        title="Granules set aside",
        columns=["dataset", "day", "granule", "reason"],
        rows=[[labels.get(g.dataset, g.dataset), g.date, g.key, g.reason] for g in listed],
        synthetic=_any_day_synthetic(collected),
        note=f"{more:,} more are in the days' summaries." if more else "",
    )


def _classes(corpus: CorpusData) -> Table:
    counts = tables.class_counts(corpus)
    splits = [split if split != "none" else "no split" for split in counts["splits"]]
    return Table(
        name=f"classes_{corpus.name}",
        title=f"Samples of {corpus.label} by class and split",
        columns=["class", *splits, "all"],
        rows=[
            [name if name != "none" else "no class", *row, sum(row)] for name, row in counts["rows"]
        ],
        synthetic=corpus.synthetic,
    )


def _samples_aside(corpus: CorpusData) -> Table:
    items = corpus.index.get("set_aside_items", [])
    return Table(
        name=f"set-aside_{corpus.name}",
        title=f"Samples of {corpus.label} set aside",
        columns=["sample", "reason"],
        rows=[[item["key"], item["reason"]] for item in items],
        synthetic=corpus.synthetic,
    )
