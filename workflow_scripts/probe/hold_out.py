"""The held-out part of a training set, on which a protocol chooses its settings."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.trial import Labels, Part, Trial


def _drawn(
    sizes: NDArray[np.int64], *, share: float, total: int, key: list[int]
) -> NDArray[np.int64]:
    """Which groups of samples are held out: about `share` of `total` samples, one group at least.

    Groups are taken in a random order while they fit in; never all samples.

    Args:
        sizes: Samples in each group that may be held out.
        share: Of the samples.
        total: Samples there are, those in no such group included.
        key: Of the random order.
    """
    count = min(max(1, round(share * total)), total - 1)
    order = np.random.default_rng(key).permutation(len(sizes))
    fitting = order[sizes[order] <= count]
    if len(fitting):
        return fitting[np.cumsum(sizes[fitting]) <= count]
    smallest = order[np.argsort(sizes[order], kind="stable")[:1]]
    return smallest[sizes[smallest] < total]


def hold_out(
    labels: Labels, *, share: float, seed: int, groups: NDArray[Any] | None = None
) -> NDArray[np.bool_]:
    """Which training samples are held out, a pure function of its arguments.

    For one label `share` of each class, one sample at least where the class has two different ones,
    never all. For several labels `share` of the samples, whatever they show.

    Args:
        labels: (n,) class numbers, or (n, classes) bool for several labels.
        share: Between 0 and 1.
        seed: Of the draw.
        groups: (n,) the same number for identical images, which stay on one side; None if all
            differ. An image that has two classes is not held out.

    Returns:
        (n,) true where a sample is held out.

    Raises:
        UserError: Nothing can be held out: there are no two different samples to choose from.
    """
    classes = labels if labels.ndim == 1 else np.zeros(len(labels), np.int64)
    if groups is None:
        groups = np.arange(len(classes))
    # Groups numbered in the order of their first sample, so that names of groups change no draw.
    _, first, group, sizes = np.unique(
        groups, return_index=True, return_inverse=True, return_counts=True
    )
    of_group = classes[first]
    mixed = np.zeros(len(first), bool)
    mixed[group[classes != of_group[group]]] = True
    held = np.zeros(len(first), bool)
    by_first = np.argsort(first, kind="stable")
    for label, total in zip(*np.unique(classes, return_counts=True), strict=True):
        own = by_first[(of_group[by_first] == label) & ~mixed[by_first]]
        key = [seed, int(label)]
        held[own[_drawn(sizes[own], share=share, total=int(total), key=key)]] = True
    if not held.any():
        raise UserError(
            f"probe: none of the {len(classes)} training samples can be held out to choose "
            "settings on; a class with two different samples or more is needed: enlarge the "
            "training share"
        )
    return held[group]


def parted(trial: Trial) -> tuple[Part, Part]:
    """The training part of a trial as what is learnt from and what is held out to choose settings.

    Its settings have the share `holdout`; identical images stay on one side.

    Raises:
        UserError: Nothing can be held out.
    """
    train, share = trial.train, trial.settings["holdout"]
    held = hold_out(train.labels, share=share, seed=trial.seed, groups=train.groups)
    return train.only(~held), train.only(held)
