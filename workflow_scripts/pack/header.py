"""What the beginning of an image file tells, before its pixels are decoded."""

import io
from dataclasses import dataclass
from pathlib import Path

from PIL import ExifTags, Image, UnidentifiedImageError

from workflow_scripts.pack import piecewise, tiff_tags
from workflow_scripts.pack.tiff_tags import Tags

# All that is ever opened: Pillow hands some others (EPS) to external programs. With JPEG it finds
# MPO too, a camera's JPEG with a preview behind it.
FORMATS = ("JPEG", "PNG", "TIFF", "BMP")

_LOSSY_TIFF = {6, 7, 34892, 50001}  # JPEG of three kinds and WebP inside


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """What the beginning of a file tells.

    Attributes:
        format: One of `FORMATS`, or MPO.
        mode: Pillow's; empty where only libvips knows the file.
        size: Width and height as stored, before the orientation is applied.
        orientation: Of EXIF, 1 to 8.
        lossless: Whether nothing was lost so far.
        bits: Of a sample.
        interlaced: Whether lines do not come from top to bottom.
        tags: Of a TIFF; None for others.
    """

    format: str
    mode: str
    size: tuple[int, int]
    orientation: int
    lossless: bool
    bits: int = 8
    interlaced: bool = False
    tags: Tags | None = None

    @property
    def pixels(self) -> int:
        """How many the file has."""
        return self.size[0] * self.size[1]


def open_image(source: bytes | Path) -> Image.Image:
    """A file as Pillow sees it.

    Raises:
        UnidentifiedImageError: It is none of `FORMATS`.
    """
    return Image.open(io.BytesIO(source) if isinstance(source, bytes) else source, formats=FORMATS)


def read_header(source: bytes | Path) -> Header:
    """The header of an image file.

    Raises:
        UnidentifiedImageError: It is none of `FORMATS`.
        ValueError: A TIFF that is truncated or broken; other errors of Pillow and libvips too.
    """
    if _beginning(source, 4) in tiff_tags.MAGIC:
        return _of_tiff(source)
    with open_image(source) as image:
        deep = image.format == "PNG" and _beginning(source, 25)[24] > 8
        return Header(
            format=str(image.format),
            mode=image.mode,
            size=image.size,
            orientation=_valid(_orientation(image, source)),
            lossless=image.format in ("PNG", "BMP"),
            bits=16 if deep else 8,
            interlaced=bool(image.info.get("progressive") or image.info.get("interlace")),
        )


def _of_tiff(source: bytes | Path) -> Header:
    with io.BytesIO(source) if isinstance(source, bytes) else source.open("rb") as file:
        tags = tiff_tags.read_tags(file)
    try:
        with open_image(source) as image:
            mode = image.mode
    except UnidentifiedImageError:
        mode = ""
    # Not Pillow's size, which has the two swapped where the orientation will turn the image.
    size = (tiff_tags.first(tags, tiff_tags.WIDTH, 0), tiff_tags.first(tags, tiff_tags.HEIGHT, 0))
    if min(size) < 1:
        raise ValueError("truncated or broken")
    return Header(
        format="TIFF",
        mode=mode,
        size=size,
        orientation=_valid(tiff_tags.first(tags, tiff_tags.ORIENTATION, 1)),
        lossless=tiff_tags.first(tags, tiff_tags.COMPRESSION, 1) not in _LOSSY_TIFF,
        bits=max(tags.get(tiff_tags.BITS) or (1,)),
        tags=tags,
    )


def _orientation(image: Image.Image, source: bytes | Path) -> object:
    """What the EXIF tag says."""
    if image.format == "PNG":  # where Pillow would decode all pixels to look for it behind them
        return piecewise.orientation(piecewise.open_raw(source, fail_on="none"))
    return image.getexif().get(ExifTags.Base.Orientation)


def _valid(orientation: object) -> int:
    """The orientation, 1 if it is none: viewers show such files as they are."""
    return orientation if isinstance(orientation, int) and 1 <= orientation <= 8 else 1


def _beginning(source: bytes | Path, count: int) -> bytes:
    if isinstance(source, bytes):
        return source[:count]
    with source.open("rb") as file:
        return file.read(count)
