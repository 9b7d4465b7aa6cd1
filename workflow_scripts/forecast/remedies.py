"""What would make a training fit that fits nowhere: one change if one does, else several.

As `plan.predict.remedy` does it for a run: what costs least time comes first. Activation
checkpointing costs a third more time, smaller batches keep devices less busy, more nodes cost more
node-hours and take more images in a step.
"""

from bisect import bisect_left
from collections.abc import Sequence

from workflow_scripts.forecast.layouts import strategies_on
from workflow_scripts.forecast.planned import Planned

_MOST_NODES = 1024  # tried where the machine says nothing of its size


def remedies(planned: Planned, *, nodes: Sequence[int], strategies: Sequence[str]) -> list[str]:
    """Changes that make something fit, in words; each does alone. Empty: nothing tried does.

    Args:
        planned: What fits nowhere.
        nodes: Numbers of nodes that were tried.
        strategies: That were compared; empty: the usual ones.
    """
    counts = sorted(nodes)
    single = [
        _recomputing(planned, counts, strategies),
        _smaller(planned, counts, strategies),
        _more_nodes(planned, counts),
    ]
    if not planned.recompute and not any(single):
        again = planned.but(recompute=True)
        both = [_smaller(again, counts, strategies), _more_nodes(again, counts)]
        single = [f"activation checkpointing with {one}" for one in both if one]
    if not any(single):
        last = planned.but(recompute=True, batch=1)
        wide = _more_nodes(last, counts)
        single = [f"activation checkpointing, 1 sample a device and {wide}"] if wide else []
    return [one for one in single if one]


def _recomputing(planned: Planned, nodes: Sequence[int], strategies: Sequence[str]) -> str | None:
    if planned.recompute:
        return None
    found = _fitting(planned.but(recompute=True), nodes, strategies)
    return f"activation checkpointing ({found})" if found else None


def _smaller(planned: Planned, nodes: Sequence[int], strategies: Sequence[str]) -> str | None:
    def fails(batch: int) -> bool:
        return _fitting(planned.but(batch=batch), nodes, strategies) is None

    # What fits with some samples fits with fewer; each try traces the model anew.
    batches = _halves(planned.batch)
    fitting = bisect_left(batches, True, key=fails)
    if not fitting:
        return None
    batch = batches[fitting - 1]
    samples = "1 sample" if batch == 1 else f"{batch} samples"
    return f"{samples} a device ({_fitting(planned.but(batch=batch), nodes, strategies)})"


def _halves(batch: int) -> list[int]:
    """Half of a batch, a quarter, and so on to one, the least first."""
    found = []
    while batch > 1:
        batch //= 2
        found.append(batch)
    return found[::-1]


def _more_nodes(planned: Planned, nodes: Sequence[int]) -> str | None:
    """The model cut over more nodes than were tried."""
    limits = planned.numbers["limits"]
    most = limits[-1]["nodes"] if limits else _MOST_NODES
    count = 2 * max(nodes)
    while count <= most:
        if planned.fits("full_shard", count):
            return f"full_shard on {count} nodes"
        count *= 2
    return None


def _fitting(planned: Planned, nodes: Sequence[int], strategies: Sequence[str]) -> str | None:
    """The first layout that fits: few nodes before many, then what sends least first."""
    for count in nodes:
        ranks = planned.ranks(count)
        for name in strategies_on(strategies, ranks, planned.machine.devices_per_node):
            if planned.fits(name, count):
                return f"{name} on {count} node{'s' if count > 1 else ''}"
    return None
