"""The samples of a packed benchmark on each side of its splits, for all that judge an encoder."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.table import SplitTable, read_splits

Rows = NDArray[np.int64]
TRAIN, TEST = layout.SPLIT_NAMES.index("train"), layout.SPLIT_NAMES.index("test")


@dataclass(frozen=True, kw_only=True)
class Sides:
    """One split: numbers of its samples in the corpus, rising.

    Attributes:
        name: Such as `seed-0`, or `dataset`.
        digest: Of every key, its side and its class.
        train: (n,) what is learnt from.
        test: (m,) what is judged.
    """

    name: str
    digest: str
    train: Rows
    test: Rows


@dataclass(frozen=True, kw_only=True)
class Benchmark:
    """A packed benchmark with its labels and splits.

    Attributes:
        corpus: All its samples.
        classes: Names.
        labels: (samples,) class numbers, −1 for none; (samples, classes) bool for several labels.
        contents: (samples,) equal for samples of the same stored bytes, and for no others.
        splits: One or more.
    """

    corpus: Corpus
    classes: list[str]
    labels: NDArray[Any]
    contents: NDArray[np.int64]
    splits: list[Sides]

    @property
    def multi_label(self) -> bool:
        """Whether a sample has several labels."""
        return self.labels.ndim == 2

    @cached_property
    def used(self) -> Rows:
        """(k,) samples that some split trains or judges on, rising."""
        return np.unique(np.concatenate([rows for s in self.splits for rows in (s.train, s.test)]))

    @cached_property
    def trained(self) -> Rows:
        """(k,) samples that some split trains on, rising."""
        return np.unique(np.concatenate([one.train for one in self.splits]))


def read_benchmark(index: Path, table: Path | None) -> Benchmark:
    """A packed benchmark and its splits.

    Args:
        index: Its `index.json`.
        table: The stage `split`'s CSV; None for chips, whose one split is in their index.

    Raises:
        UserError: The table is of another dataset, or leaves a side of a split empty.
    """
    corpus = Corpus(index)
    contents = np.unique(corpus.fingerprints, return_inverse=True)[1].astype(np.int64)
    if table is None:
        labels: NDArray[Any] = _packed_labels(corpus)
        sides, classes = [_packed(corpus)], corpus.classes
    else:
        found = read_splits(table)
        places = _places(corpus, found, table)
        labels, classes = _labels(corpus, found, places, table)
        sides = [_sides(name, found.digest(name), found.side(name)[places]) for name in found.names]
    for one in sides:
        for side in ("train", "test"):
            if not len(getattr(one, side)):
                raise UserError(
                    f"{table or index}: split {one.name!r} has no {side} sample among the "
                    f"{len(corpus)} packed ones; give the benchmark another split"
                )
    return Benchmark(corpus=corpus, classes=classes, labels=labels, contents=contents, splits=sides)


def _packed(corpus: Corpus) -> Sides:
    """The split that is in the index itself."""
    names = [corpus.classes[label] if label >= 0 else None for label in corpus.labels]
    told = zip(corpus.keys, corpus.splits.tolist(), names, strict=True)
    return _sides("dataset", digest(sorted([key, side, name] for key, side, name in told
                                           if side >= 0)), corpus.splits)  # fmt: skip


def _sides(name: str, checksum: str, sides: NDArray[np.int8]) -> Sides:
    rows = {side: np.flatnonzero(sides == side).astype(np.int64) for side in (TRAIN, TEST)}
    return Sides(name=name, digest=checksum, train=rows[TRAIN], test=rows[TEST])


def _places(corpus: Corpus, table: SplitTable, path: Path) -> Rows:
    """(samples,) where each sample of the corpus is in the table."""
    row_of = {key: row for row, key in enumerate(table.keys)}
    # A key in a corpus begins with its dataset.
    own = [key.partition("/")[2] for key in corpus.keys]
    lost = next((key for key in own if key not in row_of), None)
    if lost is not None:
        raise UserError(
            f"{path}: has no row for {lost!r}, which {corpus.path} holds; they are of different "
            "states of the dataset: make both again"
        )
    return np.array([row_of[key] for key in own], np.int64)


def _labels(
    corpus: Corpus, table: SplitTable, places: Rows, path: Path
) -> tuple[NDArray[Any], list[str]]:
    """Labels of the corpus's samples, and the names of the classes."""
    if table.multi_label:
        return table.label_matrix()[places], table.classes
    labels = _packed_labels(corpus)
    names = [*corpus.classes, ""]  # the last is that of −1
    for key, label, place in zip(corpus.keys, labels.tolist(), places.tolist(), strict=True):
        if names[label] != table.labels[place]:
            raise UserError(
                f"{path}: {key} has class {table.labels[place]!r}, but {corpus.path} has it as "
                f"{names[label]!r}; they are of different states of the dataset: make both again"
            )
    return labels, corpus.classes


def _packed_labels(corpus: Corpus) -> NDArray[np.int32]:
    """The class numbers that were packed."""
    labels = corpus.labels
    if labels.max(initial=-1) >= len(corpus.classes):
        raise UserError(
            f"{corpus.path}: a sample has class number {labels.max()}, but there are "
            f"{len(corpus.classes)} classes; pack the benchmark again"
        )
    return labels
