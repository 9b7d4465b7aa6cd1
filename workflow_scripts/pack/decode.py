"""Bring an image file of any kind to what a shard holds: encoded RGB images of 8 bits.

A JPEG that is RGB already, upright, small enough and good enough for the loader's strict decoder is
kept byte for byte. All else is decoded and encoded again: as PNG where nothing was lost so far (so
nothing is lost now), else as JPEG. What Pillow cannot do well (many bands, more than 8 bits,
giants) is decoded by libvips, see `piecewise`.
"""

import io
import struct
import zlib
from dataclasses import dataclass
from pathlib import Path

import pyvips
from PIL import ExifTags, Image, ImageFile, UnidentifiedImageError

from workflow_scripts.pack import piecewise
from workflow_scripts.pack.encode import (
    EncodedFile,
    EncodedImage,
    Settings,
    UndecodableError,
    decode_strict,
    encode,
    fitted,
    histogram_of,
)
from workflow_scripts.pack.looks import look_of

# Above MOST_PIXELS this module never has Pillow decode: its own limit would refuse headers.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False

MOST_PIXELS = 2**25  # decoded whole: 100 MB of RGB, once or twice a thread
MOST_BYTES = 2**25  # of a file that is read whole

_JPEG = {"JPEG", "MPO"}  # MPO: a camera's JPEG with a preview behind it
_LOSSLESS = {"PNG", "BMP", "TIFF"}
_LOSSY_INSIDE = {"jpeg", "tiff_jpeg", "webp"}
_TIFF = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDE_MODES = ("I", "F")  # modes of Pillow that begin so have more than 8 bits
_SAMPLES, _BITS = 277, 258  # tags of TIFF

# What Pillow and libvips raise for damaged files.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    struct.error, zlib.error, pyvips.Error,
)  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Header:
    """What the beginning of a file tells."""

    format: str
    mode: str  # Pillow's; empty where only libvips knows the file
    size: tuple[int, int]  # width, height
    orientation: int
    lossless: bool
    bits: int = 8  # of a sample
    samples: int = 1  # bands of a TIFF
    interlaced: bool = False

    @property
    def pixels(self) -> int:
        return self.size[0] * self.size[1]


def encode_file(source: bytes | Path, settings: Settings, *, scratch: Path) -> EncodedFile:
    """The stored form of an image file.

    Args:
        source: The whole file, or where it lies if it is larger than `MOST_BYTES`: JPEG, PNG, TIFF
            or BMP; grey, palette, alpha, CMYK, 16 bits or many bands too.
        settings: The recipe's.
        scratch: A folder for what a giant's tiles become, until they are taken.

    Raises:
        UndecodableError: Broken, truncated, of no known format, without a defined range or bands,
            or a giant that cannot be decoded piecewise.
        OSError: The disk is full or broken.
    """
    if source == b"":
        raise UndecodableError("empty file")
    try:
        header = _header(source)
        if header.pixels > MOST_PIXELS or isinstance(source, Path):
            return _giant(source, header, settings, scratch)
        if _needs_vips(header, settings):
            image = piecewise.open_rgb(source, settings)
            rgb = _upright(Image.fromarray(piecewise.whole(image)), header.orientation)
            return encode(rgb, settings, lossless=header.lossless)
        return _ordinary(source, header, settings)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        raise UndecodableError(_plain(error)) from None


def _header(source: bytes | Path) -> _Header:
    try:
        with Image.open(io.BytesIO(source) if isinstance(source, bytes) else source) as image:
            tags = getattr(image, "tag_v2", {})
            bits = tags.get(_BITS, (8,))
            deep = image.format == "PNG" and _beginning(source, 25)[24] > 8
            return _Header(
                format=str(image.format),
                mode=image.mode,
                size=image.size,
                orientation=_orientation(image, source),
                lossless=image.format in _LOSSLESS
                and image.info.get("compression") not in _LOSSY_INSIDE,
                bits=16 if deep else max(bits if isinstance(bits, tuple) else (bits,)),
                samples=tags.get(_SAMPLES, 1),
                interlaced=bool(image.info.get("progressive") or image.info.get("interlace")),
            )
    except UnidentifiedImageError:
        if not _beginning(source, 4).startswith(_TIFF):
            raise
    image = piecewise.open_raw(source)
    lossless = "jpeg" not in piecewise.compression(image)
    return _Header(
        format="TIFF", mode="", size=(image.width, image.height), lossless=lossless,
        orientation=piecewise.orientation(image), samples=image.bands,
    )  # fmt: skip


def _orientation(image: Image.Image, source: bytes | Path) -> int:
    """What the EXIF tag says, 1 where it says nothing."""
    if image.format == "PNG":  # where Pillow would decode all pixels to look for it behind them
        return piecewise.orientation(piecewise.open_raw(source, fail_on="none"))
    return int(image.getexif().get(ExifTags.Base.Orientation, 1) or 1)


def _beginning(source: bytes | Path, count: int) -> bytes:
    if isinstance(source, bytes):
        return source[:count]
    with source.open("rb") as file:
        return file.read(count)


def _needs_vips(header: _Header, settings: Settings) -> bool:
    """Whether Pillow cannot read it, or would lose bits or bands."""
    chosen = settings.bands and header.samples > 3 and header.mode != "CMYK"
    return not header.mode or header.bits > 8 or header.mode.startswith(_WIDE_MODES) or bool(chosen)


def _giant(source: bytes | Path, header: _Header, settings: Settings, scratch: Path) -> EncodedFile:
    """A file that is not decoded whole; one at a time in a process."""
    if header.pixels > MOST_PIXELS:
        if settings.max_side is None:
            raise UndecodableError(
                f"more than {MOST_PIXELS:,} pixels: set the key max_side to have giants scaled or "
                "cut, or exclude it"
            )
        if not settings.too_large(header.size):
            raise UndecodableError(
                f"more than {MOST_PIXELS:,} pixels although its shorter side is within max_side"
            )
        if header.interlaced:
            raise UndecodableError(
                "a giant whose lines are interlaced (progressive JPEG or interlaced PNG) cannot be "
                "decoded piecewise; save it without"
            )
    with piecewise.ONE_GIANT:
        if header.pixels > MOST_PIXELS and settings.large == "tile":
            if header.orientation != 1:
                raise UndecodableError("a giant that its EXIF tag turns cannot be cut; turn it")
            image = piecewise.open_rgb(source, settings)
            return piecewise.cut(image, settings, scratch, lossless=header.lossless)
        pixels, reduced = piecewise.reduced(source, header.size, settings, most=MOST_PIXELS)
    rgb = Image.fromarray(pixels)
    if reduced and settings.max_side is not None:  # of the whole file: squares at its edges are cut
        rgb = rgb.resize(fitted(header.size, settings.max_side), Image.Resampling.LANCZOS)
    rgb = _upright(rgb, header.orientation)
    return encode(rgb, settings, lossless=header.lossless and not reduced)


def _ordinary(source: bytes, header: _Header, settings: Settings) -> EncodedFile:
    too_large = settings.too_large(header.size)
    if header.format in _JPEG and header.mode == "RGB" and header.orientation == 1:
        pixels = None if too_large else decode_strict(source)
        if pixels is not None and pixels.shape == (*header.size[::-1], 3):
            rgb = Image.fromarray(pixels)
            image = EncodedImage(data=source, height=rgb.height, width=rgb.width, look=look_of(rgb))
            return EncodedFile([image], histogram_of(rgb))
    with Image.open(io.BytesIO(source)) as file:
        if too_large and settings.large == "scale" and settings.max_side is not None:
            # JPEG decodes at 1/2, 1/4 or 1/8 for little; twice the target leaves the resize sharp.
            file.draft(None, fitted(file.size, 2 * settings.max_side))
        file.load()
        rgb = _upright(_to_rgb(file), header.orientation)
    return encode(rgb, settings, lossless=header.lossless)


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.has_transparency_data:
        # Where nothing was seen archives put any colour under full transparency: make it black.
        alpha = image.convert("RGBA")
        black = Image.new("RGBA", alpha.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, alpha).convert("RGB")
    return image if image.mode == "RGB" else image.convert("RGB")


_TURNS = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}


def _upright(image: Image.Image, orientation: int) -> Image.Image:
    """Turn and mirror as the EXIF tag says."""
    turn = _TURNS.get(orientation)
    return image if turn is None else image.transpose(turn)


def _plain(error: BaseException) -> str:
    """The library's reason without addresses, paths and counts, which differ from file to file."""
    if isinstance(error, pyvips.Error):
        return piecewise.reason(error)
    text = str(error) or type(error).__name__
    if "cannot identify image file" in text:
        return "not a known image format"
    return "truncated" if "truncated" in text.lower() else text
