"""Protocol few_shot: logistic regression on a few training samples of each class.

Nothing is left to choose settings on, so they are fixed; the draws of several seeds tell how much
the result owes to the samples.
"""

import warnings

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, Normalizer, StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.probe.choose import described
from workflow_scripts.probe.metrics import check_finite
from workflow_scripts.probe.row_blocks import block_rows, blocks, read
from workflow_scripts.probe.trial import Features, Outcome, Part, Rows, Trial
from workflow_scripts.threads import map_in_order

NORMALISATIONS = {"standardize": StandardScaler, "l2": Normalizer, "none": FunctionTransformer}
MOST_STEPS = 2000


def check(trial: Trial) -> None:
    """Refuse a training part from which so many samples of each class cannot be drawn.

    Raises:
        UserError: Samples have several labels, or a class has too few samples.
    """
    if trial.multi_label:
        raise UserError(
            "probe: few_shot draws samples class by class, which several labels do not allow; "
            "take few_shot out of the benchmark's protocols"
        )
    shots = trial.settings["shots"]
    counts = np.bincount(trial.train.labels, minlength=trial.classes)
    if (counts < shots).any():
        label = int(np.argmax(counts < shots))
        raise UserError(
            f"probe: few_shot: class {trial.name(label)} has {counts[label]} training samples, "
            f"{shots} are asked for; take {shots} out of few_shot.shots or enlarge the "
            "training share"
        )


def drawn(trial: Trial, shots: int) -> Rows:
    """(classes · shots,) places in the training part: the first few of a random order by class.

    A pure function of the seed and the class, so that fewer shots are among more. Identical images
    come once, and again only where a class has too few different ones.
    """
    found = []
    for label in range(trial.classes):
        places = np.flatnonzero(trial.train.labels == label)
        order = np.random.default_rng([trial.seed, label]).permutation(places)
        again = np.ones(len(order), bool)
        again[np.unique(trial.train.groups[order], return_index=True)[1]] = False
        found.append(order[np.argsort(again, kind="stable")][:shots])
    return np.concatenate(found)


def fit(features: Features, part: Part, *, strength: float, normalisation: str) -> Pipeline:
    """Normalisation, learnt on these samples alone, and logistic regression with C = `strength`.

    Raises:
        UserError: No such normalisation, a feature is not finite, or the solver cannot make a step.
    """
    if normalisation not in NORMALISATIONS:
        raise UserError(
            f"probe: few_shot: normalisation is {normalisation!r}; "
            f"use one of {', '.join(NORMALISATIONS)}"
        )
    pipeline = Pipeline(
        [
            ("normalise", NORMALISATIONS[normalisation]()),
            ("classify", LogisticRegression(C=strength, solver="lbfgs", max_iter=MOST_STEPS)),
        ]
    )
    values = read(features, part.rows, "few_shot").astype(np.float64)
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always", ConvergenceWarning)
        pipeline.fit(values, part.labels)
    what = described("few_shot", {"normalisation": normalisation, "strength": strength})
    steps = int(np.max(pipeline["classify"].n_iter_))
    if said and steps == 0:
        raise UserError(
            f"probe: {what}: the solver could not make a step on features as large as "
            f"{np.abs(values).max():g}; use normalisation standardize"
        )
    if said:
        log.warning("%s: not converged in %d steps", what, steps)
    return pipeline


def scored(fitted: Pipeline, features: Features, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), classes) decision values, by blocks."""

    def of_block(block: slice) -> NDArray[np.float32]:
        found = read(features, rows[block], "few_shot").astype(np.float64)
        values: NDArray[np.float64] = fitted.decision_function(found)
        both = values if values.ndim == 2 else np.stack([-values, values], axis=1)
        return both.astype(np.float32)

    parts = blocks(len(rows), block_rows(features.shape[1]))
    return np.concatenate(list(map_in_order(of_block, parts)))


def judge(trial: Trial) -> Outcome:
    """Draw a few training samples of each class, fit them, and score the test part.

    Args:
        trial: Its settings are `shots` (one number), `strength` (the larger, the less the penalty),
            `normalisation` and `poolings` (the first is used).

    Returns:
        Decision values, and the settings as `chosen`.

    Raises:
        UserError: Samples have several labels, a class has too few samples, or features or scores
            are not finite.
    """
    check(trial)
    settings = trial.settings
    chosen = {
        "pooling": settings["poolings"][0],
        "normalisation": settings["normalisation"],
        "strength": settings["strength"],
        "shots": settings["shots"],
    }
    features = trial.features[chosen["pooling"]]
    part = trial.train.only(drawn(trial, settings["shots"]))
    with threadpool_limits(limits=1):
        fitted = fit(
            features, part, strength=chosen["strength"], normalisation=chosen["normalisation"]
        )
        scores = scored(fitted, features, trial.test.rows)
    check_finite(scores, described("few_shot", chosen))
    return Outcome(scores, chosen)
