"""The constants of the planner's model that suit what was measured.

Least squares on logarithms of predicted over measured, so that a point of a small model counts as
much as one of a large model, by scipy. What is measured never tells all the constants: each one is
held at what is known of it beforehand, as strongly as `constants.yaml` says, and a few points move
only those that they tell.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np
import yaml
from numpy.typing import NDArray
from scipy.optimize import least_squares

from workflow_scripts.errors import UserError
from workflow_scripts.plan.cost import (
    BUILT_IN,
    FILE,
    Constants,
    Layout,
    Machine,
    names,
    timed_step,
)
from workflow_scripts.plan.peak import peak_bytes
from workflow_scripts.plan.workload import Workload

Values = NDArray[np.float64]

_SCATTER = 0.1  # of ln(measured), that the model does not explain
_NEAR = 0.01  # of a limit: as far as the fit moves towards it


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A point that was measured.

    Args:
        workload: What was trained.
        layout: Over what.
        machine: On what.
        images_per_s: Of the whole job; None if only the memory was measured.
        memory_bytes: Peak of a device; None if not measured.
    """

    workload: Workload
    layout: Layout
    machine: Machine
    images_per_s: float | None = None
    memory_bytes: float | None = None


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a constant before anything is measured.

    Args:
        value: Most likely.
        spread: Standard deviation of its natural logarithm, for Frontier.
        elsewhere: The same from the built-in value to that of another machine.
        least: It cannot be less.
        most: It cannot be more.
    """

    value: float
    spread: float
    elsewhere: float
    least: float
    most: float


def known() -> dict[str, Known]:
    """What is known of every constant: `constants.yaml`."""
    table = yaml.safe_load(FILE.read_text(encoding="utf-8"))["known"]
    return {name: Known(**{k: float(table[name][k]) for k in _KEYS}) for name in names()}


_KEYS = ("value", "spread", "elsewhere", "least", "most")


def fit(
    observations: Sequence[Observation], *, start: Literal["built in", "known"] = "built in"
) -> Constants:
    """The constants that suit the observations best.

    Args:
        observations: Measured points; both speeds and memory are used.
        start: What the constants are held at: the built-in ones, for a study of one's own, or what
            is known beforehand, as the built-in ones were made.

    Raises:
        UserError: Nothing measured, or a measured figure that is not above zero.
    """
    speeds = [(one, one.images_per_s) for one in observations if one.images_per_s is not None]
    peaks = [(_peak(one), one.memory_bytes) for one in observations if one.memory_bytes is not None]
    _check(observations)
    before = known()
    held = {name: one.value for name, one in before.items()}
    spreads = {name: one.spread for name, one in before.items()}
    if start == "built in":
        held = asdict(BUILT_IN)
        spreads = {name: one.elsewhere for name, one in before.items()}
    middle = np.log([held[name] for name in names()])
    spread = np.array([spreads[name] for name in names()])
    bounds = tuple(
        np.log([getattr(before[name], side) for name in names()]) for side in ("least", "most")
    )

    def distances(at: Values) -> Values:
        constants = _constants(at)
        off = [np.log(_speed(one, constants) / seen) for one, seen in speeds]
        off += [np.log((peak + constants.runtime_bytes) / seen) for peak, seen in peaks]
        return np.concatenate([np.array(off) / _SCATTER, (at - middle) / spread])

    first = np.clip(middle, bounds[0] + 1e-9, bounds[1] - 1e-9)
    # soft_l1: a few points that are off, such as collapses, do not bend all the others.
    found: Any = least_squares(distances, first, bounds=bounds, loss="soft_l1", x_scale=spread)
    return _constants(found.x)


def at_limits(constants: Constants) -> dict[str, float]:
    """Constants that ended at the least or the most that they can be, and that limit.

    Where one did, a number of the machine that it multiplies is probably wrong.
    """
    ends = [(name, end) for name, one in known().items() for end in (one.least, one.most)]
    return {n: end for n, end in ends if abs(getattr(constants, n) / end - 1) < _NEAR}


def _constants(at: Values) -> Constants:
    return Constants(**dict(zip(names(), np.exp(at).tolist(), strict=True)))


def _speed(one: Observation, constants: Constants) -> float:
    seconds = timed_step(one.workload, one.layout, one.machine, constants).total_s
    return one.layout.ranks * one.layout.batch / seconds


def _peak(one: Observation) -> int:
    layout = one.layout
    return peak_bytes(
        one.workload, strategy=layout.strategy, ranks=layout.ranks, batch=layout.batch,
        recompute=layout.recompute, gpu=one.machine.gpu,
    )  # fmt: skip


def _check(observations: Sequence[Observation]) -> None:
    figures = [f for one in observations for f in (one.images_per_s, one.memory_bytes)]
    seen = [figure for figure in figures if figure is not None]
    if not seen:
        raise UserError("nothing to fit to: no point of the study was measured")
    if not all(np.isfinite(figure) and figure > 0 for figure in seen):
        raise UserError(f"a measured figure is {min(seen)}; expected numbers above zero")
