"""Write HDF4 files of scientific data sets, tables and groups; with `hdf4` the home of pyhdf."""

import mmap
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.HDF import HC, HDF
from pyhdf.SD import SD, SDC
from pyhdf.V import V
from pyhdf.VS import VS

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic

# The library stores the path it was told; all are padded to this length (see `write_hdf4`).
_PATH_LENGTH = 1024
_TYPES = {
    "int8": SDC.INT8, "uint8": SDC.UINT8, "int16": SDC.INT16, "uint16": SDC.UINT16,
    "int32": SDC.INT32, "uint32": SDC.UINT32, "float32": SDC.FLOAT32, "float64": SDC.FLOAT64,
}  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Sds:
    """One data set to write: an array, the names of its dimensions, and its attributes.

    Attribute values are text or numpy values; the numpy type is the type in the file.
    """

    name: str
    data: NDArray[Any]
    dims: tuple[str, ...]
    attributes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Table:
    """One Vdata to write: columns of one length, numbers or bytes (`S4`: four characters)."""

    name: str
    columns: Mapping[str, NDArray[Any]]
    kind: str = ""


@dataclass(frozen=True, kw_only=True)
class Group:
    """One Vgroup to write: `kind` is its HDF class, members are groups or names of SDS or tables.

    Of an SDS and a table of one name the table is meant: HDF-EOS keeps fields of one dimension so.
    """

    name: str
    kind: str
    members: tuple["Group | str", ...]


def write_hdf4(
    path: Path,
    arrays: Iterable[Sds],
    *,
    attributes: Mapping[str, Any] | None = None,
    tables: Sequence[Table] = (),
    group: Group | None = None,
    level: int = 1,
) -> None:
    """Write a file of deflated SDS atomically; the same arrays give the same bytes.

    The HDF4 library stamps no time, but stores the path it was given as the name of the top
    Vgroup. The path is therefore padded with slashes to a fixed length and, once the file is
    written, replaced in place by the file's name, so that the bytes do not tell where it was made.

    Args:
        path: The file.
        arrays: The data sets, in order; of an iterator only one array is held at a time.
        attributes: Of the file; text or numpy values.
        tables: The Vdata, in order.
        group: The Vgroup that holds data sets and tables, if any.
        level: Of deflate, 1 to 9.

    Raises:
        UserError: The path is too long for the padding, or holds no room (disk full).
    """
    with atomic(path) as temporary:
        folder = os.fspath(temporary.parent.absolute())
        padding = _PATH_LENGTH - len(os.fsencode(folder)) - len(os.fsencode(temporary.name))
        if padding < 1:
            raise UserError(f"{path}: a path of more than {_PATH_LENGTH} bytes; use a shorter one")
        padded = folder + "/" * padding + temporary.name
        try:
            sd = SD(padded, SDC.WRITE | SDC.CREATE | SDC.TRUNC)
            _set_attributes(sd, attributes or {})
            numbers = {array.name: _write_sds(sd, array, level=level) for array in arrays}
            sd.end()
            if tables or group:
                _write_tables_and_group(padded, tables, group, numbers)
        except HDF4Error as error:
            raise UserError(f"{path}: HDF4 cannot write it ({error}); is the disk full?") from None
        _replace_once(
            temporary, os.fsencode(padded), os.fsencode(path.name).ljust(_PATH_LENGTH, b"\0")
        )


def _write_sds(sd: SD, array: Sds, *, level: int) -> int:
    """Write one data set; returns its reference number, by which a group names it."""
    data = np.ascontiguousarray(array.data)
    sds = sd.create(array.name, _TYPES[data.dtype.name], data.shape)
    sds.setcompress(SDC.COMP_DEFLATE, level)
    for index, name in enumerate(array.dims):
        sds.dim(index).setname(name)
    sds.set(data)
    _set_attributes(sds, array.attributes)
    number = int(sds.ref())
    sds.endaccess()
    return number


def _set_attributes(owner: Any, attributes: Mapping[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, str):
            owner.attr(name).set(SDC.CHAR8, value)
        else:
            numbers = np.atleast_1d(value)
            owner.attr(name).set(_TYPES[numbers.dtype.name], numbers.tolist())


def _write_tables_and_group(
    path: str, tables: Sequence[Table], group: Group | None, numbers: Mapping[str, int]
) -> None:
    file = HDF(path, HC.WRITE)
    vdata, vgroups = VS(file), V(file)
    opened = {table.name: _write_table(vdata, table) for table in tables}
    if group is not None:
        _write_group(vgroups, group, tables=opened, numbers=numbers).detach()
    for table in opened.values():
        table.detach()
    vdata.end()
    vgroups.end()
    file.close()


def _write_table(vdata: VS, table: Table) -> Any:
    fields = []
    for name, column in table.columns.items():
        if column.dtype.kind == "S":
            fields.append((name, HC.CHAR8, column.dtype.itemsize))
        else:
            fields.append((name, _TYPES[column.dtype.name], 1))
    written = vdata.create(table.name, fields)
    written._class = table.kind
    columns = [
        [value.decode() for value in column.tolist()] if column.dtype.kind == "S"
        else column.tolist()
        for column in table.columns.values()
    ]  # fmt: skip
    written.write([list(row) for row in zip(*columns, strict=True)])
    return written


def _write_group(
    vgroups: V, group: Group, *, tables: Mapping[str, Any], numbers: Mapping[str, int]
) -> Any:
    written = vgroups.create(group.name)
    written._class = group.kind
    for member in group.members:
        if isinstance(member, Group):
            inner = _write_group(vgroups, member, tables=tables, numbers=numbers)
            written.insert(inner)
            inner.detach()
        elif member in tables:
            written.insert(tables[member])
        else:
            written.add(HC.DFTAG_NDG, numbers[member])
    return written


def _replace_once(path: Path, old: bytes, new: bytes) -> None:
    with path.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        at = data.find(old)
        if at < 0 or data.find(old, at + 1) >= 0 or len(old) != len(new):
            raise RuntimeError(f"{path}: expected the padded path to be there once")
        data[at : at + len(old)] = new
