"""Join the rows of label files with the chips of day files, and say what did not match and why."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest, sha256_here
from workflow_scripts.logs import progress
from workflow_scripts.pack.chips import Day
from workflow_scripts.pack.date_split import DAY
from workflow_scripts.pack.label_rows import LAST_LABEL, PLATFORMS, LabelRows, joined, read_rows
from workflow_scripts.pack.matching import Chips, Pairs, candidates, joined_pairs, one_to_one
from workflow_scripts.shards.reader import Shard
from workflow_scripts.threads import map_in_order

NO_TIME = "no chip of that platform and time"
NO_POSITION = "no position in the row"
TOO_FAR = "no chip within the distance"
TAKEN = "a nearer row took the chip"


def _read_item(item: Item) -> LabelRows:
    """The rows of a label file, exactly as the manifest knows it."""
    path = Path(item.path)
    if not path.is_file() or file_sha256(path) != item.sha256:
        raise UserError(
            f"{path}: gone or changed since its manifest was made; run fetch for this dataset again"
        )
    return read_rows(path)


def _of_days(rows: LabelRows, days: Sequence[Day], max_seconds: float) -> LabelRows:
    """Rows that a chip of these days could match by its time."""
    wanted = np.array([np.datetime64(day.date, "D").astype(int) for day in days])
    kept = np.zeros(len(rows), bool)
    for shift in (-max_seconds, 0.0, max_seconds):
        kept |= np.isin((rows.time + shift) // DAY, wanted)
    return rows.take(kept)


def read_labels(
    manifest: Path, days: Sequence[Day], *, max_seconds: float, workers: int | None
) -> tuple[LabelRows, int]:
    """The rows of all label files that belong to these days, ordered, and how many rows there were.

    Raises:
        UserError: A file changed or cannot be used, or classes count from 0 here and from 1 there.
    """
    items = list(read_manifest(manifest))
    for item in items:
        sha256_here(item, manifest)
    parts, total, seen = [], 0, set()
    found = map_in_order(_read_item, items, workers=workers)
    for rows in progress(found, what="label files", total=len(items)):
        total += len(rows)
        seen |= set(np.unique(rows.label).tolist())
        parts.append(_of_days(rows, days, max_seconds))
    if {0, LAST_LABEL} <= seen:
        raise UserError(
            f"{manifest}: its files hold both class 0 and class {LAST_LABEL}; expected 0 to 41 "
            "throughout or 1 to 42 throughout"
        )
    return joined(parts), total


def read_chips(day: Day) -> Chips:
    """Where, when and by which satellite the chips of a day file were seen."""
    shard = Shard(day.path)
    columns = shard.fields("time", "latitude", "longitude", "platform")
    shard.close()
    return Chips(
        time=columns["time"].astype(np.float64),
        platform=np.array([PLATFORMS.index(name) for name in columns["platform"]], np.uint8),
        latitude=columns["latitude"].astype(np.float64),
        longitude=columns["longitude"].astype(np.float64),
    )


def match(
    rows: LabelRows, days: Sequence[Day], *, max_km: float, max_seconds: float, workers: int | None
) -> tuple[Pairs, dict[str, Any]]:
    """Join rows, ordered by time, with the chips of days, in parallel over the days.

    Returns:
        One pair a matched chip, by rising chip, chips being numbered through all days; and a report
        on what matched, what did not and why, and how far apart matches are.
    """
    starts = np.concatenate([[0], np.cumsum([day.count for day in days])]).astype(np.int64)

    def of_day(number: int) -> tuple[slice, NDArray[np.bool_], Pairs]:
        begin = float(np.datetime64(days[number].date, "s").astype(np.int64))
        limits = begin - max_seconds, begin + DAY + max_seconds
        span = slice(*np.searchsorted(rows.time, limits).tolist())
        mine = rows.take(span)
        if not len(mine):
            return span, np.zeros(0, bool), joined_pairs([])
        near, pairs = candidates(
            mine, read_chips(days[number]), max_km=max_km, max_seconds=max_seconds
        )
        return (
            span,
            near,
            replace(pairs, row=pairs.row + span.start, chip=pairs.chip + starts[number]),
        )

    in_time = np.zeros(len(rows), bool)
    parts = []
    found = map_in_order(of_day, range(len(days)), workers=workers)
    for span, near, pairs in progress(found, what="days joined", total=len(days)):
        in_time[span] |= near
        parts.append(pairs)
    possible = joined_pairs(parts)
    chips = int(starts[-1])
    chosen = one_to_one(possible, rows=len(rows), chips=chips)
    return chosen, _report(rows, in_time, possible, chosen, chips=chips)


def _report(
    rows: LabelRows, in_time: NDArray[np.bool_], possible: Pairs, chosen: Pairs, *, chips: int
) -> dict[str, Any]:
    placed = ~np.isnan(rows.latitude + rows.longitude)
    near, matched = np.zeros(len(rows), bool), np.zeros(len(rows), bool)
    near[possible.row], matched[chosen.row] = True, True
    unmatched = {
        NO_TIME: ~in_time,
        NO_POSITION: in_time & ~placed,
        TOO_FAR: in_time & placed & ~near,
        TAKEN: near & ~matched,
    }
    report: dict[str, Any] = {
        "rows_matched": len(chosen),
        "rows_unmatched": {reason: int(which.sum()) for reason, which in unmatched.items()},
        "chips": chips,
        "chips_without_row": chips - len(chosen),
    }
    for name, values in (("distance_km", chosen.km), ("seconds", chosen.seconds)):
        if len(values):
            report[name] = {"median": float(np.median(values)), "max": float(values.max())}
    return report
