"""A packed corpus: its `index.json` and the shards it lists, as one sequence of samples."""

import threading
from bisect import bisect_right
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.shards import layout
from workflow_scripts.shards.copies import Copies
from workflow_scripts.shards.reader import Shard
from workflow_scripts.shards.selection import Selection, read_selection

T = TypeVar("T")

# Twenty years are 16,000 day files, and a process may often have no more than 1024 open; what is
# known of an open shard of 50,000 images takes about a megabyte.
MOST_OPEN = 128


def content_digest(index: dict[str, Any]) -> str:
    """What the samples are, whoever packed them: the digest of shard checksums in order.

    Where chips of the shards are selected and labelled, the selection's checksum follows.
    """
    sums = [shard["sha256"] for shard in index["shards"]]
    if index.get("selection"):
        sums.append(index["selection"]["sha256"])
    return digest(sums)


class Corpus:
    """The samples of all shards of an `index.json`, numbered in order.

    With a selection (chips that labels were joined to) only the selected chips count, and classes
    and splits are the selection's. Threads may read samples of one corpus together; at most
    `MOST_OPEN` of its shards are open at a time.

    Args:
        index_path: The corpus's `index.json`; shard paths in it are relative to its folder.
        split: Keep only this split's samples (`train`, `val`, `test`); all by default.
        copies: Where copies of its shards are, or will be, on this node.

    Raises:
        UserError: No index, an index of a newer format, no sample of that split, or a selection
            that is not the index's.
    """

    def __init__(
        self, index_path: Path | str, split: str | None = None, copies: Copies | None = None
    ) -> None:
        self.path, self.copies = Path(index_path), copies
        self.index = read_json(self.path)
        version = self.index.get("format_version", 0)
        if version > layout.FORMAT_VERSION:
            raise UserError(f"{self.path}: format version {version} is newer than this code")
        self.shards = [
            Shard(self.path.parent / row["file"], copies.of(row["sha256"]) if copies else None)
            for row in self.index["shards"]
        ]
        self.kind: str = self.index["kind"]
        self.channels: int = self.index["channels"]
        self.classes: list[str] = self.index["classes"]
        counts = [row["count"] for row in self.index["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._places: list[int] = self._starts.tolist()  # bisect is faster than numpy on one number
        self._open: dict[int, None] = {}  # numbers of open shards, the longest unused first
        self._lock = threading.Lock()
        self._chosen: NDArray[np.int64] | None = None  # rising
        self._selection = self._read_selection() if self.index.get("selection") else None
        wanted = None if split is None else layout.SPLIT_NAMES.index(split)
        if self._selection is not None:
            if wanted is not None:
                self._selection = self._selection.of_split(wanted)
            self._chosen = self._selection.rows
        elif wanted is not None:
            self._chosen = np.flatnonzero(self.splits == wanted)
        if len(self) == 0:
            raise UserError(f"{self.path}: no sample" + (f" of split {split!r}" if split else ""))

    def _read_selection(self) -> Selection:
        entry = self.index["selection"]
        path = self.path.parent / entry["file"]
        selection = read_selection(path)
        if file_sha256(path) != entry["sha256"]:
            raise UserError(f"{path}: its checksum is not the one in {self.path}; pack again")
        return selection

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_lock": None, "_open": {}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state, _lock=threading.Lock())

    def __len__(self) -> int:
        return int(self._starts[-1] if self._chosen is None else len(self._chosen))

    @property
    def local_reads(self) -> int:
        """Samples that this process read from copies on its node."""
        return 0 if self.copies is None else self.copies.reads

    def close(self) -> None:
        """Close the shards; each opens again when needed."""
        for shard in self.shards:
            shard.close()
        self._open.clear()

    def _use(self, number: int) -> Shard:
        """A shard that is read next; the longest unused are closed."""
        self._open.pop(number, None)
        self._open[number] = None
        while len(self._open) > MOST_OPEN:
            oldest = next(iter(self._open))
            del self._open[oldest]
            self.shards[oldest].close()
        return self.shards[number]

    def parts(self) -> Iterator[tuple[Shard, NDArray[np.int64]]]:
        """Each shard that holds samples, and their rows in it, in the order of the samples."""
        for number, (start, end) in enumerate(zip(self._starts, self._starts[1:], strict=False)):
            if self._chosen is None:
                rows = np.arange(end - start)
            else:
                first, last = np.searchsorted(self._chosen, (start, end))
                rows = self._chosen[first:last] - start
            if len(rows):
                with self._lock:
                    shard = self._use(number)
                yield shard, rows

    @property
    def shard_sizes(self) -> NDArray[np.int64]:
        """(shards,) how many samples of each shard the corpus has."""
        if self._chosen is None:
            return np.diff(self._starts)
        return np.diff(np.searchsorted(self._chosen, self._starts))

    def _locate(self, index: int) -> tuple[int, int]:
        """Numbers of a sample's shard and of its row there."""
        row = int(index if self._chosen is None else self._chosen[index])
        shard = bisect_right(self._places, row) - 1
        return shard, row - self._places[shard]

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) class indices into `classes`, −1 where unlabelled."""
        if self._selection is not None:
            return self._selection.labels
        if not self.classes:  # nothing to look for in thousands of files
            return np.full(len(self), -1, np.int32)
        return np.concatenate([shard.labels[rows] for shard, rows in self.parts()])

    @property
    def splits(self) -> NDArray[np.int8]:
        """(n,) indices into `layout.SPLIT_NAMES`, −1 where a sample belongs to no split."""
        if self._selection is not None:
            return self._selection.splits
        return np.concatenate([shard.splits[rows] for shard, rows in self.parts()])

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """(n,) size and checksum of each sample's stored bytes in one number."""
        return np.concatenate([shard.fingerprints[rows] for shard, rows in self.parts()])

    @property
    def keys(self) -> list[str]:
        """Where each sample came from."""
        keys: list[str] = []
        for shard, rows in self.parts():
            of_shard = shard.keys
            keys += [of_shard[row] for row in rows]
        return keys

    def key(self, index: int) -> str:
        """Where one sample came from."""
        number, row = self._locate(index)
        return self.shards[number].key(row)

    def image(self, index: int) -> bytearray:
        """Encoded bytes of an image sample."""
        return self._sample(index, lambda shard, row: shard.image(row))

    def image_size(self, index: int) -> tuple[int, int]:
        """(height, width) of an image sample in pixels."""
        return self._sample(index, lambda shard, row: shard.image_size(row))

    def counts(self, index: int) -> NDArray[np.uint16]:
        """Counts of a chip sample, (bands, height, width)."""
        return self._sample(index, lambda shard, row: shard.counts(row))

    def calibration(self, index: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset by band of a chip sample."""
        return self._sample(index, lambda shard, row: shard.calibration(row))

    def labels_of(self, samples: NDArray[np.int64]) -> NDArray[np.int32]:
        """(n,) class indices of some samples, −1 where unlabelled."""
        if self._selection is not None:
            return self._selection.labels[samples]
        labels = np.empty(len(samples), np.int32)
        for number, rows, slots in self._by_shard(samples):
            with self._lock:
                labels[slots] = self._use(number).labels[rows]
        return labels

    def calibrations_of(
        self, samples: NDArray[np.int64]
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Scale and offset by band of some chips, (n, bands) each."""
        pair = np.empty((2, len(samples), self.channels))
        for number, rows, slots in self._by_shard(samples):
            with self._lock:
                pair[:, slots] = self._use(number).calibration(rows)
        return pair[0], pair[1]

    def counts_into(
        self,
        samples: NDArray[np.int64],
        out: NDArray[np.uint16],
        *,
        note: Callable[[int], None],
    ) -> None:
        """Read the counts of many chips.

        Args:
            samples: (n,) which.
            out: Contiguous, (n, bands, height, width).
            note: Called with the number of each before it is read.

        Raises:
            SampleError: One cannot be read or does not match its checksum.
        """
        buffer = out.reshape(-1).data.cast("B")
        size = len(buffer) // max(1, len(samples))
        for number, rows, slots in self._by_shard(samples):
            with self._lock:
                shard = self._use(number)
                for row, slot in zip(rows.tolist(), slots.tolist(), strict=True):
                    note(int(samples[slot]))
                    shard.counts_to(row, buffer[slot * size : (slot + 1) * size])

    def _by_shard(
        self, samples: NDArray[np.int64]
    ) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.int64]]]:
        """Of each shard that holds some: its number, their rows in it, rising, and their places."""
        rows = samples if self._chosen is None else self._chosen[samples]
        order = np.argsort(rows)
        numbers = np.searchsorted(self._starts, rows[order], side="right") - 1
        cuts = np.flatnonzero(np.diff(numbers, prepend=-1))
        for number, slots in zip(numbers[cuts].tolist(), np.split(order, cuts[1:]), strict=True):
            yield number, rows[slots] - self._starts[number], slots

    def physical(self, index: int) -> NDArray[np.float32]:
        """A chip sample in physical units, (bands, height, width); NaN where there is no value."""
        return self._sample(index, lambda shard, row: shard.physical(row))

    @property
    def chip_shape(self) -> tuple[int, ...]:
        """(bands, height, width) of chips."""
        return self._sample(0, lambda shard, _: shard.chip_shape)

    def _sample(self, index: int, read: Callable[[Shard, int], T]) -> T:
        number, row = self._locate(index)
        with self._lock:  # or another thread could close the shard meanwhile
            return read(self._use(number), row)

    def name(self, index: int) -> str:
        """Shard, row and key of a sample, for messages."""
        number, row = self._locate(index)
        return f"{self.shards[number].path} sample {row} ({self.key(index)})"
