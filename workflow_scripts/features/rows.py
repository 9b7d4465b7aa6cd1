"""Which samples of a packed benchmark are used: the rows of every set of its features."""

import csv
import hashlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.selection import read_selection

_BEFORE_SPLITS = ("key", "sha256", "label")  # columns of the list of splits


def used_rows(corpus: Corpus, splits: Path | None) -> NDArray[np.int64]:
    """Numbers of the samples that some split uses, rising.

    Args:
        corpus: The packed benchmark, all of it.
        splits: The list of the benchmark's splits, a CSV whose rows are samples by `key`: used are
            those with a cell that is not empty. Without it, those that have a split in the index.

    Raises:
        UserError: No sample is used, or the file is no such list.
    """
    if splits is None:
        rows = np.flatnonzero(_packed_splits(corpus) >= 0)
        of = f"{corpus.path}: no sample has a split; give the dataset splits, or a list of them"
    else:
        wanted = _listed(splits)
        rows = np.flatnonzero([key in wanted for key in corpus.keys])
        of = f"{splits}: lists no sample of {corpus.path} in any split; make it again"
    if not len(rows):
        raise UserError(of)
    return rows


def rows_digest(rows: NDArray[np.int64]) -> str:
    """Hexadecimal sha256 of row numbers."""
    return hashlib.sha256(rows.astype("<i8").tobytes()).hexdigest()


def _packed_splits(corpus: Corpus) -> NDArray[np.int8]:
    selection = corpus.index.get("selection")
    if selection:
        return read_selection(corpus.path.parent / selection["file"]).splits
    return np.concatenate([shard.splits[rows] for shard, rows in corpus.parts()])


def _listed(path: Path) -> set[str]:
    """Keys of the samples that are in some split.

    Raises:
        UserError: No such file, or other columns.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; make the benchmark's splits first")
    with path.open(encoding="utf-8", newline="") as file:
        reader = csv.reader(file)
        header = tuple(next(reader, ()))
        first = len(_BEFORE_SPLITS)
        if header[:first] != _BEFORE_SPLITS or len(header) == first:
            raise UserError(
                f"{path}: begins with {','.join(header)!r}, expected "
                f"{','.join(_BEFORE_SPLITS)} and the names of splits"
            )
        return {row[0] for row in reader if any(row[first:])}
