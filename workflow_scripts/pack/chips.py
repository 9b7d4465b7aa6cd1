"""Pack chips: day files are shards already, so only the index over them is written."""

import os
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.logs import log, progress
from workflow_scripts.pack.statistics import ChipStatistics
from workflow_scripts.shards import layout
from workflow_scripts.shards.reader import Shard
from workflow_scripts.threads import map_in_order


def _checked(chips: Path) -> tuple[str, dict[str, Any]]:
    """The checksum of a day file and its tile result.

    Raises:
        UserError: They do not belong together.
    """
    result = chips.with_suffix(".json")
    tile = read_json(result)
    if not chips.is_file():
        raise UserError(f"{chips}: no such file, but {result} describes it; run tile for this day")
    found, expected = file_sha256(chips), tile["shard"]["sha256"]
    if found != expected:
        raise UserError(
            f"{chips}: sha256 is {found}, {result} says {expected}; run tile for this day again"
        )
    return found, tile


def _check_alike(first: Shard, shard: Shard) -> None:
    """Refuse day files that cannot be one corpus."""
    if shard.kind != layout.CHIPS:
        raise UserError(f"{shard.path}: holds {shard.kind}, expected chips")
    for what in ("bands", "chip_shape", "quantity", "classes"):
        ours, theirs = getattr(shard, what), getattr(first, what)
        if ours != theirs:
            raise UserError(
                f"{shard.path}: {what} {ours} differ from {theirs} of {first.path}; a corpus has "
                "chips of one kind, tile them with one recipe"
            )


def _checked_days(
    chips: Sequence[Path], recipe: dict[str, Any], *, workers: int | None
) -> Iterator[tuple[Path, str]]:
    """(day file, checksum) of each day that has chips."""
    days = map_in_order(_checked, chips, workers=workers)
    for path, (checksum, tile) in zip(
        chips, progress(days, what="checksums", total=len(chips)), strict=True
    ):
        if tile["dataset"] not in recipe["datasets"]:
            raise UserError(
                f"{path}: of dataset {tile['dataset']!r}, the recipe names {recipe['datasets']}"
            )
        if tile["synthetic"] and not recipe["synthetic"]:
            raise UserError(f"{path}: synthetic chips in a corpus that is not marked synthetic")
        if tile["shard"]["count"]:
            yield path, checksum
        else:
            log.info("%s has no chip and is left out", path)


def pack_chips(
    recipe: dict[str, Any], chips: Sequence[Path], index: Path, *, workers: int | None = None
) -> dict[str, Any]:
    """The body of the index over day files; nothing of them is copied.

    Args:
        recipe: The pack recipe of kind `chips`.
        chips: Day files, each with its tile result `<date>.json` beside it.
        index: The `index.json` that the caller will write; shard paths are relative to its folder.
        workers: Threads that compute checksums.

    Raises:
        UserError: A day file changed since it was made, or the files differ in kind.
    """
    for key in ("splits", "exclude", "max_side"):
        if recipe[key]:
            raise UserError(f"{key} is {recipe[key]!r}, but it does not apply to chips: drop it")
    rows, shards = [], []
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    statistics: ChipStatistics | None = None
    for path, checksum in _checked_days(chips, recipe, workers=workers):
        shard = Shard(path)
        shards.append(shard)
        _check_alike(shards[0], shard)
        statistics = statistics or ChipStatistics(len(shard.bands))
        for number in range(len(shard)):
            statistics.add(shard.counts(number), *shard.calibration(number))
        names = np.array([*shard.classes, "none"])[shard.labels]
        splits = np.array([*layout.SPLIT_NAMES, "none"])[shard.splits]
        for split, name in zip(splits.tolist(), names.tolist(), strict=True):
            counts[split][name] += 1
        file = Path(os.path.relpath(path.absolute(), index.parent.absolute())).as_posix()
        row = {"file": file, "sha256": checksum, "count": len(shard)}
        rows.append({**row, "bytes": path.stat().st_size})
        shard.close()
    if statistics is None:
        raise UserError(f"{index}: no chip in {len(chips)} day files; nothing to pack")
    mean, std = statistics.result()
    return {
        "channels": len(shards[0].bands),
        "bands": shards[0].bands,
        "classes": shards[0].classes,
        "shards": rows,
        "mean": mean,
        "std": std,
        "class_counts": {split: dict(sorted(names.items())) for split, names in counts.items()},
        "set_aside": {},
        "set_aside_items": [],
    }
