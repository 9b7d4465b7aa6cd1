"""The tags at the beginning of a TIFF file that tell what its bands are.

Pillow does not open every TIFF, and libvips keeps some tags to itself (it takes any band beyond
the colours for alpha, whatever ExtraSamples says), so they are read here. Classic TIFF and BigTIFF.
"""

import struct
from collections.abc import Mapping
from typing import Any, BinaryIO

MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")

WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC = 256, 257, 258, 259, 262
ORIENTATION, SAMPLES, EXTRA_SAMPLES, SAMPLE_FORMAT = 274, 277, 338, 339

_WANTED = {
    WIDTH, HEIGHT, BITS, COMPRESSION, PHOTOMETRIC, ORIENTATION, SAMPLES, EXTRA_SAMPLES,
    SAMPLE_FORMAT,
}  # fmt: skip
_INTEGERS = {1: "B", 3: "H", 4: "I", 16: "Q"}
_MOST_VALUES = 2**16  # as many as a file can have bands
_SEPARATED = 5  # of PHOTOMETRIC: CMYK
_ALPHA = {(1,), (2,)}  # of EXTRA_SAMPLES: one more band, premultiplied alpha or not

Tags = Mapping[int, tuple[int, ...]]


def read_tags(file: BinaryIO) -> Tags:
    """Those of the constants above that the first image of a TIFF has, with their values.

    Raises:
        ValueError: Truncated or broken.
    """
    beginning = file.read(16)
    order = "<" if beginning[:1] == b"I" else ">"
    big = 43 in beginning[2:4]
    offset, count, entry = ("Q", "Q", "HHQ8s") if big else ("I", "H", "HHI4s")
    (start,) = _unpack(order + offset, beginning[8 if big else 4 :])
    file.seek(start)
    (entries,) = _unpack(order + count, file.read(struct.calcsize(order + count)))
    size = struct.calcsize(order + entry)
    directory = file.read(min(entries, _MOST_VALUES) * size)
    tags: dict[int, tuple[int, ...]] = {}
    for number in range(min(entries, _MOST_VALUES)):
        tag, kind, values, content = _unpack(order + entry, directory[number * size :])
        if tag not in _WANTED or kind not in _INTEGERS or values > _MOST_VALUES:
            continue
        form = f"{order}{values}{_INTEGERS[kind]}"
        if struct.calcsize(form) > len(content):
            file.seek(_unpack(order + offset, content)[0])
            content = file.read(struct.calcsize(form))
        tags[tag] = _unpack(form, content)
    return tags


def _unpack(form: str, data: bytes) -> tuple[Any, ...]:
    try:
        return struct.unpack_from(form, data)
    except struct.error:
        raise ValueError("truncated or broken") from None


def first(tags: Tags, tag: int, default: int) -> int:
    """The first value of a tag."""
    return (tags.get(tag) or (default,))[0]


def is_cmyk(tags: Tags) -> bool:
    """Whether the bands are cyan, magenta, yellow and black, and nothing more."""
    return first(tags, PHOTOMETRIC, 0) == _SEPARATED and first(tags, SAMPLES, 1) == 4


def last_is_alpha(tags: Tags) -> bool:
    """Whether one band beyond grey or RGB is there, and is said to be alpha."""
    is_colour = first(tags, PHOTOMETRIC, 0) != _SEPARATED
    extra = tags.get(EXTRA_SAMPLES, ())
    return is_colour and first(tags, SAMPLES, 1) in (2, 4) and extra in _ALPHA
