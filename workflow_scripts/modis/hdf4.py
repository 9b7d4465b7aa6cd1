"""HDF4 files of scientific data sets (SDS): the only module that imports pyhdf."""

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic

MAGIC = b"\x0e\x03\x13\x01"
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


class Hdf4File:
    """An open HDF4 file; made by `open_hdf4`."""

    def __init__(self, path: Path, sd: SD) -> None:
        self.path = path
        self._sd = sd
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(info[1]) for name, info in sd.datasets().items()
        }

    def _select(self, name: str) -> Any:
        if name not in self.shapes:
            raise UserError(
                f"{self.path}: no SDS {name!r}; the file has {', '.join(sorted(self.shapes))}. "
                "Is it the right product?"
            )
        return self._sd.select(name)

    def attributes(self, name: str | None = None) -> dict[str, Any]:
        """Attributes of one SDS, or of the file: text, numbers, or lists of numbers.

        Raises:
            UserError: No such SDS, or the file is damaged.
        """
        try:
            if name is None:
                return dict(self._sd.attributes())
            sds = self._select(name)
            found = dict(sds.attributes())
            sds.endaccess()
        except HDF4Error as error:
            raise UserError(
                f"{self.path}: attributes of {name or 'the file'} are damaged ({error}); get it "
                "again"
            ) from None
        return found

    def read(self, name: str, *, planes: Sequence[int] | None = None) -> NDArray[Any]:
        """The values of one SDS as stored.

        Args:
            name: The SDS.
            planes: Read only these indices of the first dimension, in this order.

        Returns:
            The whole array, or (len(planes), …).

        Raises:
            UserError: No such SDS, no such plane, or the file is damaged.
        """
        sds = self._select(name)
        shape = self.shapes[name]
        try:
            if planes is None:
                return np.asarray(sds.get())
            if any(not 0 <= plane < shape[0] for plane in planes):
                raise UserError(f"{self.path}: SDS {name} is {shape}, asked for planes {planes}")
            rest = list(shape[1:])
            found = {}
            # Ascending: going back in a deflated SDS means decompressing it from its start again.
            for plane in sorted(set(planes)):
                part = sds.get(start=[plane] + [0] * len(rest), count=[1, *rest])
                found[plane] = np.asarray(part).reshape(rest)
            return np.stack([found[plane] for plane in planes])
        except (HDF4Error, ValueError) as error:  # pyhdf raises either for unreadable data
            raise UserError(f"{self.path}: SDS {name} is damaged ({error}); get it again") from None
        finally:
            sds.endaccess()


@contextmanager
def open_hdf4(path: Path) -> Iterator[Hdf4File]:
    """Open an HDF4 file for reading.

    Raises:
        UserError: No such file, not HDF4, or truncated.
    """
    path = Path(path)
    if not path.is_file():
        raise UserError(f"{path}: no such file")
    with path.open("rb") as file:
        start = file.read(len(MAGIC))
    if start != MAGIC:
        seen = f"it starts with {start!r}, not {MAGIC!r}" if start else "it is empty"
        raise UserError(f"{path}: not an HDF4 file ({seen}); was an error page saved in its place?")
    try:
        sd = SD(str(path), SDC.READ)
        opened = Hdf4File(path, sd)
    except HDF4Error as error:
        size = path.stat().st_size
        raise UserError(
            f"{path}: truncated or damaged HDF4 file of {size} bytes ({error}); get it again"
        ) from None
    try:
        yield opened
    finally:
        sd.end()


def write_hdf4(
    path: Path,
    arrays: Sequence[Sds],
    *,
    attributes: dict[str, Any] | None = None,
    level: int = 1,
) -> None:
    """Write a file of deflated SDS atomically; the same arrays give the same bytes.

    The HDF4 library stamps no time, but stores the path it was given as the name of the top
    Vgroup. The path is therefore padded with slashes to a fixed length and, once the file is
    written, replaced in place by the file's name, so that the bytes do not tell where it was made.

    Args:
        path: The file.
        arrays: The data sets, in order.
        attributes: Of the file; text or numpy values.
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
            for array in arrays:
                _write_sds(sd, array, level=level)
            sd.end()
        except HDF4Error as error:
            raise UserError(f"{path}: HDF4 cannot write it ({error}); is the disk full?") from None
        _replace_once(
            temporary, os.fsencode(padded), os.fsencode(path.name).ljust(_PATH_LENGTH, b"\0")
        )


def _write_sds(sd: SD, array: Sds, *, level: int) -> None:
    data = np.ascontiguousarray(array.data)
    sds = sd.create(array.name, _TYPES[data.dtype.name], data.shape)
    sds.setcompress(SDC.COMP_DEFLATE, level)
    for index, name in enumerate(array.dims):
        sds.dim(index).setname(name)
    sds.set(data)
    _set_attributes(sds, array.attributes)
    sds.endaccess()


def _set_attributes(owner: Any, attributes: dict[str, Any]) -> None:
    for name, value in attributes.items():
        if isinstance(value, str):
            owner.attr(name).set(SDC.CHAR8, value)
        else:
            numbers = np.atleast_1d(value)
            owner.attr(name).set(_TYPES[numbers.dtype.name], numbers.tolist())


def _replace_once(path: Path, old: bytes, new: bytes) -> None:
    data = path.read_bytes()
    if data.count(old) != 1 or len(old) != len(new):
        raise RuntimeError(f"{path}: expected the padded path once, found {data.count(old)} times")
    with path.open("r+b") as file:
        file.seek(data.index(old))
        file.write(new)
