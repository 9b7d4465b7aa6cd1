"""Write shards: whole or not at all, and the same bytes for the same samples."""

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from workflow_scripts.files import atomic
from workflow_scripts.shards import layout


@dataclass(frozen=True, kw_only=True)
class ImageSample:
    """One encoded image: `data` is a whole JPEG, PNG … file of `height` × `width` pixels."""

    key: str
    data: bytes
    height: int
    width: int
    label: int = -1
    split: int = -1


@dataclass(frozen=True, kw_only=True)
class ChipSample:
    """One chip: `counts` is uint16 (bands, height, width); value = (count − offset)·scale."""

    key: str
    counts: NDArray[np.uint16]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    fields: dict[str, Any] = field(default_factory=dict)
    label: int = -1
    split: int = -1


def _create(path: Path, kind: str, classes: list[str], attributes: dict[str, Any]) -> h5py.File:
    file = h5py.File(path, "w", libver=("v110", "v110"))
    file.attrs["format"] = layout.FORMAT
    file.attrs["format_version"] = layout.FORMAT_VERSION
    file.attrs["kind"] = kind
    file.attrs.create("classes", list(classes), dtype=h5py.string_dtype())
    file.attrs.create("split_names", list(layout.SPLIT_NAMES), dtype=h5py.string_dtype())
    for name, value in attributes.items():
        text = isinstance(value, str | list | tuple)
        file.attrs.create(name, value, dtype=h5py.string_dtype() if text else None)
    return file


def _write_columns(file: h5py.File, samples: list[Any], crc32: list[int]) -> None:
    file.create_dataset(
        layout.KEYS, data=[sample.key for sample in samples], dtype=h5py.string_dtype()
    )
    file.create_dataset(layout.LABELS, data=np.array([s.label for s in samples], np.int32))
    file.create_dataset(layout.SPLITS, data=np.array([s.split for s in samples], np.int8))
    file.create_dataset(layout.CRC32, data=np.array(crc32, np.uint32))


def write_image_shard(path: Path, samples: Iterable[ImageSample], *, classes: list[str]) -> None:
    """Write encoded images as one contiguous pool of bytes with offsets.

    Args:
        path: The shard, written beside and renamed.
        samples: The images of this shard; they are held in memory, encoded.
        classes: Class names; a sample's label is an index into them.
    """
    rows = list(samples)
    offsets = np.concatenate([[0], np.cumsum([len(row.data) for row in rows])]).astype(np.int64)
    with atomic(path) as temporary, _create(temporary, layout.IMAGES, classes, {}) as file:
        pool = file.create_dataset(layout.POOL, shape=(int(offsets[-1]),), dtype=np.uint8)
        for row, start in zip(rows, offsets[:-1], strict=True):
            pool[start : start + len(row.data)] = np.frombuffer(row.data, np.uint8)
        file.create_dataset(layout.OFFSETS, data=offsets)
        sizes = np.array([(row.height, row.width) for row in rows], np.int32).reshape(-1, 2)
        file.create_dataset(layout.SIZES, data=sizes)
        _write_columns(file, rows, [zlib.crc32(row.data) for row in rows])


def write_chip_shard(
    path: Path,
    samples: Iterable[ChipSample],
    *,
    bands: list[str],
    size: int,
    attributes: dict[str, str],
    classes: list[str] | None = None,
) -> None:
    """Write chips as contiguous uint16 counts with scale and offset by chip and band.

    Args:
        path: The shard, written beside and renamed.
        samples: Chips of shape (len(bands), size, size); all carry the same `fields`.
        bands: Band names in the order of the channels.
        size: Height and width in pixels.
        attributes: Facts about the whole file (platform, date, units), as text.
        classes: Class names, if the chips are labelled.
    """
    rows = list(samples)
    shape = (len(rows), len(bands), size, size)
    with (
        atomic(path) as temporary,
        _create(temporary, layout.CHIPS, classes or [], {"bands": bands, **attributes}) as file,
    ):
        counts = file.create_dataset(layout.COUNTS, shape=shape, dtype=np.uint16)
        for index, row in enumerate(rows):
            counts[index] = row.counts
        columns = (layout.SCALE, "scale"), (layout.OFFSET, "offset")
        for name, attribute in columns:
            values = np.array([getattr(row, attribute) for row in rows], np.float64)
            file.create_dataset(name, data=values.reshape(len(rows), len(bands)))
        group = file.create_group(layout.CHIP_FIELDS)
        for name in rows[0].fields if rows else ():
            column = [row.fields[name] for row in rows]
            text = isinstance(column[0], str)
            group.create_dataset(name, data=column, dtype=h5py.string_dtype() if text else None)
        stored = [zlib.crc32(row.counts.astype(np.uint16).tobytes()) for row in rows]
        _write_columns(file, rows, stored)
