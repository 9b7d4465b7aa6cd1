"""Sums over the days of MODIS datasets: what was read, set aside, kept and dropped, and why.

A year of both satellites has 731 day summaries with some 200,000 granules: each is read, added and
forgotten.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.files import read_json

Json = dict[str, Any]

MOST_SINGLE_DAYS = 31  # above this many, months are listed
MOST_SET_ASIDE = 50  # granules listed with their reasons


@dataclass
class Tally:
    """Sums over some days of one dataset and platform.

    `dead` counts granules by band and detector, `set_aside` by reason, `dropped` and `by_platform`
    count chips.
    """

    days: int = 0
    synthetic: bool = False
    granules_read: int = 0
    granules_set_aside: int = 0
    chips_kept: int = 0
    chips_without_mask: int = 0
    chips_night: int = 0
    chips_with_filled_lines: int = 0
    dropped: Counter[str] = field(default_factory=Counter)
    by_platform: Counter[str] = field(default_factory=Counter)
    set_aside: Counter[str] = field(default_factory=Counter)
    dead: dict[str, Counter[str]] = field(default_factory=dict)

    def add(self, summary: Json) -> None:
        """Add a day's summary."""
        self.days += 1
        self.synthetic |= bool(summary["synthetic"])
        for name in (
            "granules_read", "granules_set_aside", "chips_kept", "chips_without_mask",
            "chips_night", "chips_with_filled_lines",
        ):  # fmt: skip
            setattr(self, name, getattr(self, name) + summary[name])
        self.dropped.update(summary["chips_dropped"])
        self.by_platform.update(summary["chips_by_platform"])
        self.set_aside.update(short_reason(row) for row in summary["granules"] if row.get("reason"))
        for band, detectors in summary["dead_detectors"].items():
            self.dead.setdefault(band, Counter()).update(detectors)


@dataclass(frozen=True, kw_only=True)
class SetAside:
    """A granule that was not read."""

    dataset: str
    date: str
    key: str
    reason: str


@dataclass
class DaySums:
    """Sums over all days: by (dataset, platform), and by (day or month, dataset, platform)."""

    by_day: bool
    totals: dict[tuple[str, str], Tally] = field(default_factory=dict)
    parts: dict[tuple[str, str, str], Tally] = field(default_factory=dict)
    set_aside: list[SetAside] = field(default_factory=list)  # the first MOST_SET_ASIDE


def short_reason(row: Json) -> str:
    """Why a granule was set aside, without its name, so that equal reasons can be counted."""
    reason: str = row["reason"]
    return reason.removeprefix(Path(row["key"]).name).lstrip(": ") or reason


def sum_days(paths: Iterable[Path], *, by_day: bool) -> DaySums:
    """Read day summaries one by one and add them up.

    Args:
        paths: `<date>.json` files, in the order of datasets and days.
        by_day: Keep the sums of each day, else of each month.

    Raises:
        UserError: One is missing or is not JSON.
    """
    sums = DaySums(by_day=by_day)
    for path in paths:
        summary = read_json(path)
        dataset, date, platform = (summary[name] for name in ("dataset", "date", "platform"))
        period = date if by_day else date[:7]
        sums.totals.setdefault((dataset, platform), Tally()).add(summary)
        sums.parts.setdefault((period, dataset, platform), Tally()).add(summary)
        for row in summary["granules"]:
            if row.get("reason") and len(sums.set_aside) < MOST_SET_ASIDE:
                sums.set_aside.append(
                    SetAside(dataset=dataset, date=date, key=row["key"], reason=short_reason(row))
                )
    return sums


def sum_manifests(paths: Iterable[Path]) -> Json:
    """Manifest summaries of the days of a dataset as one, with `days` and the reasons counted.

    `files` are archives it came in; `differences` is None where nothing was compared.

    Raises:
        UserError: One is missing or is not JSON.
    """
    total: Json = {
        "days": 0, "synthetic": False, "items": 0, "bytes": 0, "duplicates": 0, "classes": [],
        "duplicates_across_splits": 0, "set_aside": Counter(), "source": "", "incomplete": 0,
        "files": [], "differences": None,
    }  # fmt: skip
    sources: dict[str, None] = {}
    for path in paths:
        summary = read_json(path)
        total["days"] += 1
        total["synthetic"] |= bool(summary["synthetic"])
        total["classes"] = summary["classes"] or total["classes"]
        for name in ("items", "bytes", "duplicates"):
            total[name] += summary[name]
        total["duplicates_across_splits"] += summary.get("duplicates_across_splits") or 0
        total["set_aside"].update(
            summary.get("set_aside_reasons")  # there where not all are named
            or (short_reason(row) for row in summary["set_aside"])
        )
        sources[summary["source"]] = None
        total["files"] += summary.get("files", [])
        differing = summary.get("differences")
        if differing is not None:
            total["differences"] = [*(total["differences"] or []), *differing]
        total["incomplete"] += summary.get("at_source", {}).get("incomplete", False)
    total["source"] = "; ".join(sorted(sources)[:3]) + ("; …" if len(sources) > 3 else "")
    if total["incomplete"]:
        total["source"] += (
            f"; {total['incomplete']} of {total['days']} days are incomplete there "
            "(`snakemake relist` asks again)"
        )
    return total
