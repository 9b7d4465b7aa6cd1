"""Protocol ridge: least squares on the classes with an L2 penalty, in closed form.

Targets are 1 for a sample's classes and 0 for the others, features are standardised on what is
learnt from, the intercept has no penalty. All strengths come from one decomposition of the Gram
matrix into eigenvectors (Hastie, Tibshirani and Friedman, The Elements of Statistical Learning,
section 3.4.1), of the smaller of its two sides, in float64.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from workflow_scripts.probe.choose import best, described
from workflow_scripts.probe.hold_out import parted
from workflow_scripts.probe.metrics import check_finite
from workflow_scripts.probe.row_blocks import block_rows, blocks, read
from workflow_scripts.probe.trial import Features, Labels, Outcome, Part, Rows, Trial
from workflow_scripts.threads import map_in_order, usable_cores

# What the sums of threads that work side by side may take.
SUM_BYTES = 2**29

Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class Source:
    """Standardised features of the samples that are learnt from, read by blocks.

    Attributes:
        features: Of all samples.
        rows: Of the samples.
        mean: (dimensions,) of the samples.
        scale: (dimensions,) what divides; infinite where a feature is constant, which leaves 0.
        what: The protocol and its setting, for messages.
    """

    features: Features
    rows: Rows
    mean: Matrix
    scale: Matrix
    what: str

    def take(self, block: slice) -> Matrix:
        """(rows of the block, dimensions), mean 0 and variance 1 over all samples."""
        found = read(self.features, self.rows[block], self.what).astype(np.float64)
        found -= self.mean
        found /= self.scale
        return found

    def blocks(self) -> list[slice]:
        """Blocks of all samples."""
        return blocks(len(self.rows), block_rows(len(self.mean)))


def source(features: Features, rows: Rows, what: str) -> Source:
    """Samples with their mean and scale, in two passes over them.

    Raises:
        UserError: A feature is not finite.
    """
    parts = blocks(len(rows), block_rows(features.shape[1]))

    def sums(block: slice) -> tuple[Matrix, Matrix, Matrix]:
        found = read(features, rows[block], what).astype(np.float64)
        return found.sum(axis=0), found.min(axis=0), found.max(axis=0)

    total, low, high = (np.array(each) for each in zip(*map_in_order(sums, parts), strict=True))
    mean = total.sum(axis=0) / len(rows)

    def squares(block: slice) -> Matrix:
        found = read(features, rows[block], what) - mean
        return np.einsum("nd,nd->d", found, found)

    variance = np.sum(list(map_in_order(squares, parts)), axis=0) / len(rows)
    varies = low.min(axis=0) < high.max(axis=0)
    return Source(features, rows, mean, np.where(varies, np.sqrt(variance), np.inf), what)


def targets(labels: Labels, classes: int) -> Matrix:
    """(n, classes) 1 for each class of a sample, 0 for the others."""
    return labels.astype(np.float64) if labels.ndim == 2 else np.eye(classes)[labels]


@dataclass(frozen=True)
class Fit:
    """Linear functions of raw features, one set a strength.

    Attributes:
        weight: (dimensions, strengths, classes).
        intercept: (strengths, classes).
    """

    weight: Matrix
    intercept: Matrix

    def scores(self, features: Features, rows: Rows, what: str) -> NDArray[np.float32]:
        """(strengths, len(rows), classes) by blocks."""
        dimensions, strengths, classes = self.weight.shape
        weight = self.weight.reshape(dimensions, strengths * classes)

        def scored(block: slice) -> NDArray[np.float32]:
            found = read(features, rows[block], what).astype(np.float64) @ weight
            found += self.intercept.ravel()
            return found.astype(np.float32)

        parts = map_in_order(scored, blocks(len(rows), block_rows(dimensions)))
        joined = np.concatenate(list(parts)).reshape(len(rows), strengths, classes)
        return joined.transpose(1, 0, 2)


def summed(part: Callable[[slice], Matrix], parts: list[slice], shape: tuple[int, ...]) -> Matrix:
    """The sum of `part` over all blocks in their order, few of the parts in memory at a time."""
    total = np.zeros(shape)
    workers = max(1, min(usable_cores(), SUM_BYTES // total.nbytes))
    for each in map_in_order(part, parts, workers=workers, size_of=lambda _: 1):
        total += each
    return total


def by_features(data: Source, aims: Matrix, strengths: Sequence[float]) -> Matrix:
    """Weights (dimensions, strengths, classes) from the (dimensions, dimensions) Gram matrix.

    Args:
        data: Standardised samples.
        aims: (n, classes) targets less their mean.
        strengths: Penalties.
    """
    dimensions, classes = len(data.mean), aims.shape[1]

    def products(block: slice) -> Matrix:
        found = data.take(block)
        return found.T @ np.concatenate([found, aims[block]], axis=1)

    total = summed(products, data.blocks(), (dimensions, dimensions + classes))
    values, vectors = np.linalg.eigh(total[:, :dimensions])
    turned = vectors.T @ total[:, dimensions:]
    shrunk = [turned / (values.clip(0) + strength)[:, None] for strength in strengths]
    return np.tensordot(vectors, np.stack(shrunk, axis=1), axes=1)


def by_samples(data: Source, aims: Matrix, strengths: Sequence[float]) -> Matrix:
    """The same weights from the (n, n) Gram matrix, for fewer samples than dimensions."""
    parts = data.blocks()
    gram = np.zeros((len(data.rows), len(data.rows)))
    for number, block in enumerate(parts):
        own = data.take(block)

        def product(other: slice, own: Matrix = own) -> Matrix:
            return data.take(other) @ own.T

        below = parts[number:]
        for other, each in zip(below, map_in_order(product, below), strict=True):
            gram[other, block] = each
    values, vectors = np.linalg.eigh(gram)  # reads the lower triangle alone
    turned = vectors.T @ aims
    shrunk = [turned / (values.clip(0) + strength)[:, None] for strength in strengths]
    dual = np.tensordot(vectors, np.stack(shrunk, axis=1), axes=1)

    def share(block: slice) -> Matrix:
        return np.tensordot(data.take(block).T, dual[block], axes=1)

    return summed(share, parts, (len(data.mean), len(strengths), aims.shape[1]))


def fit(
    features: Features, part: Part, classes: int, *, strengths: Sequence[float], what: str
) -> Fit:
    """Least squares for every strength.

    Minimises |targets − (Z w + b)|² + strength · |w|² over w and b, Z being the standardised
    features: what scikit-learn's `Ridge(alpha=strength)` does.

    Raises:
        UserError: A feature is not finite.
    """
    data = source(features, part.rows, what)
    aims = targets(part.labels, classes)
    middle = aims.mean(axis=0)
    few = len(part) < len(data.mean)
    weight = (by_samples if few else by_features)(data, aims - middle, strengths)
    weight /= data.scale[:, None, None]
    return Fit(weight, middle - np.tensordot(data.mean, weight, axes=1))


def candidates(
    trial: Trial, part: Part, held: Part
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Every pooling and strength, the strongest first, and its scores of the held-out samples."""
    strengths = sorted(trial.settings["strengths"], reverse=True)
    for pooling in trial.settings["poolings"]:
        what, features = described("ridge", {"pooling": pooling}), trial.features[pooling]
        found = fit(features, part, trial.classes, strengths=strengths, what=what)
        scores = found.scores(features, held.rows, what)
        for strength, of_strength in zip(strengths, scores, strict=True):
            yield {"pooling": pooling, "strength": strength}, of_strength


def judge(trial: Trial) -> Outcome:
    """Choose pooling and strength on held-out training samples; then fit all of them.

    Args:
        trial: Its settings are `strengths` (of equal ones the strongest is taken), `poolings` and
            `holdout`.

    Returns:
        Fitted targets, and the chosen `pooling` and `strength`.

    Raises:
        UserError: Nothing can be held out, or features or scores are not finite.
    """
    train = trial.train
    part, held = parted(trial)
    with threadpool_limits(limits=1):
        chosen = best(candidates(trial, part, held), held.labels, protocol="ridge")
        features, what = trial.features[chosen["pooling"]], described("ridge", chosen)
        found = fit(features, train, trial.classes, strengths=[chosen["strength"]], what=what)
        scores = found.scores(features, trial.test.rows, what)[0]
    check_finite(scores, what)
    return Outcome(scores, {**chosen, "normalisation": "standardize"})
