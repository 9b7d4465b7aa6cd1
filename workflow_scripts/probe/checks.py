"""What a split must have before it is learnt from."""

from collections.abc import Sequence

import numpy as np

from workflow_scripts.errors import UserError
from workflow_scripts.probe.trial import Labels


def check_labels(train: Labels, test: Labels, classes: Sequence[str], *, split: str) -> None:
    """Refuse a split from which a protocol cannot learn or be judged.

    Args:
        train: (n,) class numbers, or (n, classes) bool for several labels.
        test: The same of the test side.
        classes: Names.
        split: Its name, for the error.

    Raises:
        UserError: Fewer than two classes, samples without a class or with one that exceeds the
            classes, a class without a training sample, or with too few to hold one out.
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
    counts = np.bincount(train, minlength=len(classes))
    for minimum, what in ((1, "is missing from"), (2, "has one sample in")):
        short = [name for name, count in zip(classes, counts, strict=True) if count < minimum]
        if short:
            raise UserError(
                f"{where}: class {', '.join(map(repr, short))} {what} the training side; two or "
                "more are needed to fit and to choose settings: enlarge the training share"
            )


def _check_several(train: Labels, classes: Sequence[str], where: str) -> None:
    if train.shape[1] != len(classes):
        raise UserError(
            f"{where}: labels are of {train.shape[1]} classes, but there are {len(classes)}; make "
            "the split again"
        )
    counts = train.sum(axis=0)
    lacking = [name for name, count in zip(classes, counts, strict=True) if not count]
    if lacking:
        raise UserError(
            f"{where}: class {', '.join(map(repr, lacking))} is missing from the training side; "
            "enlarge the training share"
        )
