"""What a plan is made for: its recipe with the machine's numbers and the constants filled in."""

import difflib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.plan.cost import BUILT_IN as BUILT_IN_CONSTANTS
from workflow_scripts.plan.cost import Constants, Layout, Machine, Step, Workload, predicted_step
from workflow_scripts.plan.machines import BUILT_IN, DEFAULTS, USABLE
from workflow_scripts.pretrain.strategies import shard_count

Json = dict[str, Any]

_GIGA, _TERA = 1e9, 1e12
_STATE_BYTES = 12  # of a parameter in a checkpoint: float32 weight and AdamW's two moments


@dataclass(frozen=True, kw_only=True)
class Planned:
    """A training that is planned.

    Attributes:
        workload: What a step computes, holds and sends.
        machine: In SI units.
        numbers: The machine's as the configuration has them.
        constants: Of the model of costs.
        images: Of the corpus.
        epochs: Passes over them.
        batch: Samples of a device in a step.
        recompute: Activation checkpointing.
        save_every: Steps between checkpoints.
    """

    workload: Workload
    machine: Machine
    numbers: Json
    constants: Constants
    images: int
    epochs: int
    batch: int
    recompute: bool
    save_every: int
    _steps: dict[tuple[str, int], Step] = field(default_factory=dict, init=False, repr=False)

    @property
    def usable_bytes(self) -> float:
        """Of a device."""
        return USABLE * self.machine.memory_bytes

    def ranks(self, nodes: int) -> int:
        """Devices of so many nodes."""
        return nodes * self.machine.devices_per_node

    def step(self, strategy: str, nodes: int) -> Step:
        """A step as the model of costs has it."""
        key = (strategy, nodes)
        if key not in self._steps:
            layout = Layout(
                strategy=strategy, nodes=nodes, devices=self.machine.devices_per_node,
                batch=self.batch, recompute=self.recompute,
            )  # fmt: skip
            self._steps[key] = predicted_step(self.workload, layout, self.machine, self.constants)
        return self._steps[key]

    def fits(self, strategy: str, nodes: int) -> bool:
        """Whether a device has the memory."""
        return self.step(strategy, nodes).memory_bytes <= self.usable_bytes

    def save_s(self, strategy: str, nodes: int) -> float:
        """Seconds of a checkpoint: the nodes that share one copy of the model write it together."""
        shards = shard_count(strategy, self.ranks(nodes))
        writers = min(nodes, -(-shards // self.machine.devices_per_node))
        size = _STATE_BYTES * self.workload.parameters
        return size / (writers * self.numbers["storage_gb_s"] * _GIGA)

    def limit_minutes(self, nodes: int) -> int | None:
        """The time limit of a job of so many nodes; None if the machine has none.

        Raises:
            UserError: The machine allows no job of so many nodes.
        """
        limits = self.numbers["limits"]
        if not limits:
            return None
        for limit in limits:
            if nodes <= limit["nodes"]:
                return int(limit["minutes"])
        raise UserError(f"the machine's jobs have at most {limits[-1]['nodes']:,} nodes")

    def but(self, **changes: Any) -> "Planned":
        """The same with something else."""
        return replace(self, **changes)


def numbers_of(name: str, own: Mapping[str, Any] | None, precision: str = "bf16") -> Json:
    """The numbers of a machine: its own, or those that are built in under its name.

    Args:
        name: Of the machine.
        own: The configuration's; their peak is that of the plan's precision.
        precision: `bf16` or `fp32`, of which built-in machines have a peak each.

    Raises:
        UserError: There is no such machine.
    """
    if own is not None:
        return {**DEFAULTS, **own, "label": own.get("label") or name}
    if name not in BUILT_IN:
        close = difflib.get_close_matches(name, BUILT_IN, n=1, cutoff=0.4)
        nearest = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"no machine is called {name!r} ({', '.join(BUILT_IN)}){nearest}")
    numbers = {**DEFAULTS, **BUILT_IN[name]}
    single = numbers.pop("fp32_tflops")
    return numbers | ({"peak_tflops": single} if precision == "fp32" else {})


def machine_of(numbers: Mapping[str, Any]) -> Machine:
    """The machine for the model of costs, in SI units."""
    return Machine(
        devices_per_node=numbers["devices_per_node"],
        memory_bytes=numbers["memory_gb"] * _GIGA,
        peak_flops=numbers["peak_tflops"] * _TERA,
        memory_bytes_s=numbers["memory_gb_s"] * _GIGA,
        node_bytes_s=numbers["node_gb_s"] * _GIGA,
        network_bytes_s=numbers["network_gb_s"] * _GIGA,
        node_watts=numbers["node_watts"],
        idle_watts=numbers["idle_watts"],
    )


def constants_of(given: Mapping[str, float]) -> Constants:
    """The planner's constants: those built in, with what is given in their place.

    Raises:
        UserError: A name that no constant has, or a number that it cannot have.
    """
    known = vars(BUILT_IN_CONSTANTS)
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name, known, n=1, cutoff=0.4)
            nearest = f"; did you mean {close[0]!r}?" if close else ""
            raise UserError(f"the planner has no constant {name!r} ({', '.join(known)}){nearest}")
        if given[name] < 0:
            raise UserError(f"constant {name} is {given[name]}; expected 0 or more")
    return replace(BUILT_IN_CONSTANTS, **given)
