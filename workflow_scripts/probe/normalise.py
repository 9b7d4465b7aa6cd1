"""Normalisations of features, as scikit-learn has them, computed by blocks of samples."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.row_blocks import read
from workflow_scripts.probe.trial import Features, Rows

STANDARDIZE, L2, NONE = "standardize", "l2", "none"
NORMALISATIONS = (STANDARDIZE, L2, NONE)
BLOCK = 1024  # samples at a time: part of the results, which are sums over blocks

Values = NDArray[np.float32]


@dataclass(frozen=True)
class Normalisation:
    """What is done to each sample: scaled to length 1 (`l2`), or (x - shift) / scale by dimension.

    Attributes:
        name: One of `NORMALISATIONS`.
        shift: (dimensions,) float32, 0 unless standardised.
        scale: (dimensions,) float32, 1 unless standardised.
        centre: (dimensions,) float32, the mean of the fitted samples once normalised. It is no part
            of the normalisation; solvers subtract it for the sake of rounding.
    """

    name: str
    shift: Values
    scale: Values
    centre: Values

    def __call__(self, block: Values) -> Values:
        """(samples, dimensions) float32, normalised in place and returned."""
        if self.name == L2:
            return unit(block)
        if self.name == STANDARDIZE:
            block -= self.shift
            block /= self.scale
        return block


def unit(block: Values) -> Values:
    """Rows scaled in place to length 1; rows of zeros stay (scikit-learn's `Normalizer`)."""
    lengths = np.sqrt(np.einsum("ij,ij->i", block, block, dtype=np.float64))
    block /= np.where(lengths == 0, 1, lengths).astype(np.float32)[:, None]
    return block


def check_normalisation(name: str) -> None:
    """Refuse what is not known.

    Raises:
        UserError: No such normalisation.
    """
    if name not in NORMALISATIONS:
        raise UserError(f"probe: normalisation is {name!r}; use one of {', '.join(NORMALISATIONS)}")


def fit_normalisation(name: str, features: Features, rows: Rows, *, what: str) -> Normalisation:
    """A normalisation learnt from some samples, in two passes of blocks, sums in float64.

    The scale is the standard deviation of the population, 1 where a dimension is constant as far
    as float64 can tell (scikit-learn's `StandardScaler`).

    Args:
        name: One of `NORMALISATIONS`.
        features: Of all samples.
        rows: (n,) the samples to learn from, one or more.
        what: The protocol, for the message that a feature is not finite.

    Raises:
        UserError: No such normalisation, or a feature that is not finite.
    """
    check_normalisation(name)
    dimensions = features.shape[1]
    total = np.zeros(dimensions)
    for start in range(0, len(rows), BLOCK):
        block = read(features, rows[start : start + BLOCK], what)
        total += (unit(block) if name == L2 else block).sum(axis=0, dtype=np.float64)
    mean = (total / len(rows)).astype(np.float32)
    zeros, ones = np.zeros(dimensions, np.float32), np.ones(dimensions, np.float32)
    if name != STANDARDIZE:
        return Normalisation(name, zeros, ones, mean)
    squares, rest = np.zeros(dimensions), np.zeros(dimensions)
    for start in range(0, len(rows), BLOCK):
        apart = read(features, rows[start : start + BLOCK], what).astype(np.float64) - mean
        squares += np.einsum("ij,ij->j", apart, apart)
        rest += apart.sum(axis=0)
    variance = squares / len(rows) - (rest / len(rows)) ** 2
    # What rounding leaves of a constant dimension's variance, after Chan, Golub and LeVeque.
    exact = total / len(rows)
    epsilon = np.finfo(np.float64).eps
    constant = variance <= len(rows) * epsilon * variance + (len(rows) * exact * epsilon) ** 2
    scale = np.where(constant, 1, np.sqrt(np.maximum(variance, 0))).astype(np.float32)
    return Normalisation(name, mean, np.where(scale == 0, ones, scale), zeros)
