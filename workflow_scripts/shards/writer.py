"""Write shards: whole or not at all, and the same bytes for the same samples."""

import tempfile
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

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
    """One chip: `counts` is uint16 (bands, height, width); value = (count − offset)·scale.

    `fields` has a number, a text or a short array by column; `filled` (bands, height) is true for
    lines that were interpolated, None where none was.
    """

    key: str
    counts: NDArray[np.uint16]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    fields: dict[str, Any] = field(default_factory=dict)
    filled: NDArray[np.bool_] | None = None
    label: int = -1
    split: int = -1


_BLOCK = 2**24  # bytes copied at a time


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


def _write_columns(file: h5py.File, samples: Sequence[Any], crc32: list[int]) -> None:
    """What every shard knows of each sample; samples need `key`, `label` and `split`."""
    file.create_dataset(
        layout.KEYS, data=[sample.key for sample in samples], dtype=h5py.string_dtype()
    )
    file.create_dataset(layout.LABELS, data=np.array([s.label for s in samples], np.int32))
    file.create_dataset(layout.SPLITS, data=np.array([s.split for s in samples], np.int8))
    file.create_dataset(layout.CRC32, data=np.array(crc32, np.uint32))


def write_image_shard(path: Path, samples: Iterable[ImageSample], *, classes: list[str]) -> int:
    """Write encoded images as one contiguous pool of bytes with offsets; return how many.

    Images are taken one by one and kept on disk until the size of the pool is known (contiguous
    data cannot grow): memory holds one image and the columns of all.

    Args:
        path: The shard, written beside and renamed.
        samples: The images of this shard.
        classes: Class names; a sample's label is an index into them.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    rows, ends, crc32 = [], [0], []
    with atomic(path) as temporary, tempfile.TemporaryFile(dir=path.parent) as spool:
        for sample in samples:
            spool.write(sample.data)
            ends.append(ends[-1] + len(sample.data))
            crc32.append(zlib.crc32(sample.data))
            rows.append(replace(sample, data=b""))
        with _create(temporary, layout.IMAGES, classes, {}) as file:
            pool = file.create_dataset(layout.POOL, shape=(ends[-1],), dtype=np.uint8)
            _copy(spool, pool)
            file.create_dataset(layout.OFFSETS, data=np.array(ends, np.int64))
            sizes = np.array([(row.height, row.width) for row in rows], np.int32).reshape(-1, 2)
            file.create_dataset(layout.SIZES, data=sizes)
            _write_columns(file, rows, crc32)
    return len(rows)


# Units of columns, as the CF conventions spell them: xarray makes times of the first.
_COLUMN_UNITS = {
    "time": "seconds since 1970-01-01T00:00:00Z",
    "latitude": "degrees_north",
    "longitude": "degrees_east",
    "corner_latitude": "degrees_north",
    "corner_longitude": "degrees_east",
    "solar_zenith": "degrees",
}


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

    Chips are taken one by one and their counts kept on disk until their number is known (contiguous
    data cannot grow): memory holds one chip and the columns of all.

    Args:
        path: The shard, written beside and renamed.
        samples: Chips of shape (len(bands), size, size); all carry the same `fields`.
        bands: Band names in the order of the channels.
        size: Height and width in pixels.
        attributes: Facts about the whole file (platform, date, units), as text.
        classes: Class names, if the chips are labelled.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic(path) as temporary, tempfile.TemporaryFile(dir=path.parent) as spool:
        rows, crc32 = _spool(samples, spool, shape=(len(bands), size, size))
        with _create(
            temporary, layout.CHIPS, classes or [], {"bands": bands, **attributes}
        ) as file:
            counts = file.create_dataset(
                layout.COUNTS, shape=(len(rows), len(bands), size, size), dtype=np.uint16
            )
            _copy(spool, counts)
            for name in (layout.SCALE, layout.OFFSET):
                values = np.array([getattr(row, name) for row in rows], np.float64)
                file.create_dataset(name, data=values.reshape(len(rows), len(bands)))
            filled = np.zeros((len(rows), len(bands), size), np.uint8)
            for index, row in enumerate(rows):
                if row.filled is not None:
                    filled[index] = row.filled
            file.create_dataset(layout.FILLED, data=filled)
            for name in rows[0].fields if rows else ():
                _write_column(file, name, [row.fields[name] for row in rows])
            _write_columns(file, rows, crc32)
            _write_dimensions(file, bands=bands, size=size, count=len(rows))


def _spool(
    samples: Iterable[ChipSample], spool: IO[bytes], *, shape: tuple[int, ...]
) -> tuple[list[ChipSample], list[int]]:
    """Append the counts of each chip to a file; the chips without them, and their checksums."""
    rows, crc32 = [], []
    nothing = np.empty(0, np.uint16)  # an empty view would keep the whole chip
    for sample in samples:
        if sample.counts.shape != shape:
            raise ValueError(f"{sample.key}: a chip of {sample.counts.shape}, expected {shape}")
        stored = np.ascontiguousarray(sample.counts, np.uint16)
        spool.write(stored.data)
        crc32.append(zlib.crc32(stored.data))
        rows.append(replace(sample, counts=nothing))
    return rows, crc32


def _copy(spool: IO[bytes], dataset: h5py.Dataset) -> None:
    """Fill a dataset, a block at a time, with what a file holds in its order."""
    spool.seek(0)
    row = int(np.prod(dataset.shape[1:])) * dataset.dtype.itemsize
    step = max(1, _BLOCK // row)
    for start in range(0, len(dataset), step):
        block = np.frombuffer(spool.read(step * row), dataset.dtype)
        dataset[start : start + step] = block.reshape(-1, *dataset.shape[1:])


def _write_column(file: h5py.File, name: str, values: list[Any]) -> None:
    if isinstance(values[0], str):
        column = file.create_dataset(name, data=values, dtype=h5py.string_dtype())
    else:
        numbers = np.array(values)
        if numbers.dtype == np.bool_:
            numbers = numbers.astype(np.uint8)  # netCDF has no truth values
        column = file.create_dataset(name, data=numbers)
    if name in _COLUMN_UNITS:
        column.attrs["units"] = _COLUMN_UNITS[name]


def _write_dimensions(file: h5py.File, *, bands: list[str], size: int, count: int) -> None:
    """Name the dimensions as netCDF does, each with its coordinates, so that xarray opens it."""
    coordinates: dict[str, Any] = {
        layout.CHIP: np.arange(count, dtype=np.int64),
        layout.BAND: bands,
        layout.Y: np.arange(size, dtype=np.int32),
        layout.X: np.arange(size, dtype=np.int32),
    }
    columns = sorted(name for name in file if name not in layout.DIMENSIONS)
    if any(file[name].ndim == 2 and name not in layout.NOT_COLUMNS for name in columns):
        coordinates[layout.CORNER] = list(layout.CORNERS)
    for name, values in coordinates.items():
        text = isinstance(values, list)
        file.create_dataset(name, data=values, dtype=h5py.string_dtype() if text else None)
        file[name].make_scale(name)
    second = {layout.COUNTS: layout.BAND, layout.SCALE: layout.BAND, layout.OFFSET: layout.BAND,
              layout.FILLED: layout.BAND}  # fmt: skip
    for name in columns:
        names = [layout.CHIP, second.get(name, layout.CORNER), layout.Y, layout.X]
        for axis, dimension in zip(range(file[name].ndim), names, strict=False):
            file[name].dims[axis].attach_scale(file[dimension])
