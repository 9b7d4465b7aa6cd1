"""Read shards: opened lazily, safe to hand to worker processes, every sample checked.

HDF5 tells where the samples lie in the file and is closed again; they are read with `os.pread`, two
to three times faster than through h5py and without its lock. A descriptor that a fork inherits does
no harm: `pread` moves no file position.
"""

import io
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from isal import isal_zlib
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.shards import layout
from workflow_scripts.shards.copies import ShardCopy

# What reading a sample needs beside its bytes: of images 24 bytes a sample, of chips 16 a band.
_COLUMNS = {
    layout.IMAGES: (layout.CRC32, layout.LABELS, layout.OFFSETS, layout.SIZES),
    layout.CHIPS: (layout.CRC32, layout.LABELS, layout.SCALE, layout.OFFSET),
}


class SampleError(UserError):
    """A sample that cannot be read, or is not what was packed; a second try may help."""


@dataclass(frozen=True, kw_only=True)
class _Opened:
    """An open shard: the pool or the counts begin at byte `start` of the file.

    `copy` is the local copy, if the file is that.
    """

    file: io.FileIO
    kind: str
    start: int
    chip_shape: tuple[int, ...]
    columns: dict[str, NDArray[Any]]
    copy: ShardCopy | None = None


class Shard:
    """One shard of images or chips.

    The file is opened on first use and crosses no pickle: each process opens its own.

    Args:
        path: The HDF5 file.
        copy: Its copy on this node, if there may be one: samples are read from that when it is
            there, all else from the file.
    """

    def __init__(self, path: Path, copy: ShardCopy | None = None) -> None:
        self.path, self.copy = Path(path), copy
        self._opened: _Opened | None = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_opened": None}

    @contextmanager
    def hdf5(self) -> Iterator[h5py.File]:
        """The shard as HDF5, for columns; closed afterwards.

        Raises:
            UserError: Missing, not a shard, or of a format version that this code does not read.
        """
        if not self.path.is_file():
            raise UserError(f"{self.path}: no such shard; pack the corpus again")
        try:
            # Lustre offers no locks by default, and a finished shard never changes.
            file = h5py.File(self.path, "r", locking=False)
        except OSError as error:
            raise UserError(
                f"{self.path}: not a readable HDF5 file ({error}); pack it again"
            ) from None
        with file:
            self._check_format(file)
            yield file

    def _check_format(self, file: h5py.File) -> None:
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
        if file.attrs.get("kind") not in _COLUMNS:
            raise UserError(
                f"{self.path}: kind is {file.attrs.get('kind')!r}, expected {' or '.join(_COLUMNS)}"
            )

    def _open(self) -> _Opened:
        """The file or its copy, opened, and where its samples are, unless that is known already."""
        if self._opened is None:
            self._opened = self._open_copy() or self._open_file()
        elif self.copy is not None and time.monotonic() >= self.copy.next_look:
            stream = self.copy.opened()
            if stream is not None:  # the same bytes at the same places
                self._opened.file.close()
                self._opened = replace(self._opened, file=stream, copy=self.copy)
        return self._opened

    def _open_file(self) -> _Opened:
        with self.hdf5() as file:
            kind = str(file.attrs["kind"])
            columns = {name: file[name][:] for name in _COLUMNS[kind]}
            if kind == layout.IMAGES:
                start, shape = self._place(file[layout.POOL], np.uint8), ()
            else:
                start = self._place(file[layout.COUNTS], np.uint16)
                shape = tuple(file[layout.COUNTS].shape[1:])
        try:
            stream = io.FileIO(self.path)
        except OSError as error:
            raise UserError(f"{self.path}: cannot be opened ({error.strerror})") from None
        return _Opened(file=stream, kind=kind, start=start, chip_shape=shape, columns=columns)

    def _open_copy(self) -> _Opened | None:
        stream = self.copy.opened() if self.copy is not None else None
        if self.copy is None or stream is None:
            return None
        with stream:
            try:
                opened = Shard(self.copy.path)._open()
            except Exception as error:  # a damaged file shows itself in many ways
                self.copy.give_up(f"cannot be read ({error})")
                return None
        return replace(opened, copy=self.copy)

    def _left_copy(self, index: int) -> bool:
        """Whether a sample was read from the local copy, which is given up now."""
        if self._opened is None or self._opened.copy is None:
            return False
        self._opened.copy.give_up(f"is damaged at sample {index}, or cannot be read")
        self.close()
        return True

    def _place(self, dataset: h5py.Dataset, dtype: type[np.generic]) -> int:
        """Where a contiguous dataset begins in the file.

        Raises:
            UserError: It lies in chunks, is filtered, or has another type.
        """
        place = dataset.id.get_offset()
        if dataset.size == 0:
            return 0
        if place is None or dataset.dtype != np.dtype(dtype).newbyteorder("<"):
            raise UserError(
                f"{self.path}: dataset {dataset.name} has chunks or is {dataset.dtype}, expected "
                f"one contiguous piece of little-endian {np.dtype(dtype)}; pack it again"
            )
        return int(place)

    @property
    def is_open(self) -> bool:
        """Whether a file is held open."""
        return self._opened is not None

    def close(self) -> None:
        """Close the file; it opens again when needed."""
        if self._opened is not None:
            self._opened.file.close()
        self._opened = None

    def __len__(self) -> int:
        return len(self._open().columns[layout.CRC32])

    @property
    def kind(self) -> str:
        """`images` or `chips`."""
        return self._open().kind

    @property
    def classes(self) -> list[str]:
        """Class names, in label order."""
        with self.hdf5() as file:
            return [str(name) for name in file.attrs["classes"]]

    @property
    def bands(self) -> list[str]:
        """Band names of chips, in channel order."""
        with self.hdf5() as file:
            return [str(name) for name in file.attrs["bands"]]

    @property
    def units(self) -> str:
        """Units of chips' physical values as the shard names them; empty if it does not."""
        with self.hdf5() as file:
            return str(file.attrs.get("units", ""))

    @property
    def quantity(self) -> str:
        """What the physical values of chips are, such as `radiance`; empty if not told."""
        with self.hdf5() as file:
            return str(file.attrs.get("quantity", ""))

    @property
    def chip_shape(self) -> tuple[int, ...]:
        """(bands, height, width) of chips."""
        return self._open().chip_shape

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) class indices, −1 where unlabelled."""
        labels: NDArray[np.int32] = self._open().columns[layout.LABELS]
        return labels

    @property
    def splits(self) -> NDArray[np.int8]:
        """(n,) indices into `layout.SPLIT_NAMES`, −1 where none."""
        with self.hdf5() as file:
            splits: NDArray[np.int8] = file[layout.SPLITS][:]
        return splits

    @property
    def keys(self) -> list[str]:
        """Where each sample came from."""
        with self.hdf5() as file:
            return [key.decode() for key in file[layout.KEYS][:]]

    def key(self, index: int) -> str:
        """Where one sample came from."""
        with self.hdf5() as file:
            key: bytes = file[layout.KEYS][index]
        return key.decode()

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """(n,) what tells samples apart: bytes stored, times 2³², plus their crc32."""
        opened = self._open()
        if opened.kind == layout.IMAGES:
            sizes = np.diff(opened.columns[layout.OFFSETS])
        else:
            sizes = np.full(len(self), 2 * np.prod(opened.chip_shape))
        crc32: NDArray[np.uint64] = opened.columns[layout.CRC32].astype(np.uint64)
        return (sizes.astype(np.uint64) << np.uint64(32)) | crc32

    def fields(self, *names: str) -> dict[str, NDArray[Any]]:
        """Columns of a chip shard by name (row, column, latitude …): those named, or all."""
        columns = {}
        with self.hdf5() as file:
            for name in names or sorted(set(file) - layout.NOT_COLUMNS):
                column = file[name]
                text = h5py.check_string_dtype(column.dtype)
                columns[name] = column.asstr()[:] if text else column[:]
        return columns

    def filled(self, index: int) -> NDArray[np.bool_]:
        """(bands, height) of one chip: lines that were interpolated, their detector being dead."""
        with self.hdf5() as file:
            filled: NDArray[np.uint8] = file[layout.FILLED][index]
        return filled.astype(bool)

    def _read(self, index: int, start: int, buffer: memoryview) -> None:
        """Fill a buffer with a sample's bytes, and compare them with their checksum.

        Raises:
            SampleError: The file cannot be read, ends too early, or holds other bytes.
        """
        opened = self._open()
        done = 0
        try:
            while done < buffer.nbytes:  # a signal, or some file systems, cut a read short
                more = os.preadv(opened.file.fileno(), [buffer[done:]], start + done)
                if not more:
                    break
                done += more
        except OSError as error:
            raise self._error(index, f"cannot be read ({error.strerror})") from None
        if done != buffer.nbytes:
            raise self._error(index, f"has {done} of {buffer.nbytes} bytes: the file is cut off")
        if isal_zlib.crc32(buffer) != opened.columns[layout.CRC32][index]:
            raise self._error(index, "does not match its checksum")
        if opened.copy is not None:
            opened.copy.copies.reads += 1

    def _error(self, index: int, what: str) -> SampleError:
        try:
            key = self.key(index)
        except (UserError, OSError):  # then the file is damaged elsewhere too
            key = "of unknown key"
        return SampleError(
            f"{self.path}: sample {index} ({key}) {what}; `python -m workflow_scripts.pack "
            "--verify <index.json>` finds all that is damaged, then pack or tile it again"
        )

    def image(self, index: int) -> bytearray:
        """The encoded bytes of one image.

        Raises:
            SampleError: They cannot be read or do not match their checksum.
        """
        try:
            return self._image(index)
        except SampleError:
            if not self._left_copy(index):
                raise
            return self._image(index)

    def _image(self, index: int) -> bytearray:
        opened = self._open()
        start, end = opened.columns[layout.OFFSETS][index : index + 2].tolist()
        data = bytearray(end - start)
        self._read(index, opened.start + start, memoryview(data))
        return data

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of one image in pixels."""
        height, width = self._open().columns[layout.SIZES][index].tolist()
        return height, width

    def counts(self, index: int) -> NDArray[np.uint16]:
        """The (bands, height, width) counts of one chip.

        Raises:
            SampleError: They cannot be read or do not match their checksum.
        """
        counts: NDArray[np.uint16] = np.empty(self.chip_shape, "<u2")
        self.counts_to(index, counts.reshape(-1).data.cast("B"))
        return counts

    def counts_to(self, index: int, buffer: memoryview) -> None:
        """Read the counts of one chip into a buffer of their size.

        Raises:
            SampleError: They cannot be read or do not match their checksum.
        """
        try:
            self._read(index, self._open().start + index * buffer.nbytes, buffer)
        except SampleError:
            if not self._left_copy(index):
                raise
            self._read(index, self._open().start + index * buffer.nbytes, buffer)

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
        scale, offset = self.calibration(slice(None))
        numbers = np.arange(len(self)) if rows is None else rows
        with self.hdf5() as file:
            stored = file[layout.COUNTS]
            for start in range(0, len(self), chips):
                first, last = np.searchsorted(numbers, (start, start + chips))
                part = numbers[first:last]
                if len(part):
                    counts = stored[part[0] : part[-1] + 1]
                    yield counts[part - part[0]], scale[part], offset[part]

    def calibration(
        self, index: int | slice | NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset of each band of one chip, or of several: (count − offset)·scale."""
        columns = self._open().columns
        return columns[layout.SCALE][index], columns[layout.OFFSET][index]

    def physical(self, index: int) -> NDArray[np.float32]:
        """One chip in physical units: (count − offset)·scale, float32 (bands, height, width).

        NaN where there is no value.
        """
        scale, offset = (column[:, None, None] for column in self.calibration(index))
        counts = self.counts(index)
        values = ((counts - offset) * scale).astype(np.float32)
        values[counts > layout.MAX_COUNT] = np.nan
        return values
