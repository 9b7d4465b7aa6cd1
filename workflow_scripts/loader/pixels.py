"""From stored bytes or counts to the pixels of a view: decode, crop, resize, flip, turn.

JPEG is decoded by libjpeg-turbo (simplejpeg), all else by Pillow; torch resizes, in 8 bits with
bicubic weights over the area that a pixel covers, as Pillow does, and several times faster. The
pixels are the same in every process.
"""

import numpy as np
import simplejpeg
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from workflow_scripts.loader.views import View
from workflow_scripts.shards import layout
from workflow_scripts.shards.picture import decoded, is_jpeg

# A JPEG is decoded at 1/2, 1/4 or 1/8 where the crop keeps this many times the pixels asked for:
# the resize still averages, and the pictures are alike to 44 dB.
_SPARE = 2


def seen_image(data: bytes | bytearray, view: View, *, size: int) -> NDArray[np.uint8]:
    """An encoded image as a view shows it: uint8 (size, size, 3).

    Raises:
        ValueError: The bytes are no image.
    """
    left, top, right, bottom = view.box
    if is_jpeg(data):
        shrink = _shrink(min(right - left, bottom - top), size)
        pixels, factor = _decoded_jpeg(data, shrink)
        left, right = round(left * factor[0]), round(right * factor[0])
        top, bottom = round(top * factor[1]), round(bottom * factor[1])
    else:
        pixels = decoded(data)
    crop = torch.from_numpy(pixels[top:bottom, left:right]).permute(2, 0, 1)[None]
    # Channels last, as decoded: torch's kernel for 8 bits is made for it.
    crop = crop.contiguous(memory_format=torch.channels_last)
    seen = interpolate(crop, (size, size), mode="bicubic", antialias=True)
    found: NDArray[np.uint8] = _turned(seen, view)[0].permute(1, 2, 0).numpy()
    return found


def _shrink(crop: int, size: int) -> int:
    return max(by for by in (1, 2, 4, 8) if by == 1 or crop >= by * _SPARE * size)


def _decoded_jpeg(
    data: bytes | bytearray, shrink: int
) -> tuple[NDArray[np.uint8], tuple[float, float]]:
    """RGB pixels at 1/shrink of the size, and by what width and height were multiplied."""
    if shrink == 1:
        return decoded(data), (1.0, 1.0)
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(
        data, min_height=-(-height // shrink), min_width=-(-width // shrink)
    )
    return pixels, (pixels.shape[1] / width, pixels.shape[0] / height)


def seen_chip(counts: NDArray[np.uint16], view: View, *, size: int) -> NDArray[np.uint16]:
    """A chip as a view shows it, in counts rounded to whole ones: uint16 (bands, size, size).

    A count is a linear function of the physical value, so that counts can be resized in its stead.

    Args:
        counts: (bands, height, width), all of them values (`fill_missing_counts`).
        view: What is seen.
        size: Pixels.
    """
    left, top, right, bottom = view.box
    crop = torch.from_numpy(counts[:, top:bottom, left:right].astype(np.float32))[None]
    if crop.shape[2:] != (size, size):
        crop = interpolate(crop, (size, size), mode="bicubic", antialias=True)
        crop = crop.round_().clamp_(0, layout.MAX_COUNT)
    found: NDArray[np.uint16] = _turned(crop, view)[0].to(torch.uint16).numpy()
    return found


def _turned(pixels: Tensor, view: View) -> Tensor:
    if view.flip:
        pixels = pixels.flip(-1)
    return torch.rot90(pixels, view.quarter_turns, dims=(-2, -1)) if view.quarter_turns else pixels
