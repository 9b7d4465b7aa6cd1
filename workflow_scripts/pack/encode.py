"""Encode RGB pixels as a shard holds them: as they are, scaled down, or cut into tiles."""

import io
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.pack.looks import look_of
from workflow_scripts.shards.picture import decoded

Histogram = NDArray[np.int64]  # (3, 256): pixels by channel and value


class UndecodableError(Exception):
    """A file that cannot become RGB images, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a recipe says of each image.

    Attributes:
        max_side: Images whose shorter side is longer are too large; pixels, None for no limit.
        large: What becomes of those: `scale` (the shorter side becomes `max_side`) or `tile` (cut
            into squares of `max_side`).
        quality: Of JPEG, where one is encoded.
        bands: Which bands (from 1) of a TIFF become red, green and blue, where that is not plain.
        value_range: Values of more than 8 bits, or floats, that become 0 and 255.
    """

    max_side: int | None = None
    large: str = "scale"
    quality: int = 95
    bands: tuple[int, int, int] | None = None
    value_range: tuple[float, float] | None = None

    @classmethod
    def of(cls, recipe: dict[str, Any]) -> "Settings":
        """The settings in a pack recipe of images."""
        bands, value_range = recipe["bands"], recipe["value_range"]
        return cls(
            max_side=recipe["max_side"],
            large=recipe["large"],
            quality=recipe["quality"],
            bands=None if bands is None else tuple(bands),
            value_range=None if value_range is None else tuple(value_range),
        )

    def too_large(self, size: tuple[int, int]) -> bool:
        """Whether an image of that size is scaled or cut."""
        return self.max_side is not None and min(size) > self.max_side


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An image as a shard stores it; `place` tells a tile from others of its file."""

    data: bytes
    height: int
    width: int
    look: int  # of `looks.look_of`
    place: str = ""


@dataclass(frozen=True, slots=True)
class SpooledImages:
    """Encoded images of one giant, end to end in a file that goes when they have been taken."""

    path: Path
    rows: list[tuple[int, EncodedImage]]  # bytes of each, and all else

    def __iter__(self) -> Iterator[EncodedImage]:
        with self.path.open("rb") as file:
            for size, row in self.rows:
                yield replace(row, data=file.read(size))
        self.path.unlink()


@dataclass(frozen=True, slots=True)
class EncodedFile:
    """What one file of a dataset becomes: its images, and the histogram of all their pixels."""

    images: Iterable[EncodedImage]
    histogram: Histogram


def histogram_of(image: Image.Image) -> Histogram:
    """The (3, 256) histogram of an RGB image."""
    return np.array(image.histogram(), np.int64).reshape(3, 256)


def decode_strict(data: bytes) -> NDArray[np.uint8] | None:
    """A JPEG as the loader decodes it, (height, width, 3); None if it refuses."""
    try:
        return decoded(data)
    except ValueError:
        return None


def fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side `max_side`."""
    ratio = max_side / min(size)
    return round(size[0] * ratio), round(size[1] * ratio)


def encode(rgb: Image.Image, settings: Settings, *, lossless: bool) -> EncodedFile:
    """The stored form of an upright RGB image.

    Args:
        rgb: The image.
        settings: What becomes of large ones.
        lossless: Whether nothing was lost so far: then nothing is lost now unless it is scaled.
    """
    if not settings.too_large(rgb.size):
        return _one(rgb, settings, lossless=lossless)
    assert settings.max_side is not None
    if settings.large == "scale":
        size = fitted(rgb.size, settings.max_side)
        return _one(rgb.resize(size, Image.Resampling.LANCZOS), settings, lossless=False)
    images, histogram = [], np.zeros((3, 256), np.int64)
    for row in starts(rgb.height, settings.max_side):
        strip = np.asarray(rgb.crop((0, row, rgb.width, row + settings.max_side)))
        for tile, counts in tiles(strip, row, settings, lossless=lossless):
            images.append(tile)
            histogram += counts
    return EncodedFile(images, histogram)


def _one(rgb: Image.Image, settings: Settings, *, lossless: bool) -> EncodedFile:
    image, histogram = _encoded(rgb, settings.quality, lossless=lossless)
    return EncodedFile([image], histogram)


def starts(length: int, side: int) -> list[int]:
    """Where tiles begin along an edge: the last one is moved inwards to end with the image."""
    return [*range(0, length - side, side), length - side]


def tiles(
    strip: NDArray[np.uint8], row: int, settings: Settings, *, lossless: bool
) -> Iterator[tuple[EncodedImage, Histogram]]:
    """The tiles of a strip, encoded, from left to right.

    Args:
        strip: (max_side, width, 3) pixels.
        row: Line of the image at which the strip begins.
        settings: Size of a tile, and quality.
        lossless: Whether tiles become PNG files.
    """
    side = len(strip)
    for column in starts(strip.shape[1], side):
        tile = Image.fromarray(np.ascontiguousarray(strip[:, column : column + side]))
        yield _encoded(tile, settings.quality, lossless=lossless, place=f"@{row},{column}")


def _encoded(
    rgb: Image.Image, quality: int, *, lossless: bool, place: str = ""
) -> tuple[EncodedImage, Histogram]:
    buffer = io.BytesIO()
    if lossless:
        rgb.save(buffer, "PNG")
        counts = histogram_of(rgb)
    else:
        rgb.save(buffer, "JPEG", quality=quality, subsampling=0)
        # Statistics are of what is stored.
        counts = histogram_of(Image.fromarray(decoded(buffer.getvalue())))
    image = EncodedImage(
        data=buffer.getvalue(), height=rgb.height, width=rgb.width, look=look_of(rgb), place=place
    )
    return image, counts
