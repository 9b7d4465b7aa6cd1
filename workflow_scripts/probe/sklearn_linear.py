"""Linear protocol: logistic regression on frozen features, test samples touched once.

For each seed the strength is chosen on a held-out part of the training split; the classifier is
then fitted again on the whole training split and judged on the test split.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

NORMALISATIONS = {"standardize": StandardScaler, "l2": Normalizer, "none": FunctionTransformer}
MOST_STEPS = 2000

Labels = NDArray[np.integer[Any]]


@dataclass(frozen=True)
class Split:
    """Features (n, dimensions) of one split and the class of each sample."""

    features: NDArray[np.float64]
    labels: Labels


def check_labels(train: Labels, test: Labels, classes: Sequence[str]) -> None:
    """Refuse splits from which the protocol cannot learn or be judged.

    Raises:
        UserError: Unlabelled samples, fewer than two classes, no test sample, a class without a
            training sample, or with too few to hold one out.
    """
    if len(classes) < 2:
        raise UserError(f"probe: a benchmark needs two classes or more, this one has {classes}")
    for name, labels in (("train", train), ("test", test)):
        if len(labels) == 0:
            raise UserError(f"probe: the benchmark has no {name} sample; check the dataset's split")
        if (labels < 0).any():
            raise UserError(
                f"probe: {int((labels < 0).sum())} of {len(labels)} {name} samples have no class; "
                "a benchmark needs labels"
            )
    counts = np.bincount(train, minlength=len(classes))
    for minimum, what in ((1, "is missing from"), (2, "has one sample in")):
        short = [name for name, count in zip(classes, counts, strict=True) if count < minimum]
        if short:
            raise UserError(
                f"probe: class {', '.join(map(repr, short))} {what} the training split; two or "
                "more are needed to fit and to choose a strength: enlarge the training share"
            )


def hold_out(labels: Labels, *, share: float, seed: int) -> NDArray[np.bool_]:
    """Which training samples are held out: `share` of each class, one at least, never all."""
    held = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        rows = np.flatnonzero(labels == label)
        count = min(max(1, round(share * len(rows))), len(rows) - 1)
        chosen = np.random.default_rng([seed, int(label)]).permutation(len(rows))[:count]
        held[rows[chosen]] = True
    return held


def fit(train: Split, *, strength: float, normalisation: str) -> Pipeline:
    """Logistic regression (L2, lbfgs, `C=strength`) on normalised features of `train`.

    Raises:
        UserError: No such normalisation.
    """
    if normalisation not in NORMALISATIONS:
        raise UserError(
            f"probe: normalisation is {normalisation!r}; use one of {', '.join(NORMALISATIONS)}"
        )
    pipeline = Pipeline(
        [
            ("normalise", NORMALISATIONS[normalisation]()),
            ("classify", LogisticRegression(C=strength, solver="lbfgs", max_iter=MOST_STEPS)),
        ]
    )
    pipeline.fit(train.features, train.labels)
    steps = int(np.max(pipeline["classify"].n_iter_))
    if steps >= MOST_STEPS:
        log.warning("strength %g: not converged in %d steps", strength, MOST_STEPS)
    return pipeline


def scores(pipeline: Pipeline, features: NDArray[np.float64]) -> NDArray[np.float64]:
    """Decision values (n, classes)."""
    values: NDArray[np.float64] = pipeline.decision_function(features)
    return values if values.ndim == 2 else np.stack([-values, values], axis=1)


def choose_strength(
    train: Split, strengths: Sequence[float], *, share: float, seed: int, normalisation: str
) -> float:
    """The strength that classifies most held-out training samples; of equals, the smallest C.

    A smaller C regularises more strongly.
    """
    held = hold_out(train.labels, share=share, seed=seed)
    part = Split(train.features[~held], train.labels[~held])
    right = {}
    for strength in strengths:
        pipeline = fit(part, strength=strength, normalisation=normalisation)
        predicted = scores(pipeline, train.features[held]).argmax(axis=1)
        right[strength] = int((predicted == train.labels[held]).sum())
    return min(strengths, key=lambda strength: (-right[strength], strength))


def judge(pipeline: Pipeline, test: Split, classes: int) -> dict[str, Any]:
    """Top-1 and top-5 in percent, per-class accuracy in percent, and the confusion matrix.

    Rows of the matrix are true classes, columns predicted ones.
    """
    values = scores(pipeline, test.features)
    order = np.argsort(-values, axis=1, kind="stable")
    confusion = np.zeros((classes, classes), np.int64)
    np.add.at(confusion, (test.labels, order[:, 0]), 1)
    of_class = confusion.sum(axis=1)
    return {
        "top1": 100 * float((order[:, 0] == test.labels).mean()),
        "top5": 100 * float((order[:, :5] == test.labels[:, None]).any(axis=1).mean()),
        "per_class": [
            100 * float(confusion[row, row] / of_class[row]) if of_class[row] else None
            for row in range(classes)
        ],
        "confusion": confusion,
    }


def linear_probe(train: Split, test: Split, *, recipe: dict[str, Any], seed: int) -> dict[str, Any]:
    """One seed of the protocol: choose, refit, judge.

    Args:
        train: The training split.
        test: The test split; nothing of it enters the choice or the fit.
        recipe: `strengths`, `holdout` and `normalisation`.
        seed: Of the held-out part.

    Returns:
        What `judge` returns, and the `chosen` strength.
    """
    normalisation = recipe["normalisation"]
    # One thread: sums over samples then round the same on every machine.
    with threadpool_limits(limits=1):
        chosen = choose_strength(
            train,
            recipe["strengths"],
            share=recipe["holdout"],
            seed=seed,
            normalisation=normalisation,
        )
        pipeline = fit(train, strength=chosen, normalisation=normalisation)
        return {**judge(pipeline, test, int(train.labels.max()) + 1), "chosen": chosen}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Mean and sample standard deviation over seeds (0 for one seed), and the values."""
    deviation = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
    return {"mean": float(np.mean(values)), "std": deviation, "values": list(values)}


def summarise(results: Sequence[dict[str, Any]], classes: Sequence[str]) -> dict[str, Any]:
    """The seeds' results as one: accuracies as mean ± std, confusion matrices summed."""
    per_class: dict[str, float | None] = {}
    for row, name in enumerate(classes):
        values = [result["per_class"][row] for result in results]
        per_class[name] = None if values[0] is None else float(np.mean(values))
    return {
        "top1": spread([result["top1"] for result in results]),
        "top5": spread([result["top5"] for result in results]),
        "chosen": [result["chosen"] for result in results],
        "per_class": per_class,
        "confusion": sum(result["confusion"] for result in results).tolist(),
    }
