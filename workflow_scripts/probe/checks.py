"""What a split must have before it is learnt from."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.trial import Labels
from workflow_scripts.split.samples import Benchmark

_SHOWN = 5  # classes that are named in a message


def check_splits(benchmark: Benchmark) -> None:
    """Refuse a benchmark of which some split cannot be learnt from or judged on.

    Raises:
        UserError: As of `check_labels`.
    """
    for sides in benchmark.splits:
        both = (benchmark.labels[sides.train], benchmark.labels[sides.test])
        check_labels(*both, benchmark.classes, split=sides.name)


def check_labels(train: Labels, test: Labels, classes: Sequence[str], *, split: str) -> None:
    """Refuse a split from which a protocol cannot learn or be judged.

    Args:
        train: (n,) class numbers, or (n, classes) bool for several labels.
        test: The same of the test side.
        classes: Names.
        split: Its name, for the error.

    Raises:
        UserError: Fewer than two classes, samples without a class or with one that exceeds the
            classes, or a class without a training sample.
    """
    where = f"probe: split {split!r}"
    if len(classes) < 2:
        raise UserError(f"{where}: a benchmark needs two classes or more, this one has {classes}")
    if train.ndim == 2:
        _check_several(train, classes, where)
        return
    for name, labels in (("train", train), ("test", test)):
        if (labels < 0).any():
            raise UserError(
                f"{where}: {int((labels < 0).sum())} of {len(labels)} {name} samples have no "
                "class; a benchmark needs labels"
            )
        if (labels >= len(classes)).any():
            raise UserError(
                f"{where}: a {name} sample has class number {labels.max()}, but there are "
                f"{len(classes)} classes; pack the benchmark again"
            )
    _check_learnt(np.bincount(train, minlength=len(classes)), classes, where)


def _check_several(train: Labels, classes: Sequence[str], where: str) -> None:
    if train.shape[1] != len(classes):
        raise UserError(
            f"{where}: labels are of {train.shape[1]} classes, but there are {len(classes)}; make "
            "the split again"
        )
    _check_learnt(train.sum(axis=0), classes, where)


def _check_learnt(counts: NDArray[np.int64], classes: Sequence[str], where: str) -> None:
    """A class of one training sample can be learnt; settings are chosen on those of others."""
    lacking = [name for name, count in zip(classes, counts, strict=True) if not count]
    if lacking:
        listed = ", ".join(map(repr, lacking[:_SHOWN])) + (", …" if len(lacking) > _SHOWN else "")
        raise UserError(
            f"{where}: class {listed} is missing from the training side ({len(lacking)} of "
            f"{len(classes)} classes are); enlarge the training share, or leave their images out"
        )
