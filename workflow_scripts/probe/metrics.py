"""Metrics of scores, and of several trials together: the only home of both."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import average_precision_score

from workflow_scripts.errors import UserError
from workflow_scripts.probe.trial import Labels

Scores = NDArray[np.floating[Any]]


def check_finite(scores: Scores, what: str) -> None:
    """Refuse scores that are no numbers: sorted, they would pass for low or high ones.

    Args:
        scores: (n, classes).
        what: The protocol and the setting that gave them, for the message.

    Raises:
        UserError: A score is NaN or infinite.
    """
    broken = int((~np.isfinite(scores)).any(axis=1).sum())
    if broken:
        raise UserError(
            f"probe: {what}: scores of {broken} of {len(scores)} samples are not finite; look for "
            "features that are not finite or very large, or leave this setting out"
        )


def rank_of(scores: Scores, labels: Labels) -> NDArray[np.int64]:
    """(n,) how many classes come before the true one; of equal scores the smaller class first."""
    own = np.take_along_axis(scores, labels[:, None], axis=1)
    smaller = np.arange(scores.shape[1]) < labels[:, None]
    return ((scores > own) | ((scores == own) & smaller)).sum(axis=1)


def judge_one_label(scores: Scores, labels: Labels, classes: int) -> dict[str, Any]:
    """Top-1, top-5, accuracy by class and confusion; see `judge`."""
    ranks = rank_of(scores, labels)
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (labels, scores.argmax(axis=1)), 1)  # argmax takes the smaller of equals
    of_class = confusion.sum(axis=1)
    return {
        "top1": 100 * float((ranks < 1).mean()),
        "top5": 100 * float((ranks < 5).mean()),
        "per_class": [
            100 * float(confusion[row, row] / of_class[row]) if of_class[row] else None
            for row in range(classes)
        ],
        "confusion": confusion,
    }


def micro(scores: Scores, labels: Labels) -> float:
    """Average precision in percent over all pairs of sample and class, by scikit-learn.

    Raises:
        UserError: No sample has a class.
    """
    if not labels.any():
        raise UserError(
            f"probe: none of {len(labels)} samples to judge on has a label; check the split"
        )
    return 100 * float(average_precision_score(labels, scores, average="micro"))


def judge_labels(scores: Scores, labels: Labels) -> dict[str, Any]:
    """Average precisions of several labels; see `judge`."""
    per_class = [
        100 * float(average_precision_score(of_class, found)) if of_class.any() else None
        for of_class, found in zip(labels.T, scores.T, strict=True)
    ]
    return {
        "map_micro": micro(scores, labels),
        "map_macro": float(np.mean([value for value in per_class if value is not None])),
        "per_class": per_class,
    }


def judge(scores: Scores, labels: Labels, classes: int) -> dict[str, Any]:
    """What a protocol's scores are worth, in percent.

    Average precision is sum over thresholds of (recall − previous recall) × precision, equal scores
    being one threshold, as scikit-learn has it; there is no interpolation.

    Args:
        scores: (n, classes), the larger the more likely; of equal scores the smaller class number
            comes first.
        labels: (n,) class numbers, or (n, classes) bool for several labels.
        classes: How many.

    Returns:
        For one label `top1`, `top5`, `per_class` (accuracy; None without a sample) and `confusion`
        (classes, classes): rows are true classes, columns predicted ones. For several labels
        `map_micro`, `map_macro` (mean over the classes that a sample has) and `per_class` (None
        where no sample has it).

    Raises:
        UserError: A score is not finite, or no sample has a label.
    """
    check_finite(scores, "judging")
    if labels.ndim == 2:
        return judge_labels(scores, labels)
    return judge_one_label(scores, labels, classes)


def merit(scores: Scores, labels: Labels) -> float:
    """The one figure by which a setting is chosen on held-out samples: top-1, or micro precision.

    Args:
        scores: (n, classes), finite.
        labels: (n,) class numbers, or (n, classes) bool for several labels.

    Raises:
        UserError: No sample has a label.
    """
    if labels.ndim == 2:
        return micro(scores, labels)
    return 100 * float((scores.argmax(axis=1) == labels).mean())


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over trials (0 for one trial), and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "values": list(values)}


def mean_by_class(
    trials: Sequence[dict[str, Any]], classes: Sequence[str]
) -> dict[str, float | None]:
    """By class the mean over the trials that have it in their test part; None if none has."""
    means: dict[str, float | None] = {}
    for row, name in enumerate(classes):
        values = [t["per_class"][row] for t in trials if t["per_class"][row] is not None]
        means[name] = float(np.mean(values)) if values else None
    return means


def summarise(
    trials: Sequence[dict[str, Any]], chosen: Sequence[dict[str, Any]], classes: Sequence[str]
) -> dict[str, Any]:
    """All trials (splits × seeds) of a protocol as one: mean ± std, confusion matrices summed.

    Args:
        trials: What `judge` found, trial by trial.
        chosen: The hyper-parameters of each trial, in the same order.
        classes: Their names, by number.
    """
    figures = ("top1", "top5") if "top1" in trials[0] else ("map_micro", "map_macro")
    summary: dict[str, Any] = {name: spread([t[name] for t in trials]) for name in figures}
    summary["per_class"] = mean_by_class(trials, classes)
    if "confusion" in trials[0]:
        summary["confusion"] = sum(t["confusion"] for t in trials).tolist()
    return {**summary, "chosen": list(chosen)}


def told(summary: dict[str, Any]) -> str:
    """The headline of what `summarise` returned: `top-1 85.9 ± 0.3 %`."""
    name = "top1" if "top1" in summary else "map_micro"
    words = {"top1": "top-1", "map_micro": "average precision (micro)"}
    found = summary[name]
    spread_of = f" ± {found['std']:.1f}" if len(found["values"]) > 1 else ""
    return f"{words[name]} {found['mean']:.1f}{spread_of} %"
