"""A packed corpus: its `index.json` and the shards it lists, as one sequence of samples."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.shards import layout
from workflow_scripts.shards.reader import Shard


def content_digest(index: dict[str, Any]) -> str:
    """What the samples are, whoever packed them: the digest of shard checksums in order."""
    return digest([shard["sha256"] for shard in index["shards"]])


class Corpus:
    """The samples of all shards of an `index.json`, numbered in order.

    Args:
        index_path: The corpus's `index.json`; shard paths in it are relative to its folder.
        split: Keep only this split's samples (`train`, `val`, `test`); all by default.

    Raises:
        UserError: No index, an index of a newer format, or no sample of that split.
    """

    def __init__(self, index_path: Path, split: str | None = None) -> None:
        self.path = Path(index_path)
        self.index = read_json(self.path)
        version = self.index.get("format_version", 0)
        if version > layout.FORMAT_VERSION:
            raise UserError(f"{self.path}: format version {version} is newer than this code")
        self.shards = [Shard(self.path.parent / row["file"]) for row in self.index["shards"]]
        self.kind: str = self.index["kind"]
        self.channels: int = self.index["channels"]
        self.classes: list[str] = self.index["classes"]
        counts = [row["count"] for row in self.index["shards"]]
        self._starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)
        self._chosen: NDArray[np.int64] | None = None
        if split is not None:
            wanted = layout.SPLIT_NAMES.index(split)
            self._chosen = np.flatnonzero(self._column("splits") == wanted)
        if len(self) == 0:
            raise UserError(f"{self.path}: no sample" + (f" of split {split!r}" if split else ""))

    def __len__(self) -> int:
        return int(self._starts[-1] if self._chosen is None else len(self._chosen))

    def _column(self, name: str) -> NDArray[Any]:
        return np.concatenate([getattr(shard, name) for shard in self.shards])

    def _locate(self, index: int) -> tuple[Shard, int]:
        row = int(index if self._chosen is None else self._chosen[index])
        shard = int(np.searchsorted(self._starts, row, side="right")) - 1
        return self.shards[shard], row - int(self._starts[shard])

    @property
    def labels(self) -> NDArray[np.int32]:
        """(n,) class indices into `classes`, −1 where unlabelled."""
        labels = self._column("labels")
        return labels if self._chosen is None else labels[self._chosen]

    @property
    def fingerprints(self) -> NDArray[np.uint64]:
        """(n,) size and checksum of each sample's stored bytes in one number."""
        prints = self._column("fingerprints")
        return prints if self._chosen is None else prints[self._chosen]

    @property
    def keys(self) -> list[str]:
        """Where each sample came from."""
        keys = [key for shard in self.shards for key in shard.keys]
        return keys if self._chosen is None else [keys[row] for row in self._chosen]

    def image(self, index: int) -> bytes:
        """Encoded bytes of an image sample."""
        shard, row = self._locate(index)
        return shard.image(row)

    def physical(self, index: int) -> NDArray[np.float32]:
        """A chip sample in physical units, (bands, height, width)."""
        shard, row = self._locate(index)
        return shard.physical(row)

    def name(self, index: int) -> str:
        """Shard, row and key of a sample, for messages."""
        shard, row = self._locate(index)
        return f"{shard.path} sample {row} ({shard.keys[row]})"
