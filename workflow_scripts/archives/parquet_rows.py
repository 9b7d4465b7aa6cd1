"""Rows of a parquet file that hold encoded images, as the Hugging Face hub has them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from workflow_scripts.archives.listed import Limits, SetAside, damaged
from workflow_scripts.archives.names import OddError, key_of, shown
from workflow_scripts.errors import UserError

_ROWS = 8  # at a time: images may be large
_BUFFER = 2**20  # of a column, read ahead; without it all of a row group is
_FEATURES = b"huggingface"  # the metadata with what columns mean
_MAGIC = (
    (b"\xff\xd8\xff", "jpg"),
    (b"\x89PNG\r\n\x1a\n", "png"),
    (b"II*\0", "tif"), (b"MM\0*", "tif"), (b"II+\0", "tif"), (b"MM\0+", "tif"),
    (b"BM", "bmp"),
)  # fmt: skip
# What pyarrow raises for broken or hostile bytes.
_DAMAGE = (pa.ArrowException, OSError, ValueError, OverflowError)


@dataclass(frozen=True, kw_only=True)
class Columns:
    """Columns of parquet files that hold images.

    Attributes:
        image: Of the encoded images: bytes, or structures with `bytes` in them.
        label: Of the class: text, or numbers of a ClassLabel, whose names the file has; None: none.
    """

    image: str = "image"
    label: str | None = "label"


@dataclass(frozen=True, slots=True)
class Row:
    """An image: its name, `<class>/<file's stem>-<row>.<type by its bytes>`, and its bytes."""

    key: str
    data: bytes


class Table:
    """A parquet file whose columns have been looked at.

    Attributes:
        rows: How many it has.
        bytes: Of all columns, which the images mostly are.

    Raises:
        UserError: It cannot be read, has no such columns, or is above a limit.
    """

    def __init__(self, path: Path, columns: Columns, limits: Limits) -> None:
        self._path, self._columns, self._limits = path, columns, limits
        try:
            self._file = pq.ParquetFile(path, buffer_size=_BUFFER, pre_buffer=False)
        except _DAMAGE as error:
            raise self._damaged(error) from None
        self._names = _class_names(self._file.schema_arrow, columns.label)
        self._image = self._check_image()
        if columns.label is not None:
            self._check_label(columns.label)
        meta = self._file.metadata
        self.rows: int = meta.num_rows
        # Of whole row groups: pyarrow 26 aborts the process when it is asked for the metadata of a
        # column whose statistics are broken.
        self.bytes = sum(
            meta.row_group(number).total_byte_size for number in range(meta.num_row_groups)
        )
        limits.check(path, members=self.rows, total=self.bytes, stored=path.stat().st_size)

    def __enter__(self) -> "Table":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def images(self) -> Iterator[Row | SetAside]:
        """Yield the images in the file's order, row group by row group.

        Raises:
            UserError: The file is damaged, a class is no name of a folder, or the images take more
                than is believed: a dictionary has one image stand in a million rows.
        """
        wanted = [self._image, *([] if self._columns.label is None else [self._columns.label])]
        batches = self._file.iter_batches(batch_size=_ROWS, columns=wanted)
        stored = self._path.stat().st_size
        number, total = 0, 0
        while True:
            try:
                batch = next(batches, None)
                rows = None if batch is None else batch.to_pylist()
            except _DAMAGE as error:  # of a row too: a class that is no UTF-8
                raise self._damaged(error) from None
            if rows is None:
                return
            for row in rows:
                found = self._row(number, row)
                number += 1
                if isinstance(found, Row):
                    total += len(found.data)
                    self._limits.check(self._path, members=number, total=total, stored=stored)
                yield found

    def _row(self, number: int, row: dict[str, Any]) -> Row | SetAside:
        image = row[self._columns.image]
        data = image.get("bytes") if isinstance(image, dict) else image
        key = name = f"{self._path.stem}-{number}"
        try:
            if not data:
                raise OddError("the row holds no bytes of an image")
            kind = next((kind for magic, kind in _MAGIC if data.startswith(magic)), None)
            if kind is None:
                raise OddError("it is no JPEG, PNG, TIFF or BMP")
            label = self._label(row)
            named = key_of(f"{label}/{name}.{kind}" if label else f"{name}.{kind}", self._path)
            if named is None:
                raise OddError(f"its class {shown(str(label))!r} would be a hidden folder")
        except OddError as odd:
            return SetAside(key, str(odd))
        return Row(named, data)

    def _label(self, row: dict[str, Any]) -> str | None:
        """The name of a row's class; None where it has none (-1, as the hub writes it)."""
        if self._columns.label is None:
            return None
        value = row[self._columns.label]
        if self._names is None or not isinstance(value, int):
            return None if value is None else str(value)
        if value == -1:
            return None
        if not 0 <= value < len(self._names):
            raise OddError(f"its class is number {value} of {len(self._names)}")
        return self._names[value]

    def _check_image(self) -> str:
        """The column that holds the bytes, as parquet calls it."""
        kind = self._field(self._columns.image).type
        if _is_binary(kind):
            return self._columns.image
        index = kind.get_field_index("bytes") if pa.types.is_struct(kind) else -1
        if index < 0 or not _is_binary(kind.field(index).type):
            raise UserError(
                f"{self._path}: column {self._columns.image!r} is of type {kind}, expected bytes, "
                "or structures with `bytes` in them"
            )
        return f"{self._columns.image}.bytes"

    def _check_label(self, label: str) -> None:
        kind = self._field(label).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if not (pa.types.is_integer(kind) or _is_text(kind)):
            raise UserError(
                f"{self._path}: column {label!r} is of type {kind}, expected one class a row: "
                "text or a number (null in the config: without classes)"
            )

    def _field(self, name: str) -> Any:
        schema = self._file.schema_arrow
        if schema.get_field_index(name) < 0:
            raise UserError(
                f"{self._path} has no column {name!r}, or several; it has "
                f"{', '.join(schema.names)}; name the right one in the dataset's `parquet`"
            )
        return schema.field(name)

    def _damaged(self, error: Exception) -> Exception:
        if isinstance(error, OSError) and error.errno is not None:
            return error  # the disk's, not the file's
        return damaged(self._path, f"cannot be read as a parquet file ({error})")


def _is_binary(kind: Any) -> bool:
    return bool(pa.types.is_binary(kind) or pa.types.is_large_binary(kind))


def _is_text(kind: Any) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _class_names(schema: Any, label: str | None) -> list[str] | None:
    """Names of a ClassLabel by number, from what the hub's library wrote; None without them."""
    try:
        features = json.loads((schema.metadata or {})[_FEATURES])["info"]["features"]
        names = features[label]["names"]
    except (KeyError, TypeError, ValueError):
        return None
    is_list = isinstance(names, list) and all(isinstance(name, str) for name in names)
    return names if is_list else None
