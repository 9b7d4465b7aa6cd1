"""Sets of features on the disk, as they are read: arrays that are mapped, never loaded whole.

    <store>/<digest>/features.npy    float32 (samples, columns), C order, little-endian
    <store>/<digest>/set.json        {"shape", "columns": [{"pooling", "layer", "start", "stop"}],
                                      "sha256" of features.npy}

A column block is one pooling of one block of the encoder; `layer` counts from the end, 1 is the
encoder's last block. The digest names all that a set is made from (`sets`), so that a folder which
has its `set.json` never changes, and may be deleted at any time: it is made again when needed.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json

ARRAY, CARD = "features.npy", "set.json"
TRAINED, COLOUR = "trained", "mean-colour"  # names of sets; see `sets`

Rows = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class Block:
    """Columns `start` to `stop` of a set: one pooling of one block of the encoder."""

    pooling: str
    layer: int
    start: int
    stop: int


@dataclass(frozen=True)
class StoredFeatures:
    """Some columns of a set, read by rows; what a protocol knows as `Features`.

    The file is mapped anew for each `take`: pages that were read do not stay in this process.
    """

    path: Path
    offset: int
    whole: tuple[int, int]
    columns: tuple[slice, ...]

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, dimensions)."""
        return self.whole[0], sum(part.stop - part.start for part in self.columns)

    def take(self, rows: Rows | slice) -> NDArray[np.float32]:
        """(len(rows), dimensions) of some samples, contiguous; a copy.

        Raises:
            UserError: The file is gone.
        """
        try:
            mapped = np.memmap(self.path, "<f4", "r", offset=self.offset, shape=self.whole)
        except (OSError, ValueError) as error:
            raise _gone(self.path, str(error)) from None
        count = len(range(*rows.indices(self.whole[0]))) if isinstance(rows, slice) else len(rows)
        found, at = np.empty((count, self.shape[1]), np.float32), 0
        for part in self.columns:
            end = at + part.stop - part.start
            found[:, at:end] = mapped[rows, part]
            at = end
        return found


class StoredSet:
    """A finished set of features.

    Args:
        store: The folder of all sets.
        digest: The set's.

    Attributes:
        shape: (samples, columns).
        sha256: Of the array's file.

    Raises:
        UserError: There is no such set, or its array is not the one its card describes.
    """

    def __init__(self, store: Path, digest: str) -> None:
        self.folder = store / digest
        self.path = self.folder / ARRAY
        if not (self.folder / CARD).is_file():
            raise _gone(self.folder / CARD, "no such file")
        card: Mapping[str, Any] = read_json(self.folder / CARD)
        samples, columns = card["shape"]
        self.shape: tuple[int, int] = (samples, columns)
        self.sha256: str = card["sha256"]
        blocks = [Block(**row) for row in card["columns"]]
        self._blocks = {(one.pooling, one.layer): slice(one.start, one.stop) for one in blocks}
        self._offset = self._checked()

    def _checked(self) -> int:
        """Where the numbers begin in the file, after a look at its header and size."""
        try:
            found = np.load(self.path, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, EOFError) as error:
            raise _gone(self.path, str(error)) from None
        whole = found.dtype == np.dtype("<f4") and found.flags.c_contiguous
        offset: int = getattr(found, "offset", 0)
        expected = offset + 4 * self.shape[0] * self.shape[1]
        if not whole or found.shape != self.shape or self.path.stat().st_size != expected:
            raise _gone(
                self.path, f"is {found.dtype} {list(found.shape)}, expected {list(self.shape)}"
            )
        return offset

    @property
    def poolings(self) -> list[str]:
        """Poolings that are stored."""
        return list(dict.fromkeys(pooling for pooling, _ in self._blocks))

    @property
    def layers(self) -> int:
        """How many of the encoder's last blocks are stored."""
        return max(layer for _, layer in self._blocks)

    def verify(self) -> None:
        """Read the whole array and compare it with its checksum.

        Raises:
            UserError: It is another.
        """
        if file_sha256(self.path) != self.sha256:
            raise _gone(self.path, "does not match its checksum")

    def features(self, pooling: str, layers: int) -> StoredFeatures:
        """The features of one pooling of the last blocks, side by side, the last block last.

        Args:
            pooling: `mean`, `class`, or `mean+class`: the first's columns, then the second's.
            layers: How many blocks; no more than are stored.

        Raises:
            UserError: They are not stored.
        """
        wanted = [(part, layer) for part in pooling.split("+") for layer in range(layers, 0, -1)]
        if not wanted or any(block not in self._blocks for block in wanted):
            raise UserError(
                f"{self.folder}: holds {', '.join(self.poolings)} of {self.layers} layers, not "
                f"{pooling!r} of {layers}; ask for those, or extract with other poolings or layers"
            )
        columns: list[slice] = []
        for block in (self._blocks[each] for each in wanted):
            if columns and columns[-1].stop == block.start:  # one read in place of two
                columns[-1] = slice(columns[-1].start, block.stop)
            else:
                columns.append(block)
        return StoredFeatures(self.path, self._offset, self.shape, tuple(columns))


def told_layer(layers: int) -> str:
    """Which layer features of the last blocks are of, in words."""
    if layers == 1:
        return "last block, after the final norm"
    return f"last {layers} blocks, each after the final norm"


def view_name(encoder: str, number: int) -> str:
    """The name of the set of an encoder's view: `trained/view-007`."""
    return f"{encoder}/view-{number:03d}"


def rows_digest(rows: Rows) -> str:
    """Hexadecimal sha256 of the numbers of samples, by which sets of the same ones are known."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def open_set(store: Path, digest: str) -> StoredSet:
    """A finished set, its array's header and size checked; `verify` reads it all.

    Raises:
        UserError: There is no such set, or its array is damaged; tells how to make it again.
    """
    return StoredSet(store, digest)


def _gone(path: Path, what: str) -> UserError:
    return UserError(
        f"{path}: {what}; delete the result of the stage `features` that names this set "
        "(results/features/<encoder>/<benchmark>.json) and start again: it is extracted anew"
    )
