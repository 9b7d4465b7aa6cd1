"""Splits by fraction: class by class, never with the same file on two sides, and lasting.

Items are ordered by a hash of (seed, content) and the order is cut at the fractions. So the split
does not depend on names or on the order of the files, and a new image shifts a cut by one place:
few others move.
"""

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from workflow_scripts.errors import UserError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SPLITS = ("train", "val", "test")
SIDES = (*SPLITS, None)  # None: what the fractions leave over
_ROUNDING = 1e-9  # fractions such as 0.7 + 0.2 + 0.1 sum to a little more than 1


def check_fractions(fractions: dict[str, float]) -> None:
    """Refuse fractions that are negative or sum to more than 1.

    Raises:
        UserError: Naming them.
    """
    total = sum(fractions.values())
    if min(fractions.values()) < 0 or total > 1 + _ROUNDING:
        listed = ", ".join(f"{name} {value:g}" for name, value in fractions.items())
        raise UserError(
            f"split fractions {listed} sum to {total:g}: none may be negative and the sum may be "
            "at most 1 (what is left over belongs to no split)"
        )


def split_by_fraction(
    items: Iterable[tuple[str, str | None]],
    fractions: dict[str, float],
    *,
    seed: int,
) -> list[str | None]:
    """The split of each item.

    Args:
        items: (sha256 of the content, class) of each item; with one class for all (None, say) the
            division is not stratified.
        fractions: Share of `train`, `val` and `test` in each class; a missing one is 0. A class of
            n items is cut at the whole numbers nearest to n × train, n × (train + val) and so on.
        seed: Another seed, another split.

    Returns:
        Split names in the order of the items; None for what the fractions leave over. Items of
        the same content share one, also where their classes differ.

    Raises:
        UserError: The fractions sum to more than 1.
    """
    items = list(items)
    places = bytearray().join(place(content, seed) for content, _ in items)
    sides = sides_by_place(places, [label for _, label in items], fractions)
    return [SIDES[side] for side in sides.tolist()]


def place(content: str, seed: int) -> bytes:
    """Where a content, by its sha256, stands in the order that is cut: 32 bytes."""
    return hashlib.sha256(f"{seed}:{content}".encode()).digest()


def sides_by_place(
    places: bytes | bytearray, labels: Sequence[str | None], fractions: dict[str, float]
) -> "NDArray[np.int8]":
    """`split_by_fraction` over a million items in some 100 MB.

    Args:
        places: `place` of each item, one after the other.
        labels: Class of each.
        fractions: As `split_by_fraction` takes them.

    Returns:
        Of each item, the place of its split in `SIDES`.

    Raises:
        UserError: The fractions sum to more than 1.
    """
    import numpy as np  # here: processes that only hash import this module too

    fractions = {name: float(fractions.get(name, 0.0)) for name in SPLITS}
    check_fractions(fractions)
    if not labels:
        return np.empty(0, np.int8)
    names = sorted({label or "" for label in labels})
    rank = {name: number for number, name in enumerate(names)}
    classes = np.fromiter((rank[label or ""] for label in labels), np.int32, len(labels))
    # Items in the order of places, copies side by side.
    words = np.frombuffer(places, ">u8").reshape(-1, 4).astype(np.uint64)
    order = np.lexsort((words[:, 3], words[:, 2], words[:, 1], words[:, 0]))
    words = words[order]
    starts = np.flatnonzero(np.r_[True, np.any(words[1:] != words[:-1], axis=1)])
    copies = np.diff(starts, append=len(labels))
    # Copies in two classes count with the first class by name.
    owners = np.minimum.reduceat(classes[order], starts)
    sides = np.empty(len(starts), np.int8)
    by_class = np.argsort(owners, kind="stable")
    for members in np.split(by_class, np.flatnonzero(np.diff(owners[by_class])) + 1):
        before = np.cumsum(copies[members]) - copies[members]
        sides[members] = np.searchsorted(
            _ends(int(copies[members].sum()), fractions), before, side="right"
        )
    found = np.empty(len(labels), np.int8)
    found[order] = np.repeat(sides, copies)
    return found


def _ends(total: int, fractions: dict[str, float]) -> list[int]:
    """Where each split ends among so many items of a class."""
    ends, share = [], 0.0
    for name in SPLITS:
        share += fractions[name]
        ends.append(math.floor(share * total + 0.5 + _ROUNDING))
    return ends
