"""From arrays to what people look at: thumbnails, grey maps, false colour."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.modis.bands import BANDS
from workflow_scripts.report.style import NO_VALUE
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.picture import rgb_image

Rgb = NDArray[np.uint8]

# Red, green, blue. Clouds of ice are cold (31) and dark at 1.6 and 2.1 µm (6, 7): they come out
# red; clouds of water bright cyan; clear land and sea dark.
_FALSE_COLOUR = ("31", "6", "7")
MAP_BAND = "31"  # the 11 µm window: temperature of what is seen


def spread_out(rows: NDArray[np.int64], count: int) -> list[int]:
    """Up to `count` of `rows`, evenly spaced: the same ones each time."""
    chosen = np.linspace(0, len(rows) - 1, min(count, len(rows))).round().astype(int)
    return [int(rows[index]) for index in chosen]


def thumbnail(corpus: Corpus, row: int, side: int) -> Rgb:
    """The middle square of an image sample, (side, side, 3) or smaller.

    Raises:
        UserError: The bytes are no image.
    """
    image = rgb_image(corpus, row)
    short = min(image.size)
    left, top = (image.width - short) // 2, (image.height - short) // 2
    image = image.crop((left, top, left + short, top + short))
    if short > side:
        image = image.resize((side, side), Image.Resampling.LANCZOS)
    return np.asarray(image)


def is_thermal(band: str) -> bool:
    """Whether a MODIS band measures emitted light: 20 to 36 without 26."""
    return band in BANDS and BANDS[band].emissive


def limits(values: NDArray[Any], percentiles: tuple[float, float]) -> tuple[float, float]:
    """Those two percentiles of what is finite, apart from each other; 0 and 1 where nothing is."""
    finite = values[np.isfinite(values)]
    if not len(finite):
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(finite, percentiles))
    return low, max(high, low + max(abs(low), 1.0) * 1e-6)


def map_band(bands: Sequence[str]) -> int:
    """Channel of the band shown as a grey map: 31, or the last one."""
    return list(bands).index(MAP_BAND) if MAP_BAND in bands else len(bands) - 1


def colour_bands(bands: Sequence[str]) -> list[int]:
    """Channels of the false colour; the first three where the usual ones are missing."""
    names = list(bands)
    if all(name in names for name in _FALSE_COLOUR):
        return [names.index(name) for name in _FALSE_COLOUR]
    return [min(channel, len(names) - 1) for channel in range(3)]


class FalseColour:
    """Three bands stretched between their 2nd and 98th percentile, thermal ones turned round.

    The stretch is of all samples together, so that they can be compared. A pixel without a value
    in one of the bands has a colour of its own.

    Args:
        chips: (n, height, width, bands) in physical units.
        bands: Their names.
    """

    def __init__(self, chips: NDArray[Any], bands: Sequence[str]) -> None:
        self.channels = colour_bands(bands)
        self.turned = [is_thermal(bands[channel]) for channel in self.channels]
        self.limits = [limits(chips[..., channel], (2, 98)) for channel in self.channels]
        self.usual = tuple(bands[channel] for channel in self.channels) == _FALSE_COLOUR
        names = [
            f"band {bands[channel]}{' (cold is bright)' if turned else ''}"
            for channel, turned in zip(self.channels, self.turned, strict=True)
        ]
        self.caption = "red {}, green {}, blue {}".format(*names)

    def __call__(self, chip: NDArray[Any]) -> Rgb:
        """(height, width, bands) → (height, width, 3)."""
        planes = []
        for channel, turned, (low, high) in zip(
            self.channels, self.turned, self.limits, strict=True
        ):
            plane = np.clip((chip[..., channel] - low) / (high - low), 0, 1)
            planes.append(1 - plane if turned else plane)
        stacked = np.stack(planes, axis=-1)
        missing = np.isnan(stacked.sum(axis=-1))
        picture = (255 * np.nan_to_num(stacked)).round().astype(np.uint8)
        return cover(picture, missing, NO_VALUE)


def unit_rgb(image: NDArray[Any]) -> Rgb:
    """(height, width, 3) in [0, 1], clipped, → bytes."""
    return (255 * np.clip(np.nan_to_num(image), 0, 1)).round().astype(np.uint8)


def cover(image: Rgb, mask: NDArray[np.bool_], colour: str) -> Rgb:
    """The image with removed pixels painted over."""
    painted = image.copy()
    painted[mask] = [int(colour[index : index + 2], 16) for index in (1, 3, 5)]
    return painted
