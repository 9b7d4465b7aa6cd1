"""Tables of what became of granules and chips, by dataset, platform and time."""

from collections import Counter
from typing import Any

from workflow_scripts.report.collect import Collected
from workflow_scripts.report.days import DaySums, Tally
from workflow_scripts.report.style import in_order
from workflow_scripts.report.tables import ABSENT, MOST_REASONS, reasons

Json = dict[str, Any]


def _count(value: int, whole: int | None = None) -> str:
    """`1,234`, with its share of a whole."""
    return f"{value:,}" if not whole else f"{value:,} ({100 * value / whole:.1f} %)"


def _labels(collected: Collected) -> dict[str, str]:
    return {entry["name"]: entry["label"] for entry in collected.recipe["datasets"]}


def _group(labels: dict[str, str], dataset: str, platform: str) -> str:
    return f"{labels.get(dataset, dataset)}, {platform}"


def chips_table(collected: Collected) -> Json:
    """A column for each dataset and platform, a line for each thing counted."""
    tallies = list(collected.days.totals.values())
    labels = _labels(collected)
    lines: list[tuple[str, bool, list[str]]] = []

    def line(name: str, cells: list[str], *, part: bool = False) -> None:
        lines.append((name, part, cells))

    line("days", [_count(t.days) for t in tallies])
    line("granules read", [_count(t.granules_read) for t in tallies])
    line("granules set aside", [_count(t.granules_set_aside) for t in tallies])
    for name, counts in _reasons_aside(tallies):
        line(name, [_count(count) for count in counts], part=True)
    looked = [t.chips_kept + t.dropped.total() for t in tallies]
    pairs = list(zip(tallies, looked, strict=True))
    line("chips kept", [_count(t.chips_kept, whole) for t, whole in pairs])
    for name, key in (
        ("without a cloud mask", "chips_without_mask"),
        ("at night", "chips_night"),
        ("with interpolated lines", "chips_with_filled_lines"),
    ):
        line(name, [_count(getattr(t, key), t.chips_kept) for t in tallies], part=True)
    line("chips dropped", [_count(t.dropped.total(), whole) for t, whole in pairs])
    for name, _ in reasons(sum((t.dropped for t in tallies), Counter[str]())):
        line(name, [_count(t.dropped[name], whole) for t, whole in pairs], part=True)
    return {
        "groups": [
            (_group(labels, *key), tally.synthetic)
            for key, tally in collected.days.totals.items()
        ],
        "lines": lines,
    }  # fmt: skip


def _reasons_aside(tallies: list[Tally]) -> list[tuple[str, list[int]]]:
    """Why granules were set aside, by tally: the commonest reasons, then all others as one."""
    every = sum((tally.set_aside for tally in tallies), Counter[str]())
    names = [name for name, _ in reasons(every, MOST_REASONS)]
    named = {name: [tally.set_aside[name] for tally in tallies] for name in names if name in every}
    rest = [
        tally.set_aside.total() - sum(counts[place] for counts in named.values())
        for place, tally in enumerate(tallies)
    ]
    return [(name, named.get(name, rest)) for name in names]


def by_platform(sums: DaySums) -> list[tuple[str, str]]:
    """Chips kept by platform, over all datasets."""
    total = sum((tally.by_platform for tally in sums.totals.values()), Counter[str]())
    return [(name, _count(total[name], total.total())) for name in in_order(total)]


def dead_detectors(collected: Collected) -> list[Json]:
    """A line for each dataset, platform and band that has dead detectors."""
    labels = _labels(collected)
    return [
        {"group": _group(labels, *key), "band": band, "detectors": detectors_text(counts)}
        for key, tally in collected.days.totals.items()
        for band, counts in sorted(tally.dead.items(), key=lambda pair: _in_order(pair[0]))
        if counts
    ]


def detectors_text(counts: dict[str, int]) -> str:
    """`2, 5 in 288 granules; 7 in 1 granule`: most granules first."""
    alike: dict[int, list[str]] = {}
    for detector, count in counts.items():
        alike.setdefault(count, []).append(detector)
    return "; ".join(
        f"{', '.join(sorted(names, key=_in_order))} in {count:,} "
        f"{'granule' if count == 1 else 'granules'}"
        for count, names in sorted(alike.items(), reverse=True)
    )


def _in_order(name: str) -> tuple[int, str]:
    """Sorts names that begin with a number by it: 2, 10, 13lo."""
    digits = "".join(character for character in name if character.isdigit())
    return int(digits or 0), name


def periods(collected: Collected) -> list[Json]:
    """A line for each day (or month, where there are many days), dataset and platform."""
    labels = _labels(collected)
    order = {key: place for place, key in enumerate(collected.days.totals)}
    rows = sorted(
        collected.days.parts.items(), key=lambda row: (row[0][0], order[row[0][1], row[0][2]])
    )
    return [
        {
            "period": period,
            "group": _group(labels, dataset, platform),
            "days": _count(tally.days),
            "read": _count(tally.granules_read),
            "set_aside": _count(tally.granules_set_aside),
            "kept": _count(tally.chips_kept),
            "dropped": _count(tally.dropped.total()),
        }
        for (period, dataset, platform), tally in rows
    ]


def set_aside(collected: Collected) -> Json:
    """Single granules that were set aside, and how many more there are."""
    labels = _labels(collected)
    listed = [
        {"group": f"{labels.get(g.dataset, g.dataset)}, {g.date}", "key": g.key, "reason": g.reason}
        for g in collected.days.set_aside
    ]
    every = sum(tally.granules_set_aside for tally in collected.days.totals.values())
    return {"granules": listed, "total": every, "more": every - len(listed)}


def matching_facts(matching: Json | None) -> list[tuple[str, str]]:
    """How label rows were matched with chips, as the index tells it: a line for each number."""
    return _flat(matching or {}, "")


def _flat(values: Json, before: str) -> list[tuple[str, str]]:
    rows: list[tuple[str, str]] = []
    for name, value in values.items():
        title = f"{before}{name.replace('_', ' ')}"
        if isinstance(value, dict):
            rows += _flat(value, f"{title}: ")
        else:
            rows.append((title, _value(value)))
    return rows


def _value(value: object) -> str:
    if value is None:
        return ABSENT
    if isinstance(value, float):
        return f"{value:,.6g}"
    if isinstance(value, list):
        return ", ".join(map(_value, value))
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
