"""Crop, flip and rotation of one sample: pure functions of (seed, epoch, sample).

Pillow does the resampling for images and, band by band in its 32-bit float mode, for chips: one
thread, so the pixels are the same in a worker process and outside, on any number of ranks.
"""

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.pretrain.order import STREAM_AUGMENT, stream

_TRIES = 10


@dataclass(frozen=True, kw_only=True)
class View:
    """How a sample is seen: `box` (left, top, right, bottom) in pixels, then flip, then turns."""

    box: tuple[int, int, int, int]
    flip: bool
    quarter_turns: int


def _centre(width: int, height: int, ratio: tuple[float, float]) -> tuple[int, int]:
    """The largest centre crop within the aspect ratios, (width, height)."""
    if width / height < ratio[0]:
        return width, round(width / ratio[0])
    if width / height > ratio[1]:
        return round(height * ratio[1]), height
    return width, height


def random_view(
    augment: dict[str, Any], *, width: int, height: int, seed: int, epoch: int, sample: int
) -> View:
    """Draw the view of a sample: torchvision's RandomResizedCrop, flip and quarter turns.

    Args:
        augment: The recipe's `augment`: scale (share of the area), ratio (width to height), flip,
            rotate (by multiples of 90°, for images taken from above).
        width: Pixels of the sample.
        height: Pixels of the sample.
        seed: The run's seed.
        epoch: Epoch from 0.
        sample: Index in the corpus.
    """
    draws = stream(seed, kind=STREAM_AUGMENT, epoch=epoch, sample=sample).random((_TRIES + 1, 4))
    smallest, largest = augment["scale"]
    narrow, wide = math.log(augment["ratio"][0]), math.log(augment["ratio"][1])
    for area_at, ratio_at, left_at, top_at in draws[:_TRIES]:
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
    flip_at, turn_at = draws[_TRIES, :2]
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


def seen_image(image: Image.Image, view: View, *, size: int) -> NDArray[np.uint8]:
    """An image's view resized (bicubic, antialiased): uint8 (size, size, 3)."""
    pixels = np.asarray(image.resize((size, size), Image.Resampling.BICUBIC, box=view.box))
    return _turned(pixels, view, axes=(0, 1))


def seen_chip(chip: NDArray[np.float32], view: View, *, size: int) -> NDArray[np.float32]:
    """A chip's view resized (bicubic, antialiased): float32 (bands, size, size)."""
    bands = [
        Image.fromarray(band).resize((size, size), Image.Resampling.BICUBIC, box=view.box)
        for band in chip
    ]
    return _turned(np.stack([np.asarray(band) for band in bands]), view, axes=(1, 2))


def _turned(pixels: NDArray[Any], view: View, *, axes: tuple[int, int]) -> NDArray[Any]:
    if view.flip:
        pixels = np.flip(pixels, axis=axes[1])
    return np.ascontiguousarray(np.rot90(pixels, view.quarter_turns, axes=axes))
