"""Which labelled row belongs to which chip: by platform, time and great-circle distance.

A row and a chip are a candidate pair if their platforms are equal, their times are at most
`max_seconds` and their positions at most `max_km` apart. Pairs are taken in the order of their
distance (then of their difference in time, then of row and chip), each row and each chip once.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.neighbors import BallTree

from workflow_scripts.pack.label_rows import PLATFORMS, LabelRows

EARTH_RADIUS_KM = 6371.0088  # mean radius (IUGG)


@dataclass(frozen=True, kw_only=True)
class Chips:
    """Chips as columns of one length: platform as in `LabelRows`, time of the granule's start.

    Attributes:
        time: float64, seconds since 1970-01-01 UTC.
        platform: uint8, index into `PLATFORMS`.
        latitude: float64, degrees north, of the centre.
        longitude: float64, degrees east.
    """

    time: NDArray[np.float64]
    platform: NDArray[np.uint8]
    latitude: NDArray[np.float64]
    longitude: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Pairs:
    """Pairs: numbers of row and chip, how far apart they are in km and seconds, the chip's time."""

    row: NDArray[np.int64]
    chip: NDArray[np.int64]
    km: NDArray[np.float64]
    seconds: NDArray[np.float64]
    chip_time: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.row)

    def take(self, which: Any) -> "Pairs":
        """Some pairs: a mask or numbers."""
        return Pairs(**{f.name: getattr(self, f.name)[which] for f in fields(self)})


_ZERO = np.zeros(0)
_NO_PAIRS = Pairs(
    row=_ZERO.astype(np.int64),
    chip=_ZERO.astype(np.int64),
    km=_ZERO,
    seconds=_ZERO,
    chip_time=_ZERO,
)


def joined_pairs(parts: Sequence[Pairs]) -> Pairs:
    """Pairs of several days as one."""
    parts = [_NO_PAIRS, *parts]
    return Pairs(
        **{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Pairs)}
    )


def great_circle_km(
    latitude: NDArray[np.float64],
    longitude: NDArray[np.float64],
    other_latitude: NDArray[np.float64],
    other_longitude: NDArray[np.float64],
) -> NDArray[np.float64]:
    """Distance on the sphere in km between positions in degrees (haversine formula)."""
    first, second = np.radians(latitude), np.radians(other_latitude)
    turn = np.radians(other_longitude - longitude)
    half = np.sin((second - first) / 2) ** 2
    half = half + np.cos(first) * np.cos(second) * np.sin(turn / 2) ** 2
    return 2 * EARTH_RADIUS_KM * np.arcsin(np.sqrt(np.clip(half, 0, 1)))


def near_in_time(
    times: NDArray[np.float64], chip_times: NDArray[np.float64], max_seconds: float
) -> NDArray[np.bool_]:
    """Whether there is any chip time within the tolerance of each time."""
    known = np.unique(chip_times)
    if not len(known):
        return np.zeros(len(times), bool)
    right = np.searchsorted(known, times).clip(max=len(known) - 1)
    left = (right - 1).clip(min=0)
    gap = np.minimum(np.abs(known[right] - times), np.abs(known[left] - times))
    return gap <= max_seconds


def candidates(
    rows: LabelRows, chips: Chips, *, max_km: float, max_seconds: float
) -> tuple[NDArray[np.bool_], Pairs]:
    """The candidate pairs of rows and chips.

    Returns:
        Whether each row has a chip of its platform and time, wherever, and the pairs.
    """
    in_time = np.zeros(len(rows), bool)
    parts = []
    for platform in range(len(PLATFORMS)):
        mine = np.flatnonzero(rows.platform == platform)
        theirs = np.flatnonzero(chips.platform == platform)
        in_time[mine] = near_in_time(rows.time[mine], chips.time[theirs], max_seconds)
        mine = mine[in_time[mine] & ~np.isnan(rows.latitude[mine] + rows.longitude[mine])]
        if len(mine) and len(theirs):
            parts.append(_pairs(rows, chips, mine, theirs, max_km=max_km))
    pairs = joined_pairs(parts)
    return in_time, pairs.take((pairs.km <= max_km) & (pairs.seconds <= max_seconds))


def _pairs(
    rows: LabelRows,
    chips: Chips,
    mine: NDArray[np.int64],
    theirs: NDArray[np.int64],
    *,
    max_km: float,
) -> Pairs:
    """Pairs of those rows and those chips that are about near enough, at any time."""
    places = np.radians(np.stack([chips.latitude[theirs], chips.longitude[theirs]], axis=1))
    wanted = np.radians(np.stack([rows.latitude[mine], rows.longitude[mine]], axis=1))
    # A little more: the tree rounds otherwise than the formula that decides.
    found = BallTree(places, metric="haversine").query_radius(
        wanted, r=(max_km + 1e-6) / EARTH_RADIUS_KM
    )
    row = np.repeat(mine, [len(near) for near in found])
    chip = theirs[np.concatenate(found)]
    km = great_circle_km(
        rows.latitude[row], rows.longitude[row], chips.latitude[chip], chips.longitude[chip]
    )
    time = chips.time[chip]
    return Pairs(row=row, chip=chip, km=km, seconds=np.abs(rows.time[row] - time), chip_time=time)


def one_to_one(pairs: Pairs, *, rows: int, chips: int) -> Pairs:
    """The pairs that are taken, by rising chip.

    Args:
        pairs: Candidates in any order.
        rows: How many rows there are.
        chips: How many chips there are.
    """
    ordered = pairs.take(np.lexsort((pairs.chip, pairs.row, pairs.seconds, pairs.km)))
    taken_row, taken_chip = np.zeros(rows, bool), np.zeros(chips, bool)
    kept = []
    for number, (row, chip) in enumerate(zip(ordered.row, ordered.chip, strict=True)):
        if not (taken_row[row] or taken_chip[chip]):
            taken_row[row] = taken_chip[chip] = True
            kept.append(number)
    chosen = ordered.take(np.array(kept, np.int64))
    return chosen.take(np.argsort(chosen.chip))
