"""What a training takes of the machine for each strategy and number of nodes."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

from workflow_scripts.energy.climate import co2_kg, kwh
from workflow_scripts.errors import UserError
from workflow_scripts.forecast.layouts import strategies_on
from workflow_scripts.forecast.planned import Planned
from workflow_scripts.forecast.segments import Pace, segments
from workflow_scripts.plan.cost import Step

_DIGITS = 6  # that count, of what is written: sums differ in their last bits between machines


@dataclass(frozen=True, kw_only=True)
class Option:
    """A training laid over the machine in one way; None is what cannot be said.

    Attributes:
        strategy: One of `strategies.NAMES`.
        nodes: Of each job.
        ranks: Devices, one process each.
        batch: Samples of a step, over all of them.
        memory_bytes: The most that a device needs.
        fits: Whether it has that.
        step_s: Of one step.
        compute_s: Of it, while the devices compute.
        communication_s: Of it, while they only wait for each other.
        images_per_s: Of the whole job, while it trains.
        efficiency: That rate over the reference's, a node.
        epoch_s: Of one pass over the images, while it trains.
        total_s: Of all jobs, with starts and checkpoints; waiting in queues not counted.
        segments: Jobs, one after the other.
        walltime_minutes: The time limit of each.
        node_hours: Of all of them.
        kwh: Of the nodes.
        kg_co2: Of the whole centre.
        refused: Why it cannot be; None if it can.
    """

    strategy: str
    nodes: int
    ranks: int
    batch: int
    memory_bytes: float
    fits: bool
    step_s: float
    compute_s: float
    communication_s: float
    images_per_s: float
    efficiency: float | None
    epoch_s: float | None
    total_s: float | None
    segments: int | None
    walltime_minutes: int | None
    node_hours: float | None
    kwh: float | None
    kg_co2: float | None
    refused: str | None

    def plain(self) -> dict[str, Any]:
        """As plain values, numbers with as many digits as mean anything."""
        return {key: _rounded(value) for key, value in asdict(self).items()}


def _rounded(value: Any) -> Any:
    if not isinstance(value, float) or value == 0:
        return value
    return float(f"{value:.{_DIGITS}g}")


@dataclass(frozen=True, kw_only=True)
class Reference:
    """The rate of a node to which others are compared.

    Attributes:
        strategy: The fastest that fits, of the fewest nodes on which any does.
        nodes: These; 1 if the model fits one node.
        images_per_s: Of each of these nodes.
    """

    strategy: str
    nodes: int
    images_per_s: float


def reference(planned: Planned, nodes: Sequence[int], asked: Sequence[str]) -> Reference | None:
    """The best rate of a node, on one node or on the fewest on which something fits."""
    for count in sorted({1, *nodes}):
        rates = {
            name: planned.step(name, count).images_per_s
            for name in _strategies(planned, count, asked)
            if planned.fits(name, count)
        }
        if rates:
            best = max(rates, key=rates.__getitem__)
            return Reference(strategy=best, nodes=count, images_per_s=rates[best] / count)
    return None


def options(
    planned: Planned, *, nodes: Sequence[int], strategies: Sequence[str], energy: Mapping[str, Any]
) -> list[Option]:
    """Each strategy on each number of nodes that can have it, small jobs first.

    Args:
        planned: What is trained, on what machine.
        nodes: Numbers of nodes.
        strategies: To compare; empty: the usual ones.
        energy: Factors of the grid and the centre.

    Raises:
        UserError: None of the strategies can be had on any of these nodes.
    """
    best = reference(planned, nodes, strategies)
    found = [
        _option(planned, name, count, best, energy)
        for count in sorted(nodes)
        for name in _strategies(planned, count, strategies)
    ]
    if not found:
        ranks = ", ".join(str(planned.ranks(count)) for count in sorted(nodes))
        raise UserError(
            f"strategies {', '.join(strategies)}: none can be had on {ranks} devices; k of "
            "hybrid_shard_<k> has to divide their number"
        )
    return found


def _strategies(planned: Planned, nodes: int, asked: Sequence[str]) -> list[str]:
    return strategies_on(asked, planned.ranks(nodes), planned.machine.devices_per_node)


def _option(
    planned: Planned, strategy: str, nodes: int, best: Reference | None, energy: Mapping[str, Any]
) -> Option:
    step = planned.step(strategy, nodes)
    ranks = planned.ranks(nodes)
    batch = ranks * planned.batch
    fits = step.memory_bytes <= planned.usable_bytes
    an_epoch = planned.images // batch  # whole batches, as the trainer takes them
    jobs, refused = None, None
    try:
        limit = planned.limit_minutes(nodes)
    except UserError as error:
        refused = str(error)
    else:
        pace = Pace(
            step_s=step.total_s, save_s=planned.save_s(strategy, nodes),
            save_every=planned.save_every, start_s=60 * planned.numbers["start_minutes"],
        )  # fmt: skip
        if an_epoch:
            jobs = segments(planned.epochs * an_epoch, pace, limit)
            if jobs is None:
                refused = f"a job of {limit} minutes ends before its first step does"
        else:
            refused = f"one step takes {batch:,} images, and there are {planned.images:,}"
    if not fits:
        need, room = step.memory_bytes / 1e9, planned.usable_bytes / 1e9
        refused = f"a device needs {need:,.1f} GB and has {room:,.1f} GB"
    used = None
    if jobs:
        steps = planned.epochs * an_epoch
        used = joules(planned, step, nodes=nodes, steps=steps, seconds=jobs.seconds)
    rate = step.images_per_s
    return Option(
        strategy=strategy, nodes=nodes, ranks=ranks, batch=batch,
        memory_bytes=float(math.ceil(step.memory_bytes)), fits=fits,
        step_s=step.total_s, compute_s=step.compute_s, communication_s=step.communication_s,
        images_per_s=rate,
        efficiency=rate / nodes / best.images_per_s if best else None,
        epoch_s=an_epoch * step.total_s if an_epoch else None,
        total_s=jobs.seconds if jobs else None,
        segments=jobs.count if jobs else None,
        walltime_minutes=jobs.minutes if jobs else None,
        node_hours=nodes * jobs.seconds / 3600 if jobs else None,
        kwh=None if used is None else kwh(used),
        kg_co2=None if used is None else co2_kg(used, energy),
        refused=refused,
    )  # fmt: skip


def joules(planned: Planned, step: Step, *, nodes: int, steps: int, seconds: float) -> float | None:
    """What the nodes use; None if the machine's power is not known.

    A node takes its full power while it computes, and what it takes idle while it waits: for
    others in a step, for its start, for a checkpoint. Without a number for idle nodes, full power
    is counted throughout, which is too much.

    Args:
        planned: Names the machine's power.
        step: One of them.
        nodes: Of each job.
        steps: Of the whole training.
        seconds: Of all jobs.
    """
    full, idle = planned.machine.node_watts, planned.machine.idle_watts
    if full is None:
        return None
    busy = steps * (step.total_s - step.communication_s)
    return nodes * (busy * full + (seconds - busy) * (full if idle is None else idle))


def possible(found: Sequence[Option]) -> Iterator[Option]:
    """Those that can be."""
    return (option for option in found if option.refused is None)
