"""Decode image samples: apart from the reader, so that stages without pixels need no codecs."""

import io

import numpy as np
import simplejpeg
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.errors import UserError
from workflow_scripts.shards.corpus import Corpus

_JPEG = b"\xff\xd8"


def is_jpeg(data: bytes | bytearray) -> bool:
    """Whether encoded bytes are JPEG; else they are PNG."""
    return data[:2] == _JPEG


def decoded(data: bytes | bytearray) -> NDArray[np.uint8]:
    """The pixels of an encoded image: uint8 (height, width, 3).

    Raises:
        ValueError: The bytes are no image.
    """
    if is_jpeg(data):
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data)
        return pixels
    try:
        with Image.open(io.BytesIO(data)) as file:
            return np.array(file.convert("RGB"))
    except OSError as error:
        raise ValueError(str(error)) from None


def rgb_image(corpus: Corpus, row: int) -> Image.Image:
    """An image sample, decoded, in RGB.

    Raises:
        UserError: The bytes are no image.
    """
    try:
        return Image.fromarray(decoded(corpus.image(row)))
    except ValueError as error:
        raise UserError(
            f"{corpus.name(row)}: not a readable image ({error}); pack it again"
        ) from None
