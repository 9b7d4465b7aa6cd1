"""The logistic loss of many problems and its gradient, in one pass over the samples."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import softplus

from workflow_scripts.probe.samples import Samples, product

Labels = NDArray[Any]


@dataclass(frozen=True)
class Targets:
    """What is to be told apart: one choice among columns, or yes or no in each column.

    Attributes:
        values: (n,) int64 of the column, or (n, columns) bool.
        columns: Columns of scores.
        together: Whether columns exclude each other (softmax).
    """

    values: Tensor
    columns: int
    together: bool

    @property
    def problems(self) -> int:
        """Independent problems for one strength."""
        return 1 if self.together else self.columns

    @property
    def columns_each(self) -> int:
        """Columns of scores of one problem."""
        return self.columns if self.together else 1

    def residual(self, scores: Tensor, rows: slice, which: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Summed losses, residuals p - y, and sums of p (1 - p).

        Args:
            scores: (b, problems, columns of one).
            rows: The samples' places in `values`.
            which: (problems,) the column that each decides on, where they are independent.

        Returns:
            (problems,) float64, (b, problems, columns), and (problems, columns).
        """
        if self.together:
            logs = torch.log_softmax(scores, dim=2)
            place = self.values[rows, None, None].expand(-1, scores.shape[1], 1)
            loss = -logs.gather(2, place).sum((0, 2), dtype=torch.float64)
            p = logs.exp_()
            certainty = (p - p * p).sum(0)
            p.scatter_add_(2, place, p.new_full((1, 1, 1), -1).expand(place.shape))
            return loss, p, certainty
        y = self.values[rows][:, which].to(scores.dtype)[:, :, None]
        loss = (softplus(scores) - y * scores).sum((0, 2), dtype=torch.float64)
        p = torch.sigmoid(scores)
        return loss, p - y, (p - p * p).sum(0)


def targets_of(labels: Labels, columns: int) -> Targets:
    """Targets of class numbers (n,), two of which are one yes or no, or of (n, columns) bool."""
    if labels.ndim == 2:
        return Targets(torch.from_numpy(np.ascontiguousarray(labels, bool)), columns, False)
    if columns == 2:
        return Targets(torch.from_numpy(labels[:, None] == 1), 1, False)
    return Targets(torch.from_numpy(labels.astype(np.int64)), columns, True)


def evaluate(
    samples: Samples, targets: Targets, points: Tensor, which: Tensor, penalties: Tensor
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Losses and gradients at a point of each of several problems, in one pass over the samples.

    Args:
        samples: The samples.
        targets: Theirs.
        points: (problems, k, width + 1), float32 or float64, which is what products are made in.
        which: (problems,) the column that each decides on.
        penalties: (problems,) λ.

    Returns:
        Losses (problems,) in float64; gradients (problems, k, width + 1); mean p (1 - p)
        (problems, k); and the largest entry of each gradient by weights and intercepts of samples
        that are not centred (problems,).
    """
    problems, k, _ = points.shape
    weights = points[..., :-1].reshape(problems * k, -1).contiguous()
    intercepts = points[..., -1].flatten().contiguous()  # oneDNN heeds no stride of a bias

    def part(rows: slice, block: Tensor) -> tuple[Tensor, ...]:
        x = block.to(points.dtype)
        scores = product(x, weights, intercepts).view(len(x), problems, k)
        loss, residual, certainty = targets.residual(scores, rows, which)
        residual = residual.reshape(len(x), -1)
        return loss, product(residual.t(), x.t()), residual.sum(0).view(problems, k), certainty

    losses = torch.zeros(problems, dtype=torch.float64)
    slopes = torch.zeros_like(weights)
    gradients, certainties = torch.zeros_like(points), points.new_zeros(problems, k)
    for loss, slope, of_intercept, certainty in samples.map(part):
        losses += loss
        slopes += slope
        gradients[..., -1] += of_intercept
        certainties += certainty
    gradients[..., :-1] = slopes.view(problems, k, -1)
    gradients /= samples.count
    gradients[..., :-1] += penalties.to(points.dtype)[:, None, None] * points[..., :-1]
    # A change of intercept goes along with one of the weights if the mean is not taken away.
    raw = gradients[..., :-1] + gradients[..., -1:] * samples.centre.to(points.dtype)
    largest = torch.maximum(raw.abs().amax((1, 2)), gradients[..., -1].abs().amax(1))
    squares = points[..., :-1].double().square().sum((1, 2))
    losses = losses / samples.count + penalties / 2 * squares
    return losses, gradients, certainties / samples.count, largest
