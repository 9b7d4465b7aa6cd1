"""Small pictures for tests, and their encoded forms."""

import io
import struct

import numpy as np
from PIL import Image


def picture(seed=0, size=(12, 10), channels=3):
    """A smooth picture (height 10, width 12), so that JPEG keeps it within a few values."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 3, channels)).astype(np.uint8)
    return Image.fromarray(coarse.squeeze()).resize(size, Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def format_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.format, image.mode


def tiff(values, *, photometric, order="<", **tags):
    """A TIFF without compression, written by hand: no library then has a say in its tags.

    Args:
        values: (height, width, bands) numbers of 8 or 16 bits.
        photometric: 1 grey, 2 RGB, 5 CMYK.
        order: `<` or `>`, of bytes.
        tags: `extra_samples`, `sample_format` and `orientation`: lists of numbers.
    """
    height, width, bands = values.shape
    numbers = {"orientation": 274, "extra_samples": 338, "sample_format": 339}
    data = values.astype(values.dtype.newbyteorder(order)).tobytes()
    entries = {
        256: ("I", [width]), 257: ("I", [height]), 258: ("H", [values.itemsize * 8] * bands),
        259: ("H", [1]), 262: ("H", [photometric]), 273: ("I", [8]), 277: ("H", [bands]),
        278: ("I", [height]), 279: ("I", [len(data)]),
    }  # fmt: skip
    entries |= {numbers[name]: ("H", list(found)) for name, found in tags.items()}
    body = data + b"\0" * (len(data) % 2)
    rows = b""
    for tag, (form, found) in sorted(entries.items()):
        content = struct.pack(f"{order}{len(found)}{form}", *found)
        if len(content) > 4:
            place, body = 8 + len(body), body + content + b"\0" * (len(content) % 2)
            content = struct.pack(f"{order}I", place)
        kind = {"H": 3, "I": 4}[form]
        rows += struct.pack(f"{order}HHI", tag, kind, len(found)) + content.ljust(4, b"\0")
    magic = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8 + len(body))
    return magic + body + struct.pack(f"{order}H", len(entries)) + rows + b"\0" * 4
