"""Pack chips: day files are shards already, so only the index over them is written.

Each day file is read twice in a row by one thread, for its checksum and, from the page cache, a few
chips at a time for its statistics; days are merged in their order, so that threads change no digit.
"""

import os
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.dates import expand
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.logs import log, progress
from workflow_scripts.pack.statistics import ChipStatistics
from workflow_scripts.shards import layout
from workflow_scripts.shards.reader import Shard
from workflow_scripts.threads import map_in_order

_BLOCK = 16  # chips; 3 MB of six bands of 128 × 128 stay in the caches


@dataclass(frozen=True, kw_only=True)
class Day:
    """A day of a dataset: its chips, and how many the day's result says there are."""

    dataset: str
    date: str
    path: Path
    count: int
    sha256: str


@dataclass(frozen=True, kw_only=True)
class PackedDay:
    """What packing learned of a day file."""

    day: Day
    bytes: int
    kind: dict[str, Any]  # what all day files of a corpus have in common
    statistics: ChipStatistics


def find_days(recipe: dict[str, Any], root: Path) -> list[Day]:
    """The days of a pack recipe, datasets and dates in its order, with what tile says of each.

    Args:
        recipe: `datasets`, `days` (ranges by dataset) and `synthetic`.
        root: The folder with `<dataset>/<date>.h5` and `.json`.

    Raises:
        UserError: A day was not tiled, its chips are gone, or synthetic ones would enter a corpus
            that is not marked.
    """
    days = []
    for dataset in recipe["datasets"]:
        for date in expand(recipe["days"][dataset]):
            path = root / dataset / f"{date}.h5"
            result = path.with_suffix(".json")
            if not result.is_file():
                raise UserError(f"{result}: no such file; run tile for this day of {dataset}")
            tile = read_json(result)
            if tile["synthetic"] and not recipe["synthetic"]:
                raise UserError(f"{path}: synthetic chips in a corpus that is not marked synthetic")
            shard = tile["shard"]
            if shard["count"] and not path.is_file():
                raise UserError(f"{path}: no such file, but {result} describes it; run tile again")
            days.append(
                Day(
                    dataset=dataset, date=date, path=path, count=shard["count"],
                    sha256=shard["sha256"],
                )
            )  # fmt: skip
    return days


def pack_day(day: Day, rows: NDArray[np.int64] | None = None) -> PackedDay:
    """Check a day file and sum up its chips; memory holds a few.

    Args:
        day: The day.
        rows: Which chips count, rising; all by default.

    Raises:
        UserError: The file is not what tile wrote.
    """
    found = file_sha256(day.path)
    if found != day.sha256:
        raise UserError(
            f"{day.path}: sha256 is {found}, {day.path.with_suffix('.json')} says {day.sha256}; "
            "run tile for this day again"
        )
    shard = Shard(day.path)
    if shard.kind != layout.CHIPS:
        raise UserError(f"{day.path}: holds {shard.kind}, expected chips")
    statistics = ChipStatistics(len(shard.bands))
    for block in shard.blocks(_BLOCK, rows):
        statistics.add(*block)
    kind = {name: getattr(shard, name) for name in ("bands", "chip_shape", "quantity")}
    shard.close()
    size = day.path.stat().st_size
    return PackedDay(day=day, bytes=size, kind=kind, statistics=statistics)


def _check_alike(first: PackedDay, other: PackedDay) -> None:
    """Refuse day files that cannot be one corpus."""
    for what, ours in other.kind.items():
        theirs = first.kind[what]
        if ours != theirs:
            raise UserError(
                f"{other.day.path}: {what} {ours} differ from {theirs} of {first.day.path}; a "
                "corpus has chips of one kind, tile them with one recipe"
            )


def combine(days: Iterable[PackedDay], index: Path) -> dict[str, Any]:
    """What the index says of its shards and channels.

    Args:
        days: At least one, in the order of the index.
        index: The `index.json` that will be written; shard paths are relative to its folder.

    Raises:
        UserError: The files differ in kind, or a channel has no value anywhere.
    """
    rest = iter(days)
    first = next(rest)
    bands = first.kind["bands"]
    statistics = ChipStatistics(len(bands))
    rows: list[dict[str, Any]] = []
    for packed in chain([first], rest):
        _check_alike(first, packed)
        statistics.merge(packed.statistics)
        day = packed.day
        file = Path(os.path.relpath(day.path.absolute(), index.parent.absolute())).as_posix()
        row = {"file": file, "sha256": day.sha256, "count": day.count, "bytes": packed.bytes}
        rows.append(row)
    empty = [band for band, n in zip(bands, statistics.values, strict=True) if n == 0]
    if empty:
        raise UserError(
            f"{index}: band {', '.join(empty)} has no value in any chip; leave it out of the "
            "datasets' tile.bands"
        )
    return {
        "channels": len(bands),
        "bands": bands,
        "quantity": first.kind["quantity"],
        "shards": rows,
        **statistics.result(),
        "set_aside": {},
        "set_aside_items": [],
    }


def pack_chips(
    recipe: dict[str, Any], root: Path, index: Path, *, workers: int | None = None
) -> dict[str, Any]:
    """The body of the index over day files; nothing of them is copied.

    Args:
        recipe: The pack recipe of kind `chips`: `datasets`, `days` (ranges by dataset, as in
            `dates`) and `synthetic`.
        root: The folder with `<dataset>/<date>.h5` and, from tile, `<date>.json` beside each.
        index: The `index.json` that the caller will write.
        workers: Threads, each on a day.

    Raises:
        UserError: A day is missing or changed since it was made, the files differ in kind, or
            there is no chip.
    """
    days = find_days(recipe, root)
    full = [day for day in days if day.count]
    log.info("%d of %d days have chips", len(full), len(days))
    if not full:
        raise UserError(f"{index}: no chip in {len(days)} day files; nothing to pack")
    packed = map_in_order(pack_day, full, workers=workers)
    body = combine(progress(packed, what="days", total=len(full)), index)
    count = sum(day.count for day in full)
    return {**body, "classes": [], "class_counts": {"none": {"none": count}}}
