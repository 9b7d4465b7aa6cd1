"""Read shards: opened lazily, safe to hand to worker processes, every sample checked."""

import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.shards import layout


class Shard:
    """One shard of images or chips.

    The file is opened on first use and crosses no fork or pickle: each process opens its own.

    Args:
        path: The HDF5 file.
    """

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._file: h5py.File | None = None
        self._offsets: NDArray[np.int64] | None = None
        self._crc32: NDArray[np.uint32] | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_file": None, "_offsets": None, "_crc32": None}

    @property
    def file(self) -> h5py.File:
        """The open file.

        Raises:
            UserError: Missing, not a shard, or of a newer format version.
        """
        if self._file is None:
            self._file = self._open()
        return self._file

    def _open(self) -> h5py.File:
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such shard; pack the corpus again")
        try:
            # Lustre offers no locks by default, and a finished shard never changes.
            file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise UserError(
                f"{self.path}: not a readable HDF5 file ({error}); pack it again"
            ) from None
        found = file.attrs.get("format")
        version = int(file.attrs.get("format_version", 0))
        if found != layout.FORMAT:
            raise UserError(f"{self.path}: attribute format is {found!r}, not {layout.FORMAT!r}")
        if version > layout.FORMAT_VERSION:
            raise UserError(
                f"{self.path}: format version {version} is newer than {layout.FORMAT_VERSION}, "
                "the newest this code reads; update the code"
            )
        if version < layout.OLDEST_VERSION:
            raise UserError(
                f"{self.path}: format version {version} is older than {layout.OLDEST_VERSION}, "
                "the oldest this code reads; make it again"
            )
        return file

    def close(self) -> None:
        """Close the file; it opens again when needed."""
        if self._file is not None:
            self._file.close()
        self._file = self._offsets = self._crc32 = None

    def __len__(self) -> int:
        return int(self.file[layout.LABELS].shape[0])

    @property
    def kind(self) -> str:
        """`images` or `chips`."""
        return str(self.file.attrs["kind"])

    @property
    def classes(self) -> list[str]:
        """Class names, in label order."""
        return [str(name) for name in self.file.attrs["classes"]]

    @property
    def bands(self) -> list[str]:
        """Band names of chips, in channel order."""
        return [str(name) for name in self.file.attrs["bands"]]

    @property
    def units(self) -> str:
        """Units of chips' physical values as the shard names them; empty if it does not."""
        return str(self.file.attrs.get("units", ""))

    @property
    def chip_shape(self) -> tuple[int, ...]:
        """(bands, height, width) of chips."""
        return tuple(self.file[layout.COUNTS].shape[1:])

    @property
    def quantity(self) -> str:
        """What the physical values of chips are, such as `radiance`; empty if not told."""
        return str(self.file.attrs.get("quantity", ""))

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) class indices, −1 where unlabelled."""
        return self.file[layout.LABELS][:]

    @property
    def splits(self) -> NDArray[np.int8]:
        """(n,) indices into `layout.SPLIT_NAMES`, −1 where none."""
        return self.file[layout.SPLITS][:]

    @property
    def keys(self) -> list[str]:
        """Where each sample came from."""
        return [key.decode() for key in self.file[layout.KEYS][:]]

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """(n,) what tells samples apart: bytes stored, times 2³², plus their crc32."""
        if self.kind == layout.IMAGES:
            sizes = np.diff(self.file[layout.OFFSETS][:])
        else:
            counts = self.file[layout.COUNTS]
            sizes = np.full(len(self), counts.dtype.itemsize * np.prod(counts.shape[1:]))
        crc32: NDArray[np.uint64] = self.file[layout.CRC32][:].astype(np.uint64)
        return (sizes.astype(np.uint64) << np.uint64(32)) | crc32

    def fields(self, *names: str) -> dict[str, NDArray[Any]]:
        """Columns of a chip shard by name (row, column, latitude …): those named, or all."""
        columns = {}
        for name in names or sorted(set(self.file) - layout.NOT_COLUMNS):
            column = self.file[name]
            text = h5py.check_string_dtype(column.dtype)
            columns[name] = column.asstr()[:] if text else column[:]
        return columns

    def filled(self, index: int) -> NDArray[np.bool_]:
        """(bands, height) of one chip: lines that were interpolated, their detector being dead."""
        return self.file[layout.FILLED][index].astype(bool)

    def _check(self, index: int, data: bytes) -> None:
        if self._crc32 is None:
            self._crc32 = self.file[layout.CRC32][:]
        if zlib.crc32(data) != int(self._crc32[index]):
            key = self.file[layout.KEYS][index].decode()
            raise UserError(
                f"{self.path}: sample {index} ({key}) does not match its checksum; pack it again"
            )

    def image(self, index: int) -> bytes:
        """The encoded bytes of one image.

        Raises:
            UserError: The bytes do not match their checksum.
        """
        if self._offsets is None:
            self._offsets = self.file[layout.OFFSETS][:]
        data = self.file[layout.POOL][self._offsets[index] : self._offsets[index + 1]].tobytes()
        self._check(index, data)
        return data

    def counts(self, index: int) -> NDArray[np.uint16]:
        """The (bands, height, width) counts of one chip.

        Raises:
            UserError: The counts do not match their checksum.
        """
        counts: NDArray[np.uint16] = self.file[layout.COUNTS][index]
        self._check(index, counts.tobytes())
        return counts

    def blocks(
        self, chips: int, rows: NDArray[np.int64] | None = None
    ) -> Iterator[tuple[NDArray[np.uint16], NDArray[np.float64], NDArray[np.float64]]]:
        """Chips in stretches of up to so many, for sums over a whole file.

        They are not compared with their checksums: the caller has compared the file's.

        Args:
            chips: Most chips held at a time.
            rows: Which chips, rising; all by default.

        Yields:
            Counts (n, bands, height, width), and scale and offset (n, bands).
        """
        scale, offset = self.file[layout.SCALE][:], self.file[layout.OFFSET][:]
        numbers = np.arange(len(self)) if rows is None else rows
        for start in range(0, len(self), chips):
            first, last = np.searchsorted(numbers, (start, start + chips))
            part = numbers[first:last]
            if len(part):
                counts = self.file[layout.COUNTS][part[0] : part[-1] + 1]
                yield counts[part - part[0]], scale[part], offset[part]

    def calibration(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset of each band of one chip: value = (count − offset)·scale."""
        return self.file[layout.SCALE][index], self.file[layout.OFFSET][index]

    def physical(self, index: int) -> NDArray[np.float32]:
        """One chip in physical units: (count − offset)·scale, float32 (bands, height, width).

        NaN where there is no value.
        """
        scale, offset = (column[:, None, None] for column in self.calibration(index))
        counts = self.counts(index)
        values = ((counts - offset) * scale).astype(np.float32)
        values[counts > layout.MAX_COUNT] = np.nan
        return values
