"""Pack a benchmark of labelled chips: AICCA's rows (arXiv 2209.15096) joined with day files.

Nothing of the chips is copied: the index lists the day files with matches, and `selection.h5`
beside it says which of their chips have which class and are in which split.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, progress
from workflow_scripts.pack.chips import Day, PackedDay, combine, find_days, pack_day
from workflow_scripts.pack.date_split import split_days, split_of_chips
from workflow_scripts.pack.joining import NO_TIME, match, read_labels
from workflow_scripts.pack.label_rows import LabelRows
from workflow_scripts.pack.matching import Pairs
from workflow_scripts.shards import layout
from workflow_scripts.shards.selection import FILE, Selection, write_selection
from workflow_scripts.threads import map_in_order


def pack_labelled(
    recipe: dict[str, Any], root: Path, manifest: Path, index: Path, *, workers: int | None = None
) -> dict[str, Any]:
    """Join, split by date, write the selection beside the index, and return the index's body.

    Statistics are those of the selected chips. Day files without a match are not listed, and only
    those that are listed are compared with their checksums.

    Args:
        recipe: As for `pack_chips`, and `labels`: `max_distance_km`, `max_minutes` and `split`
            (`train`, `val`, `test`, `seed`).
        root: As for `pack_chips`.
        manifest: Of the label files.
        index: The `index.json` that the caller will write.
        workers: Threads.

    Raises:
        UserError: As for `pack_chips`; label files that cannot be used; nothing matched; too few
            days for the split.
    """
    days = [day for day in find_days(recipe, root) if day.count]
    rows, pairs, matching = _join(recipe["labels"], days, manifest, workers=workers)
    splits, split_facts = _splits(pairs, recipe["labels"]["split"])
    present, codes = np.unique(rows.label[pairs.row], return_inverse=True)
    classes = [f"{label:02d}" for label in present.tolist()]
    parts, numbers = _listed(days, pairs)
    packed = map_in_order(_pack_part, parts, workers=workers)
    body = combine(progress(packed, what="days", total=len(parts)), index)
    selection = Selection(rows=numbers, labels=codes.astype(np.int32), splits=splits)
    # An index never stands beside a selection that it does not describe.
    index.unlink(missing_ok=True)
    path = index.with_name(FILE)
    write_selection(path, selection, classes=classes)
    return {
        **body,
        **split_facts,
        "classes": classes,
        "count": len(selection),
        "selection": {"file": path.name, "sha256": file_sha256(path), "count": len(selection)},
        "class_counts": _class_counts(selection, classes),
        "matching": matching,
    }


def _join(
    how: dict[str, Any], days: Sequence[Day], manifest: Path, *, workers: int | None
) -> tuple[LabelRows, Pairs, dict[str, Any]]:
    """The rows, what they were matched with (chips numbered through all days), and a report."""
    max_km, max_seconds = how["max_distance_km"], 60.0 * how["max_minutes"]
    rows, total = read_labels(manifest, days, max_seconds=max_seconds, workers=workers)
    pairs, found = match(rows, days, max_km=max_km, max_seconds=max_seconds, workers=workers)
    found["rows_unmatched"][NO_TIME] += total - len(rows)  # of other days altogether
    if not len(pairs):
        raise UserError(
            f"{manifest}: none of {total} rows belongs to one of {found['chips']} chips: "
            f"{found['rows_unmatched']}. Compare their days, platforms and positions, or widen "
            f"max_distance_km ({max_km:g}) and max_minutes ({how['max_minutes']:g})"
        )
    log.info("%s: %d of %d rows matched, %d chips without a row",
             manifest, len(pairs), total, found["chips_without_row"])  # fmt: skip
    tolerances = {"max_distance_km": max_km, "max_minutes": how["max_minutes"]}
    return rows, pairs, {**tolerances, "rows": total, **found}


def _splits(pairs: Pairs, how: dict[str, Any]) -> tuple[NDArray[np.int8], dict[str, Any]]:
    """The split of each matched chip, and how many days and chips that makes."""
    days = sorted({str(day) for day in pairs.chip_time.astype("datetime64[s]").astype("<M8[D]")})
    shares = {name: how[name] for name in layout.SPLIT_NAMES}
    split_of_day = split_days(days, shares, seed=how["seed"])
    splits, at_midnight = split_of_chips(pairs.chip_time, split_of_day)
    counts = Counter(name or "none" for name in split_of_day.values())
    return splits, {"split_days": dict(counts), "left_out_at_midnight": at_midnight}


def _listed(
    days: Sequence[Day], pairs: Pairs
) -> tuple[list[tuple[Day, NDArray[np.int64]]], NDArray[np.int64]]:
    """Each day with matches and its matched chips; all of these numbered through those days."""
    starts = np.concatenate([[0], np.cumsum([day.count for day in days])]).astype(np.int64)
    parts, numbers, before = [], [], 0
    for day, start, end in zip(days, starts, starts[1:], strict=False):
        first, last = np.searchsorted(pairs.chip, (start, end))
        if first < last:
            rows = pairs.chip[first:last] - start
            parts.append((day, rows))
            numbers.append(rows + before)
            before += day.count
    return parts, np.concatenate(numbers)


def _pack_part(part: tuple[Day, NDArray[np.int64]]) -> PackedDay:
    return pack_day(*part)


def _class_counts(selection: Selection, classes: list[str]) -> dict[str, dict[str, int]]:
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    names = [*layout.SPLIT_NAMES, "none"]
    for split, label in zip(selection.splits.tolist(), selection.labels.tolist(), strict=True):
        counts[names[split]][classes[label]] += 1
    return {split: dict(sorted(found.items())) for split, found in counts.items()}
