"""A set of features in the making: parts of a fixed number of samples, then one array.

    <store>/<digest>/part-00000.npy …    float32 (samples of the part, columns)

Whoever computes a part writes it under a temporary name of its own and renames it, so that a part
that exists is whole, and ranks or an interrupted run leave what the next one goes on from. When all
are there, one process joins them to `features.npy`, writes `set.json`, and clears the rest.
"""

import os
import socket
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.store import ARRAY, CARD, Block, StoredSet
from workflow_scripts.files import atomic, exclusive, write_json
from workflow_scripts.logs import log

PART = 128  # samples: what an interruption may cost, and what a rank takes at a time
_POLL_SECONDS = 0.1


@dataclass(frozen=True, kw_only=True)
class Parts:
    """The parts of one set.

    Attributes:
        store: The folder of all sets.
        digest: The set's.
        name: What to call the set in messages.
        samples: How many it has.
    """

    store: Path
    digest: str
    name: str
    samples: int

    @property
    def folder(self) -> Path:
        """The set's folder."""
        return self.store / self.digest

    @property
    def count(self) -> int:
        """How many parts there are."""
        return -(-self.samples // PART)

    def places(self, number: int) -> range:
        """Which of the set's samples a part has."""
        return range(number * PART, min((number + 1) * PART, self.samples))

    def path(self, number: int) -> Path:
        """A part's file."""
        return self.folder / f"part-{number:05d}.npy"

    def has(self, number: int) -> bool:
        """Whether a part is there, and whole: after a power cut it may not be."""
        try:
            found = np.load(self.path(number), mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError):
            return False
        return bool(found.ndim == 2 and len(found) == len(self.places(number)))

    def write(self, number: int, values: NDArray[np.float32]) -> None:
        """Write a part: float32 (samples of the part, columns)."""
        writer = f".{socket.gethostname()}.{os.getpid()}"
        try:
            with (
                atomic(self.path(number), writer=writer) as temporary,
                temporary.open("wb") as file,
            ):
                np.save(file, values.astype("<f4", order="C"), allow_pickle=False)
        except FileNotFoundError:
            if not self._is_joined():  # else another process, which did the same, has cleared up
                raise

    def finished(self) -> StoredSet | None:
        """The finished set, its checksum compared; None if it is still to be made."""
        if not self._is_joined():
            return None
        try:
            found = StoredSet(self.store, self.digest)
            found.verify()
        except UserError as error:
            log.warning("%s: extracted again, its array is damaged (%s)", self.name, error)
            return None
        return found

    def forget_damaged(self) -> None:
        """Delete a finished array that is damaged; the card first, so that none believes it.

        One that another process has finished since this one looked stays.
        """
        with self._locked():
            if self._is_joined() and self.finished() is None:
                for name in (CARD, ARRAY):
                    (self.folder / name).unlink(missing_ok=True)

    def join(self, columns: list[Block], *, patience_s: float) -> StoredSet:
        """Wait until all parts are there, and make them one array.

        Args:
            columns: What stands in which columns.
            patience_s: Seconds to wait for the next part of another rank.

        Raises:
            UserError: No other rank made a part in that time.
        """
        self._wait(patience_s)
        with self._locked():
            if not self._is_joined():  # by another process, while this one waited for the lock
                self._join(columns)
            self._clear()
        return StoredSet(self.store, self.digest)

    def _locked(self) -> AbstractContextManager[None]:
        return exclusive(self.folder / CARD, what=f"features {self.name}")

    def _is_joined(self) -> bool:
        return (self.folder / CARD).is_file()

    def _wait(self, patience_s: float) -> None:
        missing, since = list(range(self.count)), time.monotonic()
        while True:
            left = [number for number in missing if not self.has(number)]
            if not left or self._is_joined():
                return
            if len(left) < len(missing):
                since = time.monotonic()
            elif time.monotonic() - since > patience_s:
                raise UserError(
                    f"features {self.name}: {len(left)} of {self.count} parts are missing (part "
                    f"{left[0]} is the first) and no other rank made one in {patience_s:g} s; look "
                    "for its error above, and start the same command again to go on"
                )
            missing = left
            time.sleep(_POLL_SECONDS)

    def _join(self, columns: list[Block]) -> None:
        shape = [self.samples, columns[-1].stop]
        with atomic(self.folder / ARRAY) as temporary:
            with temporary.open("wb") as file:  # closed before it is read again
                header = {"descr": "<f4", "fortran_order": False, "shape": tuple(shape)}
                np.lib.format.write_array_header_1_0(file, header)
                for part in self._read(shape[1]):
                    file.write(part.tobytes())
            total = file_sha256(temporary)
        card = {"shape": shape, "columns": [asdict(one) for one in columns], "sha256": total}
        write_json(self.folder / CARD, card)

    def _read(self, width: int) -> Iterator[NDArray[np.float32]]:
        for number in range(self.count):
            part = np.load(self.path(number), allow_pickle=False)
            if part.shape != (len(self.places(number)), width) or part.dtype != np.dtype("<f4"):
                raise UserError(
                    f"{self.path(number)}: is {part.dtype} {list(part.shape)}, expected "
                    f"{len(self.places(number))} × {width}; delete it and start again"
                )
            yield part

    def _clear(self) -> None:
        """Delete parts, and what killed processes have left of them."""
        for pattern in ("part-*.npy", ".part-*.tmp"):
            for path in self.folder.glob(pattern):
                path.unlink(missing_ok=True)
