"""Near duplicates: different files that look alike, or have tiles that do.

An image's look is its difference hash (64 bits; Krawetz, 2013): whether each of 8 × 8 places is
darker than its right neighbour. It survives another size, format or quality, and differs between
neighbouring fields. Flat images all have the same, and are left out. Near duplicates are counted
and named, and left to the user: what looks alike to 64 bits need not be the same place.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.files import read_json

_NAMED = 20  # groups
_NAMED_EACH = 5  # keys of a group

_PARTS = 16  # counted one after the other, for sorting to take little memory
_SHIFT = np.uint64(60)  # leaves so many
_GOLDEN = np.uint64(0x9E3779B97F4A7C15)

FLAT = 0  # the look of an image of one colour, and of any that grows darker to the right

Row = tuple[int, int, str]  # look, split (as in a shard), key


def look_of(rgb: Image.Image) -> int:
    """The difference hash of an image."""
    small = np.asarray(rgb.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")


class Looks:
    """The looks of a corpus: nine bytes each, and three more while they are counted.

    (Measured with eight million; more only where a large share of all are one and the same.)
    """

    def __init__(self) -> None:
        self._looks: list[NDArray[np.uint64]] = []
        self._splits: list[NDArray[np.int8]] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Take in those of a shard: each look of a file once, of copies those of one, no `FLAT`."""
        pairs = [(look, split) for look, split, _ in rows]
        self._looks.append(np.array([look for look, _ in pairs], np.uint64))
        self._splits.append(np.array([split for _, split in pairs], np.int8))

    def result(self, sidecars: Iterable[Path]) -> dict[str, Any]:
        """How many samples look like one of another file, and the first groups of them.

        Args:
            sidecars: Of the shards, with the rows given to `add` under `looks`.

        Returns:
            `samples`, of tiles of one file that look alike the first; `across_splits`, how many of
            them look like one of another split; `groups`, lists of keys.
        """
        samples = across_splits = 0
        first: list[int] = []
        for part in range(_PARTS):
            distinct, counts, mixed = self._alike(part)
            samples += int(counts.sum())
            across_splits += int(counts[mixed].sum())
            first = sorted([*first, *distinct[:_NAMED].tolist()])[:_NAMED]
        groups: dict[int, list[str]] = {look: [] for look in first}
        for sidecar in sidecars if groups else ():
            for look, _, key in read_json(sidecar)["looks"]:
                if look in groups and len(groups[look]) < _NAMED_EACH:
                    groups[look].append(key)
        return {
            "samples": samples,
            "across_splits": across_splits,
            "groups": list(groups.values()),
        }

    def _alike(self, part: int) -> tuple[NDArray[np.uint64], NDArray[np.int64], NDArray[np.bool_]]:
        """The looks of a part that several have: rising, how many have each, in several splits?"""
        looks, splits = [], []
        for some, their in zip(self._looks, self._splits, strict=True):
            # The upper bits of a product with the golden ratio: parts of about one size.
            chosen = (some * _GOLDEN) >> _SHIFT == part
            looks.append(some[chosen])
            splits.append(their[chosen])
        values, groups = np.concatenate(looks), np.concatenate(splits)
        del looks, splits
        order = np.argsort(values)
        values, groups = values[order], groups[order]
        starts = np.flatnonzero(np.diff(values, prepend=~values[:1]))
        if not len(starts):
            return values, np.empty(0, np.int64), np.empty(0, np.bool_)
        counts = np.diff(starts, append=len(values))
        mixed = np.minimum.reduceat(groups, starts) < np.maximum.reduceat(groups, starts)
        several = counts > 1
        return values[starts[several]], counts[several], mixed[several]
