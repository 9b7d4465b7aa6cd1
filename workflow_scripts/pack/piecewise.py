"""Decode with libvips: giants line by line, TIFF files of many bands, more than 8 bits.

Pixels flow through in strips, so that memory holds a few lines of a giant and never the whole.
"""

import os
import re
import tempfile
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

# One thread inside the library: this package runs its own, and strips of many would wait in memory.
os.environ.setdefault("VIPS_CONCURRENCY", "1")

import numpy as np
import pyvips
from numpy.typing import NDArray

from workflow_scripts.pack.encode import (
    EncodedFile,
    EncodedImage,
    Settings,
    SpooledImages,
    UndecodableError,
    fitted,
    starts,
    tiles,
)
from workflow_scripts.pack.tiff_tags import Tags, last_is_alpha

# Results of operations are not kept: each file is decoded once.
pyvips.cache_set_max(0)

ONE_GIANT = threading.Lock()  # held while a giant is decoded: strips of several would add up

_FULL_SCALE = {"uchar": 255, "ushort": 65535}
_NO_RANGE = {
    "char": "signed 8-bit integers", "short": "signed 16-bit integers", "uint": "32-bit integers",
    "int": "32-bit integers", "float": "floating point", "double": "floating point",
}  # fmt: skip


def open_raw(source: bytes | Path, **options: Any) -> Any:
    """A file as libvips sees it, to be read once from top to bottom.

    Raises:
        pyvips.Error: It cannot.
    """
    options = {"access": "sequential", "fail_on": "error", **options}
    if isinstance(source, bytes):
        return pyvips.Image.new_from_buffer(source, "", **options)
    return pyvips.Image.new_from_file(str(source), **options)


def orientation(image: Any) -> object:
    """What the file says of its EXIF orientation, None where nothing."""
    return image.get("orientation") if image.get_typeof("orientation") else None


def open_rgb(source: bytes | Path, settings: Settings, *, tags: Tags | None, **options: Any) -> Any:
    """A file as an image of three bands of 8 bits, to be read once from top to bottom.

    Args:
        source: The file.
        settings: Bands and range of values.
        tags: Of a TIFF: what is alpha, which libvips guesses from the number of bands; None for
            other files, whose alpha libvips knows.
        options: Of `open_raw`.

    Raises:
        pyvips.Error: It cannot be read.
        UndecodableError: Many bands, or values without a defined range, and no setting for them.
    """
    image = open_raw(source, **options)
    if image.interpretation == "cmyk" and image.bands == 4:
        return image.colourspace("srgb")
    alpha = image.bands in (2, 4) and image.hasalpha() if tags is None else last_is_alpha(tags)
    many = tags is not None and (image.bands > 3 or (image.bands == 2 and not alpha))
    if many and settings.bands is not None:
        if max(settings.bands) > image.bands:
            raise UndecodableError(
                f"has {image.bands} bands, and the key bands asks for number {max(settings.bands)}"
            )
        chosen = [image[band - 1] for band in settings.bands]
        return _eight_bits(chosen[0].bandjoin(chosen[1:]), settings)
    colour = image[: image.bands - 1] if alpha else image
    if colour.bands not in (1, 3):
        raise UndecodableError(
            f"has {image.bands} bands: name with the key bands those that become red, green and "
            "blue"
        )
    rgb = _eight_bits(colour, settings)
    if alpha and image.format in _FULL_SCALE:
        share = image[image.bands - 1].cast("double") / _FULL_SCALE[image.format]
        rgb = (rgb * share).rint().cast("uchar")
    return rgb if rgb.bands == 3 else rgb.bandjoin([rgb, rgb])


def _eight_bits(image: Any, settings: Settings) -> Any:
    if image.format == "uchar":
        return image
    values = image.cast("double")
    if settings.value_range is not None:
        low, high = settings.value_range
        values = (values - low) * (255 / (high - low))
        # Where there is no number, no comparison holds: it becomes black.
        values = (values > 0).ifthenelse(values, 0.0)
        return (values < 255).ifthenelse(values, 255.0).rint().cast("uchar")
    if image.format == "ushort":
        return ((values + 128) / 257).floor().cast("uchar")
    raise UndecodableError(
        f"pixels are {_NO_RANGE.get(image.format, image.format)}, which have no defined range; "
        "name with the key value_range the values that become black and white"
    )


def whole(image: Any) -> NDArray[np.uint8]:
    """(height, width, 3) pixels of an 8-bit RGB image."""
    pixels: bytes = image.write_to_memory()
    return np.frombuffer(pixels, np.uint8).reshape(image.height, image.width, 3)


def reduced(
    source: bytes | Path,
    size: tuple[int, int],
    settings: Settings,
    *,
    tags: Tags | None,
    most: int,
) -> NDArray[np.uint8]:
    """A giant made smaller by means over squares of pixels, for the last scaling to be sharp.

    Args:
        source: The file.
        size: Its width and height.
        settings: With its `max_side` the result's shorter side is at least that, twice it if
            `most` allows.
        tags: Of a TIFF; None for other files.
        most: Pixels that the result may have.

    Returns:
        (height, width, 3) pixels.

    Raises:
        UndecodableError: Even at `max_side` it has more pixels than `most`.
    """
    width, height = size
    assert settings.max_side is not None
    factor = max(1, min(size) // (2 * settings.max_side))
    while (width // factor) * (height // factor) > most:
        factor += 1
    if min(size) // factor < settings.max_side or np.prod(fitted(size, settings.max_side)) > most:
        raise UndecodableError(f"more than {most:,} pixels even when scaled to max_side")
    image = open_rgb(source, settings, tags=tags)
    whole_squares = image.crop(0, 0, width - width % factor, height - height % factor)
    return whole(whole_squares.shrink(factor, factor))


def _strips(image: Any, side: int) -> Iterator[tuple[int, NDArray[np.uint8]]]:
    """(first line, (side, width, 3) pixels) of each strip of tiles, read from top to bottom."""
    region = pyvips.Region.new(image)
    strip = np.empty((0, image.width, 3), np.uint8)
    end = 0
    for row in starts(image.height, side):
        kept = strip[len(strip) - (end - row) :] if row < end else strip[:0]
        new = region.fetch(0, end, image.width, row + side - end)
        lines = np.frombuffer(new, np.uint8).reshape(-1, image.width, 3)
        strip = np.concatenate([kept, lines]) if len(kept) else lines
        end = row + side
        yield row, strip


def cut(image: Any, settings: Settings, scratch: Path, *, lossless: bool) -> EncodedFile:
    """A giant's tiles, encoded one after the other into a file: all of them or none.

    Args:
        image: 8-bit RGB, to be read once from top to bottom.
        settings: Size of a tile, and quality.
        scratch: Where the file goes.
        lossless: Whether tiles become PNG files.

    Raises:
        pyvips.Error: Broken or truncated.
    """
    assert settings.max_side is not None
    rows: list[tuple[int, EncodedImage]] = []
    histogram = np.zeros((3, 256), np.int64)
    with tempfile.NamedTemporaryFile(dir=scratch, prefix="giant-", delete=False) as spool:
        try:
            for row, strip in _strips(image, settings.max_side):
                for tile, counts in tiles(strip, row, settings, lossless=lossless):
                    spool.write(tile.data)
                    histogram += counts
                    rows.append((len(tile.data), replace(tile, data=b"")))
        except BaseException:
            Path(spool.name).unlink()
            raise
    return EncodedFile(SpooledImages(Path(spool.name), rows), histogram)


def reason(error: Exception) -> str:
    """What libvips says, without what differs from file to file."""
    text = " ".join(str(error).split())
    if re.search(r"truncat|premature|end of file|not enough data|read error", text, re.IGNORECASE):
        return "truncated"
    if "known format" in text or "known file format" in text:
        return "truncated or broken"
    return "libvips: " + re.sub(r"\S*/\S+|\d+", "…", text)
