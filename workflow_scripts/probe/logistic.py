"""Logistic regression for many strengths of regularisation at once, as scikit-learn defines it.

For each strength C the mean over the samples of the logistic loss plus |weights|² / (2 C samples)
is minimised, which is what `LogisticRegression(C=C, solver="lbfgs")` does; intercepts are not
penalised. A fit has converged where no entry of the gradient of that is above the tolerance, which
is scikit-learn's criterion too, here with the gradient summed in float64.

All strengths share every pass over the samples. A coarse choice of them comes first; those between
start from a cubic through their neighbours' solutions, over the logarithm of C. Steps are made in
float32 as far as those go and in float64 from there on.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from workflow_scripts.logs import log
from workflow_scripts.probe.descent import Curvature, Descent, curvature
from workflow_scripts.probe.logistic_loss import Targets, evaluate
from workflow_scripts.probe.samples import Samples, in_threads

TOLERANCE = 1e-7
MOST_STEPS = 2000
_AT_ONCE = 256 * 2**20  # bytes of the solver's own vectors, for all that goes on side by side
_COARSE = 4  # strengths that are fitted first, about


@dataclass(frozen=True)
class Fitted:
    """Solutions, one a strength.

    Attributes:
        points: (strengths, columns, width + 1) float64: weights, and last the intercepts for
            normalised samples less `centre`.
        centre: (width,) float64.
        largest: (strengths,) the largest entry of the gradient.
        steps: (strengths,) evaluations of loss and gradient, the most of any column.
    """

    points: Tensor
    centre: Tensor
    largest: list[float]
    steps: list[int]

    @property
    def weights(self) -> Tensor:
        """(strengths, columns, width), scikit-learn's `coef_`."""
        return self.points[..., :-1]

    @property
    def intercepts(self) -> Tensor:
        """(strengths, columns) for samples that are not centred, scikit-learn's `intercept_`."""
        return self.points[..., -1] - self.weights @ self.centre


def descend(
    samples: Samples, targets: Targets, descents: list[Descent], which: list[int], tolerance: float
) -> None:
    """Let several descents of one precision go on until each has converged or given up."""
    going = list(range(len(descents)))
    while going:
        some = [descents[at] for at in going]
        points = torch.stack(in_threads(Descent.proposal, some))
        found = evaluate(
            samples, targets, points, torch.tensor([which[at] for at in going]),
            torch.tensor([one.penalty for one in some], dtype=torch.float64),
        )  # fmt: skip
        for at, one in enumerate(some):
            losses, gradients, certainties, largest = (values[at] for values in found)
            one.learn(points[at], float(losses), gradients, certainties, float(largest))
        going = [
            at
            for at in going
            if not (
                descents[at].largest <= tolerance
                or descents[at].given_up
                or descents[at].steps >= MOST_STEPS
            )
        ]


def solve(
    samples: Samples,
    targets: Targets,
    strengths: Sequence[float],
    starts: Tensor,
    *,
    shape: Curvature,
    tolerance: float,
) -> list[Descent]:
    """Minimise from given points: in float32, then on from there in float64, which also judges.

    Args:
        samples: The samples.
        targets: Theirs.
        strengths: C.
        starts: (strengths, columns, width + 1) float64.
        shape: The samples' covariance.
        tolerance: Of the largest entry of the gradient.

    Returns:
        One for each problem of each strength, strengths first.
    """
    each, k = targets.problems, targets.columns_each
    points = starts.view(len(strengths) * each, k, -1)
    penalties = [1 / (strength * samples.count) for strength in strengths for _ in range(each)]
    which = [column for _ in strengths for column in range(each)]
    steps = [0] * len(points)
    room = max(1, _AT_ONCE // (20 * 8 * points[0].numel()))
    ended: list[Descent] = []
    for first in range(0, len(points), room):
        part = slice(first, first + room)
        for dtype in (torch.float32, torch.float64):
            of_samples = shape.to(dtype)
            descents = [
                Descent(point.to(dtype), penalty, of_samples)
                for point, penalty in zip(points[part], penalties[part], strict=True)
            ]
            descend(samples, targets, descents, which[part], tolerance)
            points = points.clone()
            points[part] = torch.stack([one.point.double() for one in descents])
            for at, one in enumerate(descents):
                steps[first + at] += one.steps
                one.steps = steps[first + at]
        ended += descents
    return ended


def levels(count: int) -> list[list[int]]:
    """Places 0 … count - 1 in the order of fitting: a few far apart, then those halfway, ….

    The last place is always among the first, so that all others lie between two known ones.
    """
    stride = 1
    while (count - 1) / stride > _COARSE:
        stride *= 2
    found = [sorted({*range(0, count, stride), count - 1})]
    while stride > 1:
        stride //= 2
        known = {place for level in found for place in level}
        found.append([place for place in range(0, count, stride) if place not in known])
    return [level for level in found if level]


def between(at: float, known: Sequence[float], points: Sequence[Tensor]) -> Tensor:
    """The polynomial through the (up to four) nearest known points, at a place between them."""
    nearest = sorted(range(len(known)), key=lambda one: abs(known[one] - at))[:4]
    total = torch.zeros_like(points[0])
    for one in nearest:
        others = [other for other in nearest if other != one]
        share = math.prod((at - known[other]) / (known[one] - known[other]) for other in others)
        total += share * points[one]
    return total


def fit(
    samples: Samples,
    targets: Targets,
    strengths: Sequence[float],
    *,
    tolerance: float = TOLERANCE,
    what: str = "logistic regression",
) -> Fitted:
    """Fit every strength.

    Args:
        samples: The training samples.
        targets: Theirs; each column (of those that exclude each other) with both yes and no.
        strengths: Each C once, in any order.
        tolerance: Of the largest entry of the gradient of the mean loss.
        what: Names the fit in a warning.
    """
    shape = curvature(samples)
    order = sorted(range(len(strengths)), key=lambda at: strengths[at])
    places = [math.log(strengths[at]) for at in order]
    solved: dict[int, Tensor] = {}
    ends: dict[int, list[Descent]] = {}
    each, size = targets.problems, (targets.columns, samples.width + 1)
    for level in levels(len(order)):
        known = sorted(solved)
        starts = torch.stack([
            between(places[at], [places[one] for one in known], [solved[one] for one in known])
            if known
            else torch.zeros(size, dtype=torch.float64)
            for at in level
        ])  # fmt: skip
        some = [strengths[order[at]] for at in level]
        descents = solve(samples, targets, some, starts, shape=shape, tolerance=tolerance)
        for number, at in enumerate(level):
            ends[at] = descents[number * each : (number + 1) * each]
            solved[at] = torch.cat([one.point for one in ends[at]])
    for at, some_ends in ends.items():
        worst = max(one.largest for one in some_ends)
        if not worst <= tolerance:
            log.warning(
                "%s, strength %g: not converged in %d steps (gradient %.1e, tolerance %.1e)",
                what, strengths[order[at]], max(one.steps for one in some_ends), worst, tolerance,
            )  # fmt: skip
    found = [at for at, _ in sorted(enumerate(order), key=lambda pair: pair[1])]
    points = torch.stack([solved[at] for at in found])
    if targets.together:  # a common part of all classes' intercepts changes nothing
        points[..., -1] -= points[..., -1].mean(dim=1, keepdim=True)
    return Fitted(
        points,
        samples.centre,
        [max(one.largest for one in ends[at]) for at in found],
        [max(one.steps for one in ends[at]) for at in found],
    )
