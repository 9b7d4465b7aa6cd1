"""Bring an image file of any kind to what a shard holds: encoded RGB images of 8 bits.

A JPEG that is RGB already, upright, small enough and good enough for the loader's strict decoder is
kept byte for byte. All else is decoded and encoded again: as PNG where nothing was lost so far (so
nothing is lost now), else as JPEG. What Pillow cannot do well (many bands, more than 8 bits,
giants) is decoded by libvips, see `piecewise`.
"""

import re
import struct
import zlib
from pathlib import Path

import pyvips
from PIL import Image, ImageFile

from workflow_scripts.pack import piecewise, tiff_tags
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
from workflow_scripts.pack.header import Header, open_image, read_header
from workflow_scripts.pack.looks import look_of

# Above MOST_PIXELS this module never has Pillow decode: its own limit would refuse headers.
Image.MAX_IMAGE_PIXELS = None
ImageFile.LOAD_TRUNCATED_IMAGES = False

MOST_PIXELS = 2**25  # decoded whole: 100 MB of RGB, once or twice a thread
MOST_BYTES = 2**25  # of a file that is read whole by several threads at a time

_JPEG = {"JPEG", "MPO"}
_WIDE_MODES = ("I", "F")  # modes of Pillow that begin so have more than 8 bits
_UNSIGNED = 1  # of the tag SampleFormat

# What Pillow and libvips raise for damaged files.
_DAMAGE = (
    OSError, ValueError, SyntaxError, EOFError, TypeError, KeyError, IndexError, OverflowError,
    struct.error, zlib.error, pyvips.Error,
)  # fmt: skip


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
        header = read_header(source)
        if header.pixels > MOST_PIXELS:
            return _giant(source, header, settings, scratch)
        if isinstance(source, bytes):
            return _whole(source, header, settings)
        with piecewise.ONE_GIANT:  # of bytes: several at a time would add up
            return _whole(source, header, settings)
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the file's
        raise UndecodableError(_plain(error)) from None


def _needs_vips(header: Header, settings: Settings) -> bool:
    """Whether Pillow cannot read it, or would lose bits, signs or bands."""
    if not header.mode or header.bits > 8 or header.mode.startswith(_WIDE_MODES):
        return True
    if header.tags is None or tiff_tags.is_cmyk(header.tags):
        return False
    if set(header.tags.get(tiff_tags.SAMPLE_FORMAT, ())) - {_UNSIGNED}:
        return True
    samples = tiff_tags.first(header.tags, tiff_tags.SAMPLES, 1)
    if tiff_tags.last_is_alpha(header.tags):
        return settings.bands is not None and samples > 3
    return samples not in (1, 3)


def _giant(source: bytes | Path, header: Header, settings: Settings, scratch: Path) -> EncodedFile:
    """A file that is not decoded whole; one at a time in a process."""
    if settings.max_side is None:
        raise UndecodableError(
            f"more than {MOST_PIXELS:,} pixels: set the key max_side to have giants scaled or "
            "cut, or exclude it"
        )
    if not settings.too_large(header.size):
        raise UndecodableError(
            f"more than {MOST_PIXELS:,} pixels although its shorter side is within max_side"
        )
    if header.format == "BMP":
        raise UndecodableError("a giant of a format that cannot be decoded piecewise (BMP)")
    if header.interlaced:
        raise UndecodableError(
            "a giant whose lines are interlaced (progressive JPEG or interlaced PNG) cannot be "
            "decoded piecewise; save it without"
        )
    with piecewise.ONE_GIANT:
        if settings.large == "tile":
            if header.orientation != 1:
                raise UndecodableError("a giant that its EXIF tag turns cannot be cut; turn it")
            image = piecewise.open_rgb(source, settings, tags=header.tags)
            return piecewise.cut(image, settings, scratch, lossless=header.lossless)
        pixels = piecewise.reduced(
            source, header.size, settings, tags=header.tags, most=MOST_PIXELS
        )
    # To the size of the whole file: reducing it cuts incomplete squares at its edges.
    size = fitted(header.size, settings.max_side)
    rgb = Image.fromarray(pixels).resize(size, Image.Resampling.LANCZOS)
    return encode(_upright(rgb, header.orientation), settings, lossless=False)


def _whole(source: bytes | Path, header: Header, settings: Settings) -> EncodedFile:
    """A file whose pixels are decoded all at once."""
    if _needs_vips(header, settings):
        image = piecewise.open_rgb(source, settings, tags=header.tags)
        rgb = _upright(Image.fromarray(piecewise.whole(image)), header.orientation)
        return encode(rgb, settings, lossless=header.lossless)
    too_large = settings.too_large(header.size)
    if header.format in _JPEG:
        source = source if isinstance(source, bytes) else source.read_bytes()
        if header.mode == "RGB" and header.orientation == 1 and not too_large:
            pixels = decode_strict(source)
            if pixels is not None and pixels.shape == (*header.size[::-1], 3):
                return _kept(source, Image.fromarray(pixels))
    with open_image(source) as file:
        if too_large and settings.large == "scale" and settings.max_side is not None:
            # JPEG decodes at 1/2, 1/4 or 1/8 for little; twice the target leaves the resize sharp.
            file.draft(None, fitted(file.size, 2 * settings.max_side))
        file.load()
        rgb = _to_rgb(file)
    if header.format != "TIFF":  # of which Pillow has turned the pixels while it loaded them
        rgb = _upright(rgb, header.orientation)
    return encode(rgb, settings, lossless=header.lossless)


def _kept(data: bytes, rgb: Image.Image) -> EncodedFile:
    image = EncodedImage(data=data, height=rgb.height, width=rgb.width, look=look_of(rgb))
    return EncodedFile([image], histogram_of(rgb))


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
    if re.search(r"decoder error|truncated or broken|not enough data|Truncated File", text):
        return "truncated or broken"
    return "truncated" if "truncated" in text.lower() else text
