"""Minimising one regularised logistic loss: L-BFGS with a preconditioner, one evaluation a step.

A `Descent` proposes a point and is told loss and gradient there. Many of them go on side by side,
each with its own steps, and share the evaluations, which are matrix products over all samples.

L-BFGS after Nocedal and Wright, Numerical Optimization, algorithm 7.4. In place of the multiple of
the identity it starts from the inverse of s · (covariance) + λ in each class, where s is the
class's mean of p (1 - p) over the samples: the Hessian if every sample were as certain as the
average (Böhning and Lindsay's bound has the largest possible s instead). In the eigenvectors of
the covariance, which all strengths share, that is a diagonal.
"""

from dataclasses import dataclass, field

import torch
from torch import Tensor

from workflow_scripts.probe.samples import Samples, product

MEMORY = 8  # pairs of steps and changes of the gradient
MOST_VECTORS = 2048  # eigenvectors; more take longer than they save
_DECREASE = 0.9  # a step is too long where the slope at its end is this share of that at its start
_MOST_CUTS = 20  # of a step, before rounding is thought to be in the way
# Steps that may pass without the gradient becoming smaller by a tenth. It may be rounding, but in a
# weakly regularised fit of separable samples the gradient rises for long before it falls.
_PATIENCE = {torch.float32: 200, torch.float64: 400}


@dataclass(frozen=True)
class Curvature:
    """The covariance of the samples, by its leading eigenvectors.

    Attributes:
        vectors: (width, m).
        values: (m,) eigenvalues.
        rest: Taken for the eigenvalues of all other directions; None if there are none.
    """

    vectors: Tensor
    values: Tensor
    rest: float | None

    def solve(self, change: Tensor, certainty: Tensor, penalty: float) -> Tensor:
        """The preconditioner times (k, width + 1), the last column being the intercepts.

        Args:
            change: What to multiply.
            certainty: (k,) mean of p (1 - p) of each class.
            penalty: λ.
        """
        weights = change[:, :-1]
        scale = 1 / (certainty[:, None] * self.values + penalty)
        out = torch.empty_like(change)
        parts = product(weights, self.vectors.t())
        if self.rest is None:
            out[:, :-1] = product(parts * scale, self.vectors)
        else:
            outside = 1 / (certainty[:, None] * self.rest + penalty)
            out[:, :-1] = product(parts * (scale - outside), self.vectors) + weights * outside
        # Where every sample is certain that is 0 by underflow, and so is the gradient.
        out[:, -1] = change[:, -1] / certainty.clamp(min=1e-12)
        return out

    def to(self, dtype: torch.dtype) -> "Curvature":
        """In another precision."""
        return Curvature(self.vectors.to(dtype), self.values.to(dtype), self.rest)


def curvature(samples: Samples) -> Curvature:
    """Eigenvectors of the samples' covariance: all of them, or of a sample if there are too many.

    They only speed the descent up, so a sample does.
    """
    if samples.width <= MOST_VECTORS:
        gram = torch.zeros(samples.width, samples.width, dtype=torch.float64)
        for part in samples.map(lambda _, block: product(block.t(), block.t())):
            gram += part
        values, vectors = torch.linalg.eigh(gram / samples.count)
        return Curvature(vectors.float(), values.clamp(min=0).float(), None)
    some = samples.sample(MOST_VECTORS)
    values, vectors = torch.linalg.eigh(product(some, some).double() / len(some))
    kept = values > 1e-6 * values[-1]
    values, vectors = values[kept], vectors[:, kept]
    found = product(some.t(), vectors.t().float()) / (values * len(some)).sqrt().float()
    return Curvature(found.contiguous(), values.float(), float(values[0]) if len(values) else 0.0)


@dataclass
class Descent:
    """One minimisation.

    Attributes:
        point: (k, width + 1) the best so far: weights and, last, intercept of each class.
        penalty: λ.
        curvature: Of the samples, in the precision of the point.
        largest: The largest entry of the gradient at `point`, as scikit-learn has it.
        steps: Evaluations so far.
        given_up: Rounding leaves no way down in this precision.
    """

    point: Tensor
    penalty: float
    curvature: Curvature
    largest: float = float("inf")
    steps: int = 0
    given_up: bool = False
    _loss: float = float("inf")
    _gradient: Tensor = field(init=False)
    _certainty: Tensor = field(init=False)
    _direction: Tensor | None = None
    _slope: float = 0.0
    _length: float = 1.0
    _cuts: int = 0
    _pairs: list[tuple[Tensor, Tensor, float]] = field(default_factory=list)
    _least: float = float("inf")
    _since: int = 0

    def __post_init__(self) -> None:
        self.point = _apart(self.point)

    def proposal(self) -> Tensor:
        """Where to evaluate next."""
        if self.steps == 0:
            return self.point
        if self._direction is None:
            self._direction = self._descend()
            self._slope = _dot(self._gradient, self._direction)
            self._length, self._cuts = 1.0, 0
        return torch.add(self.point, self._direction, alpha=self._length)

    def learn(
        self, point: Tensor, loss: float, gradient: Tensor, certainty: Tensor, largest: float
    ) -> None:
        """Take a proposal as the new point, or shorten the step.

        Args:
            point: What `proposal` returned.
            loss: There.
            gradient: (k, width + 1) there.
            certainty: (k,) mean of p (1 - p) of each class there.
            largest: The gradient's largest entry as scikit-learn has it.
        """
        self.steps += 1
        if self._direction is not None:
            if self._too_long(loss, slope := _dot(gradient, self._direction)):
                self._shorten(slope)
                return
            self._remember(point - self.point, gradient - self._gradient)
        self.point, self._loss, self._gradient = point, loss, gradient
        self._certainty, self.largest, self._direction = certainty, largest, None
        if largest < 0.9 * self._least:
            self._least, self._since = largest, 0
        else:
            self._since += 1
            self.given_up = self._since > _PATIENCE[self.point.dtype]

    def _too_long(self, loss: float, slope: float) -> bool:
        # The loss is convex: past its minimum along the line the slope tells by how much.
        rounding = 1e-6 if self.point.dtype == torch.float32 else 1e-9
        no_lower = not loss <= self._loss + rounding * abs(self._loss)
        return no_lower or not slope <= _DECREASE * abs(self._slope)

    def _shorten(self, slope: float) -> None:
        share = self._slope / (self._slope - slope) if slope > self._slope else 0.5
        self._length *= min(max(share, 0.1), 0.6)
        self._cuts += 1
        if self._cuts > _MOST_CUTS:
            if self._pairs:  # start again from the preconditioner alone
                self._pairs, self._direction = [], None
            else:
                self.given_up = True

    def _remember(self, step: Tensor, change: Tensor) -> None:
        product_ = _dot(step, change)
        if product_ > 0:
            self._pairs = [*self._pairs[1 - MEMORY :], (step, change, 1 / product_)]

    def _solve(self, change: Tensor) -> Tensor:
        return _apart(self.curvature.solve(_apart(change), self._certainty, self.penalty))

    def _descend(self) -> Tensor:
        """Minus the gradient times the approximate inverse Hessian."""
        ahead, shares = self._gradient.clone(), []
        for step, change, inverse in reversed(self._pairs):
            shares.append(inverse * _dot(step, ahead))
            ahead.sub_(change, alpha=shares[-1])
        ahead = self._solve(ahead)
        if self._pairs:
            step, change, inverse = self._pairs[-1]
            ahead *= 1 / (inverse * _dot(change, self._solve(change)))
        for (step, change, inverse), share in zip(self._pairs, reversed(shares), strict=True):
            ahead.add_(step, alpha=share - inverse * _dot(change, ahead))
        return ahead.neg_()


def _apart(change: Tensor) -> Tensor:
    """Less what all classes have in common, which no loss depends on and the solution has not.

    The preconditioner, which takes classes one by one, would lead there and only the penalty back.
    """
    return change - change.mean(dim=0) if len(change) > 1 else change


def _dot(a: Tensor, b: Tensor) -> float:
    return float(torch.dot(a.flatten(), b.flatten()))
