"""Splits by date: whole UTC days, so that neighbouring chips do not stand on two sides.

The days are ordered by a hash of (seed, day) and the order is cut at the shares, as files are in
`fetch.splits`: shares are of days, not of chips, and a day that comes later shifts each cut by one
place at most, so that few others move.
"""

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.splits import SPLITS, split_by_fraction

DAY = 86400  # seconds
_GRANULE = 300  # seconds: the next granule goes on where this one ends


def split_days(
    days: Sequence[str], shares: dict[str, float], *, seed: int
) -> dict[str, str | None]:
    """The split of each day; None for what the shares leave over.

    Args:
        days: ISO days, each once.
        shares: Of `train`, `val` and `test`, summing to 1 at most.
        seed: Another seed, another split.

    Raises:
        UserError: Some split with a share would have no day; tells how many days it takes.
    """
    chosen = split_by_fraction([(day, None) for day in days], shares, seed=seed)
    asked = [name for name in SPLITS if shares.get(name, 0) > 0]
    missing = [name for name in asked if name not in chosen]
    if missing:
        # With so many each split gets a day, however the cuts are rounded; often fewer do.
        needed = math.ceil(1 / min(shares[name] for name in asked))
        while _complete(needed - 1, shares, asked):
            needed -= 1
        listed = ", ".join(f"{name} {shares[name]:g}" for name in asked)
        raise UserError(
            f"{len(days)} days have labelled chips, too few for the split {listed}: "
            f"{', '.join(missing)} would have none. {needed} days or more are needed; add days, or "
            "change the dataset's split"
        )
    return dict(zip(days, chosen, strict=True))


def _complete(total: int, shares: dict[str, float], asked: list[str]) -> bool:
    """Whether every split gets one of so many days."""
    days = [(str(number), None) for number in range(total)]
    return set(asked) <= set(split_by_fraction(days, shares, seed=0))


def split_of_chips(
    times: NDArray[np.float64], split_of_day: dict[str, str | None]
) -> tuple[NDArray[np.int8], int]:
    """The split of each chip, and how many were left out at midnight.

    A granule that starts in the last five minutes of a day goes on in the next day's first one:
    where these days are on different sides, the chips before midnight are in no split.

    Args:
        times: (n,) granules' starts, seconds since 1970-01-01 UTC.
        split_of_day: What `split_days` gave; every chip's day is in it.

    Returns:
        (n,) indices into `SPLITS`, −1 for none, and the number left out.
    """
    sides = {
        int(np.datetime64(day, "D").astype(int)): -1 if name is None else SPLITS.index(name)
        for day, name in split_of_day.items()
    }
    days = (times // DAY).astype(np.int64)
    splits = np.array([sides[day] for day in days.tolist()], np.int8)
    after = np.array([sides.get(day + 1, -1) for day in days.tolist()], np.int8)
    late = times % DAY >= DAY - _GRANULE
    between = late & (splits >= 0) & (after >= 0) & (after != splits)
    splits[between] = -1
    return splits, int(between.sum())
