"""Crop, flip and rotation of a sample: pure functions of (seed, epoch, sample)."""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.loader.draws import VIEW, bits, uniform

_TRIES = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """How a sample is seen: `box` (left, top, right, bottom) in pixels, then flip, then turns."""

    box: tuple[int, int, int, int]
    flip: bool
    quarter_turns: int


def view_draws(samples: NDArray[np.int64], *, seed: int, epoch: int) -> NDArray[np.float64]:
    """(n, 44) the random numbers that the views of some samples are made of."""
    return uniform(bits(samples, 4 * (_TRIES + 1), seed=seed, kind=VIEW, epoch=epoch))


def _centre(width: int, height: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """The largest centre crop within the aspect ratios, (width, height)."""
    if width / height < ratio[0]:
        return width, round(width / ratio[0])
    if width / height > ratio[1]:
        return round(height * ratio[1]), height
    return width, height


def random_view(
    augment: dict[str, Any], draws: NDArray[np.float64], *, width: int, height: int
) -> View:
    """The view of a sample: torchvision's RandomResizedCrop, flip and quarter turns.

    Args:
        augment: `scale` (share of the area), `ratio` (width to height), `flip`, `rotate` (by
            multiples of 90°, for images taken from above).
        draws: (44,) of `view_draws`.
        width: Pixels of the sample.
        height: Pixels of the sample.
    """
    smallest, largest = augment["scale"]
    narrow, wide = math.log(augment["ratio"][0]), math.log(augment["ratio"][1])
    for area_at, ratio_at, left_at, top_at in draws[: 4 * _TRIES].reshape(-1, 4).tolist():
        area = width * height * (smallest + (largest - smallest) * area_at)
        ratio = math.exp(narrow + (wide - narrow) * ratio_at)
        across, down = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if 0 < across <= width and 0 < down <= height:
            left = int(left_at * (width - across + 1))
            top = int(top_at * (height - down + 1))
            break
    else:
        across, down = _centre(width, height, tuple(augment["ratio"]))
        left, top = (width - across) // 2, (height - down) // 2
    flip_at, turn_at = draws[4 * _TRIES : 4 * _TRIES + 2].tolist()
    return View(
        box=(left, top, left + across, top + down),
        flip=bool(augment["flip"] and flip_at < 0.5),
        quarter_turns=int(turn_at * 4) if augment["rotate"] else 0,
    )


def centre_view(*, width: int, height: int) -> View:
    """The largest square in the middle, not flipped: how samples are seen for figures."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return View(box=(left, top, left + side, top + side), flip=False, quarter_turns=0)
