"""Read HDF4 files of scientific data sets (SDS); with `hdf4_writer` the only home of pyhdf."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pyhdf.error import HDF4Error
from pyhdf.SD import SD, SDC

from workflow_scripts.errors import UserError

MAGIC = b"\x0e\x03\x13\x01"


class Hdf4File:
    """An open HDF4 file; made by `open_hdf4`."""

    def __init__(self, path: Path, sd: SD) -> None:
        self.path = path
        self._sd = sd
        self._attributes: dict[str | None, dict[str, Any]] = {}
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
        if name not in self._attributes:
            try:
                if name is None:
                    self._attributes[name] = dict(self._sd.attributes())
                else:
                    sds = self._select(name)
                    self._attributes[name] = dict(sds.attributes())
                    sds.endaccess()
            except HDF4Error as error:
                raise UserError(
                    f"{self.path}: attributes of {name or 'the file'} are damaged ({error}); get "
                    "it again"
                ) from None
        return self._attributes[name]

    def text(self, name: str) -> str:
        """One attribute of the file as text, empty if it is not there.

        (All of them take longer: the library hands out long texts letter by letter.)
        """
        attribute = self._sd.attr(name)
        try:
            attribute.index()  # `get` finds it by number alone
            return str(attribute.get())
        except HDF4Error:
            return ""

    def read(self, name: str) -> NDArray[Any]:
        """The values of one SDS as stored.

        Raises:
            UserError: No such SDS, or the file is damaged.
        """
        sds = self._select(name)
        try:
            return np.asarray(sds.get())
        except (HDF4Error, ValueError) as error:
            raise self._damaged(name, error) from None
        finally:
            sds.endaccess()

    def read_planes(self, name: str, planes: Mapping[int, NDArray[Any]]) -> None:
        """Read some planes of an SDS into arrays, copying each once.

        Args:
            name: The SDS.
            planes: By index of the first dimension, the array to fill.

        Raises:
            UserError: No such SDS or plane, another shape or type than the arrays', or the file is
                damaged.
        """
        sds = self._select(name)
        shape = self.shapes[name]
        try:
            # Ascending: going back in a deflated SDS means decompressing it from its start again.
            for plane in sorted(planes):
                out = planes[plane]
                if shape[1:] != out.shape or not 0 <= plane < shape[0]:
                    raise UserError(
                        f"{self.path}: SDS {name} is {shape}; expected {out.shape} in plane {plane}"
                    )
                part = np.asarray(sds.get(start=[plane] + [0] * out.ndim, count=[1, *out.shape]))
                if part.dtype != out.dtype:
                    raise UserError(f"{self.path}: SDS {name} is {part.dtype}, not {out.dtype}")
                out[...] = part.reshape(out.shape)
        except (HDF4Error, ValueError) as error:  # pyhdf raises either for unreadable data
            raise self._damaged(name, error) from None
        finally:
            sds.endaccess()

    def _damaged(self, name: str, error: Exception) -> UserError:
        return UserError(f"{self.path}: SDS {name} is damaged ({error}); get it again")


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
