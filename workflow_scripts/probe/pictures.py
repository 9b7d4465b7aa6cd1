"""What pictures of a probe are made of: each test sample's verdict, and the features in a plane.

The probe's stage writes this beside its JSON as `<benchmark>.npz`, for the first protocol on
features, the first split and the first seed. The pixels are read when the report is made.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.decomposition import PCA
from sklearn.manifold import TSNE
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from workflow_scripts.files import atomic
from workflow_scripts.probe.trial import Features, Labels, Rows

MOST_EMBEDDED = 2000
PERPLEXITY = 30.0
FEWEST = 5  # below this t-SNE has no neighbours to keep: principal components are shown
_KEPT = 50  # principal components that t-SNE works on

Arrays = dict[str, NDArray[Any]]


def shares(scores: NDArray[np.float32]) -> NDArray[np.float64]:
    """(n, classes) scores as shares of one: votes divided by their sum, else the softmax.

    Scores are votes if none is negative (kNN); those of linear classifiers lie around zero.
    """
    values = scores.astype(np.float64)
    if (values >= 0).all():
        total = values.sum(axis=1, keepdims=True)
        even = np.full_like(values, 1 / values.shape[1])
        return np.divide(values, total, out=even, where=total > 0)
    raised = np.exp(values - values.max(axis=1, keepdims=True))
    found: NDArray[np.float64] = raised / raised.sum(axis=1, keepdims=True)
    return found


def evenly_by_class(labels: NDArray[Any], most: int, seed: int) -> NDArray[np.int64]:
    """Places of at most `most` samples, of each class as many as of any that has as many; rising.

    What small classes leave goes to the larger ones, one sample a class and round.
    """
    if len(labels) <= most:
        return np.arange(len(labels))
    turn = np.empty(len(labels), np.int64)  # the round in which a sample is taken
    for label in np.unique(labels):
        of_it = np.flatnonzero(labels == label)
        shuffled = np.random.default_rng([seed, int(label)]).permutation(of_it)
        turn[shuffled] = np.arange(len(of_it))
    return np.sort(np.lexsort((labels, turn))[:most])


def embed(features: NDArray[np.float32], seed: int) -> tuple[NDArray[np.float32], float]:
    """Features in a plane: standardised, their first principal components, then t-SNE.

    One thread throughout, so that the same features give the same bytes on any number of cores.

    Args:
        features: (m, dimensions).
        seed: Of the start of both methods.

    Returns:
        (m, 2) places, and the perplexity: 30, less where there are few samples, 0 where there are
        so few that the places are the first two principal components.
    """
    count = len(features)
    flat = np.zeros((count, 2), np.float32)
    with threadpool_limits(1):
        standard = StandardScaler().fit_transform(features.astype(np.float64))
        if count < 2 or not standard.any():
            return flat, 0.0
        kept = min(_KEPT, count - 1, standard.shape[1])
        solver = PCA(kept, svd_solver="randomized", random_state=seed)
        components = solver.fit_transform(standard)
        if kept == 1:
            components = np.hstack([components, np.zeros_like(components)])
        if count < FEWEST:
            return components[:, :2].astype(np.float32), 0.0
        perplexity = min(PERPLEXITY, (count - 1) / 3)
        places = TSNE(
            2, init="pca", perplexity=perplexity, random_state=seed, n_jobs=1
        ).fit_transform(components.astype(np.float32))
    return places.astype(np.float32), perplexity


def pictures(
    outcome_scores: NDArray[np.float32],
    labels: Labels,
    rows: Rows,
    features: Features,
    classes: int,
    seed: int,
    *,
    places: Rows | None = None,
) -> Arrays:
    """The arrays of `<benchmark>.npz`.

    Args:
        outcome_scores: (n, classes) of the test samples.
        labels: Their classes, (n,), or (n, classes) of true and false for several labels.
        rows: (n,) their numbers in the packed corpus.
        features: Of all samples of the benchmark that are used.
        classes: How many.
        seed: Of which samples are in the plane, and of t-SNE.
        places: (n,) where the test samples are in `features`; `rows` if not given.

    Returns:
        `test_rows`, `labels`, `predicted` and `confidence` (share of the predicted class, 0 to 1)
        of every test sample; `embedding` (m, 2), `embedding_rows`, `embedding_labels` of up to
        2,000, evenly by class, and `perplexity` (), 0 where the plane is of principal components.
        With several labels a sample, the embedding is empty.
    """
    found = shares(outcome_scores)
    predicted = outcome_scores.argmax(axis=1)
    several = labels.ndim == 2
    chosen = np.arange(0) if several else evenly_by_class(labels, MOST_EMBEDDED, seed)
    where = (rows if places is None else places)[chosen]
    plane, perplexity = (
        embed(features.take(where), seed) if len(chosen) else (np.zeros((0, 2), np.float32), 0.0)
    )
    kind: Any = np.bool_ if several else np.int32
    return {
        "test_rows": rows.astype(np.int64),
        "labels": labels.astype(kind),
        "predicted": predicted.astype(np.int32),
        "confidence": found[np.arange(len(found)), predicted].astype(np.float32),
        "embedding": plane,
        "embedding_rows": rows[chosen].astype(np.int64),
        "embedding_labels": (np.arange(0) if several else labels[chosen]).astype(np.int32),
        "perplexity": np.float32(perplexity),
    }  # fmt: skip


def write(path: Path, arrays: Arrays) -> None:
    """Write the arrays as `.npz`: equal ones give equal bytes.

    Raises:
        ValueError: An array of Python objects, which only pickle could keep.
    """
    objects = [name for name, values in arrays.items() if np.asarray(values).dtype.hasobject]
    if objects:
        raise ValueError(f"{path}: {', '.join(objects)} hold Python objects, which are not written")
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
