"""Bring an image file of any kind to what a shard holds: an encoded RGB image of 8 bits.

A JPEG that is RGB already, upright and small enough is kept byte for byte. All else is decoded and
encoded again: as PNG where nothing was lost so far (so nothing is lost now), else as JPEG.
"""

import io
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import ExifTags, Image, ImageFile, ImageOps

# MillionAID has images of 31,672 × 31,672 px, which Pillow would take for an attack; beyond 2³⁰
# pixels it still refuses.
Image.MAX_IMAGE_PIXELS = 2**29
ImageFile.LOAD_TRUNCATED_IMAGES = False

_LOSSLESS = {"PNG", "BMP", "TIFF"}
_FULL_RANGE_16 = {"I;16", "I;16L", "I;16B", "I;16N"}
_NO_RANGE = {"I": "32-bit integers", "F": "floating point"}


class UndecodableError(Exception):
    """A file that cannot become an RGB image, with the reason."""


@dataclass(frozen=True, slots=True, kw_only=True)
class EncodedImage:
    """An image as a shard stores it, and the (3, 256) histogram of its pixels."""

    data: bytes
    height: int
    width: int
    histogram: NDArray[np.int64]


def encode_image(data: bytes, *, max_side: int | None, quality: int) -> EncodedImage:
    """The stored form of an image file.

    Args:
        data: The whole file: JPEG, PNG, TIFF or BMP; grey, palette, alpha, CMYK or 16 bits too.
        max_side: Images whose shorter side is longer are scaled down so that it is this; pixels.
        quality: Of JPEG, where one is encoded.

    Raises:
        UndecodableError: Broken, truncated, of no known format, or without a defined range.
    """
    try:
        return _encode(data, max_side=max_side, quality=quality)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        # What Pillow raises for damaged files, besides its own.
        raise UndecodableError(_plain(error)) from None


def _encode(data: bytes, *, max_side: int | None, quality: int) -> EncodedImage:
    with Image.open(io.BytesIO(data)) as image:
        too_large = max_side is not None and min(image.size) > max_side
        upright = image.getexif().get(ExifTags.Base.Orientation, 1) in (0, 1)
        keep = image.format == "JPEG" and image.mode == "RGB" and upright and not too_large
        lossless = image.format in _LOSSLESS and image.info.get("compression") not in (
            "jpeg", "tiff_jpeg", "webp",
        )  # fmt: skip
        if too_large and max_side is not None:
            # JPEG decodes at 1/2, 1/4 or 1/8 for little; twice the target leaves the resize sharp.
            image.draft(None, _fitted(image.size, 2 * max_side))
        image.load()
        rgb = _to_rgb(ImageOps.exif_transpose(image))
    if max_side is not None and min(rgb.size) > max_side:
        rgb = rgb.resize(_fitted(rgb.size, max_side), Image.Resampling.LANCZOS)
    stored = rgb
    if not keep:
        buffer = io.BytesIO()
        if lossless and not too_large:
            rgb.save(buffer, "PNG")
        else:
            rgb.save(buffer, "JPEG", quality=quality, subsampling=0)
            # Statistics are of what is stored.
            stored = Image.open(io.BytesIO(buffer.getvalue()))
        data = buffer.getvalue()
    histogram = np.array(stored.histogram(), np.int64).reshape(3, 256)
    return EncodedImage(data=data, height=rgb.height, width=rgb.width, histogram=histogram)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _NO_RANGE:
        raise ValueError(
            f"pixels are {_NO_RANGE[image.mode]}, which have no defined range; convert to 8 bits"
        )
    if image.mode in _FULL_RANGE_16:
        # Pillow would clip at 255 instead.
        wide = np.asarray(image).astype(np.uint32)
        return Image.fromarray(((wide + 128) // 257).astype(np.uint8)).convert("RGB")
    if image.has_transparency_data:
        # Where nothing was seen archives put any colour under full transparency: make it black.
        alpha = image.convert("RGBA")
        black = Image.new("RGBA", alpha.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


def _fitted(size: tuple[int, int], max_side: int) -> tuple[int, int]:
    """(width, height) with the shorter side `max_side`."""
    ratio = max_side / min(size)
    return round(size[0] * ratio), round(size[1] * ratio)


def _plain(error: BaseException) -> str:
    """Pillow's reason without addresses of objects, which differ from run to run."""
    text = str(error) or type(error).__name__
    return "not a known image format" if "cannot identify image file" in text else text
