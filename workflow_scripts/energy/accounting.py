"""Energy as Slurm's accounting counted it, for a run on nodes whose counters a user may not read.

Slurm's daemon reads them as root (`AcctGatherEnergyType`). It counts whole nodes for the time of a
step, so only a step that was this run's alone is asked for, and at the export, when steps are over.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from workflow_scripts import slurm

NAME = "nodes (Slurm's accounting)"


def counted_joules(attempts: Sequence[Mapping[str, Any]]) -> float | None:
    """Joules of all attempts of a run, those that died included; None unless each was counted.

    Args:
        attempts: As `attempts.read` gives them.
    """
    steps = [f"{one['job']}.{one['step']}" for one in attempts if one.get("step") is not None]
    # A requeued job numbers its steps again, and the accounting tells the last ones.
    if not steps or len(set(steps)) < len(attempts):
        return None
    found = slurm.consumed_joules(steps)
    return sum(found.values()) if len(found) == len(steps) else None
