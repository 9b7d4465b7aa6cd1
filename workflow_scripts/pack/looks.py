"""Near duplicates: samples of different files that look alike.

An image's look is its difference hash (64 bits; Krawetz, 2013): whether each of 8 × 8 places is
darker than its right neighbour. It survives another size, format or quality, and differs between
neighbouring fields. Near duplicates are counted and named, and left to the user: what looks alike
to 64 bits need not be the same place.
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

Row = tuple[int, int, str]  # look, split (as in a shard), key


def look_of(rgb: Image.Image) -> int:
    """The difference hash of an image."""
    small = np.asarray(rgb.convert("L").resize((9, 8), Image.Resampling.BOX))
    return int.from_bytes(np.packbits(small[:, :-1] < small[:, 1:]).tobytes(), "big")


class Looks:
    """The looks of a corpus, nine bytes a sample."""

    def __init__(self) -> None:
        self._looks: list[NDArray[np.uint64]] = []
        self._splits: list[NDArray[np.int8]] = []

    def add(self, rows: Iterable[Row]) -> None:
        """Take in those of a shard; of files of one content only one is to be given."""
        pairs = [(look, split) for look, split, _ in rows]
        self._looks.append(np.array([look for look, _ in pairs], np.uint64))
        self._splits.append(np.array([split for _, split in pairs], np.int8))

    def result(self, sidecars: Iterable[Path]) -> dict[str, Any]:
        """How many samples look like another one, and the first groups of them.

        Args:
            sidecars: Of the shards, with the rows given to `add` under `looks`.

        Returns:
            `samples`; `across_splits`, how many of them look like one of another split; `groups`,
            lists of keys.
        """
        looks, splits = np.concatenate(self._looks), np.concatenate(self._splits)
        distinct, place, counts = np.unique(looks, return_inverse=True, return_counts=True)
        lowest = np.full(len(distinct), np.iinfo(np.int8).max, np.int8)
        highest = np.full(len(distinct), np.iinfo(np.int8).min, np.int8)
        np.minimum.at(lowest, place, splits)
        np.maximum.at(highest, place, splits)
        alike = counts > 1
        named = set(distinct[alike][:_NAMED].tolist())
        groups: dict[int, list[str]] = {look: [] for look in sorted(named)}
        for sidecar in sidecars if named else ():
            for look, _, key in read_json(sidecar)["looks"]:
                if look in named and len(groups[look]) < _NAMED_EACH:
                    groups[look].append(key)
        return {
            "samples": int(counts[alike].sum()),
            "across_splits": int(counts[alike & (lowest < highest)].sum()),
            "groups": list(groups.values()),
        }
