"""The planner's model of a training step, from first principles and a few fitted constants.

A step computes, communicates and updates. Computing is the operations at the share of the peak that
matrix products reach, and all the rest of the blocks at the speed of memory. Communicating is the
collectives of each block, hidden behind computing as far as it goes. `docs/planner-model.md` has
the constants, how they were fitted, and how far they are to be trusted.
"""

import math
from collections import Counter
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Literal

import yaml

from workflow_scripts.plan.collectives import Group, Links, all_reduce_s, gathering_s
from workflow_scripts.plan.peak import peak_bytes
from workflow_scripts.plan.workload import Workload
from workflow_scripts.pretrain.strategies import shard_count, stays_whole

_GRADIENT = 4  # bytes of a number of a gradient that is summed over ranks
_COPY = {"bf16": 2, "fp32": 4}  # of a gathered parameter
_BUCKET = 25 * 2**20  # bytes of DDP's buckets
_FORWARD_SHARE = 1 / 3  # of a step's operations; computed again where activations are not kept

Prefetch = Literal["none", "post", "pre"]


@dataclass(frozen=True, kw_only=True)
class Machine:
    """A machine as a few numbers, in SI units.

    Args:
        devices_per_node: GPUs, GCDs or CPU ranks of a node.
        memory_bytes: Of a device.
        peak_flops: Of a device, dense, at the workload's precision, 1/s.
        memory_bytes_s: Bandwidth of a device's own memory.
        node_bytes_s: Between a device and the others of its node, each way.
        network_bytes_s: Between a node and the others, each way, all adapters.
        node_watts: Of a node that trains; None: not known.
        idle_watts: Of a node that waits; None: not known.
        gpu: Whether its devices are GPUs; a CPU's autocast keeps other things in memory.
    """

    devices_per_node: int
    memory_bytes: float
    peak_flops: float
    memory_bytes_s: float
    node_bytes_s: float
    network_bytes_s: float
    node_watts: float | None = None
    idle_watts: float | None = None
    gpu: bool = True


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a run is laid over a machine.

    Args:
        strategy: One of `strategies.NAMES`.
        nodes: How many.
        devices: Of each node, in use.
        batch: Images of a device in a step.
        recompute: Activation checkpointing of every block.
        prefetch: When blocks are gathered in the backward pass: before the block before them is
            computed (`pre`, as `fully_shard` does), after it, or when they are needed.
    """

    strategy: str
    nodes: int
    devices: int
    batch: int
    recompute: bool = False
    prefetch: Prefetch = "pre"

    @property
    def ranks(self) -> int:
        """Devices of the job."""
        return self.nodes * self.devices


@dataclass(frozen=True, kw_only=True)
class Constants:
    """What is fitted.

    Args:
        matrix_share: Share of the peak that matrix products reach.
        traffic_bytes: Bytes to and from a device's memory for each of `Workload.moved_per_image`,
            in all kernels of both passes.
        block_s: Seconds that a block costs in a step however small it is: launches, hooks.
        update_bytes: Bytes that the optimizer moves for each number that a device keeps.
        link_share: Share of the links' bandwidths that collectives reach.
        hop_s: Seconds that a message between nodes takes however small it is.
        node_hop_s: The same between devices of a node.
        overlap: Share of the shorter of computing and communicating that hides behind the longer.
        runtime_bytes: Bytes of a device that libraries hold beside the tensors of the step.
    """

    matrix_share: float
    traffic_bytes: float
    block_s: float
    update_bytes: float
    link_share: float
    hop_s: float
    node_hop_s: float
    overlap: float
    runtime_bytes: float


@dataclass(frozen=True, kw_only=True)
class Step:
    """What a step is predicted to take.

    Attributes:
        compute_s: Computing and the optimizer, s.
        communication_s: What communicating adds to it, s.
        total_s: Their sum.
        images_per_s: Of the whole job.
        memory_bytes: Of the device that needs most.
    """

    compute_s: float
    communication_s: float
    total_s: float
    images_per_s: float
    memory_bytes: float


FILE = Path(__file__).parent / "constants.yaml"
BUILT_IN = Constants(
    **{
        name: float(value)
        for name, value in yaml.safe_load(FILE.read_text(encoding="utf-8"))["constants"].items()
    }
)


def predicted_step(
    workload: Workload, layout: Layout, machine: Machine, constants: Constants
) -> Step:
    """What a step takes.

    Raises:
        UserError: A strategy that the ranks cannot have.
    """
    seconds = timed_step(workload, layout, machine, constants)
    memory = constants.runtime_bytes + peak_bytes(
        workload, strategy=layout.strategy, ranks=layout.ranks, batch=layout.batch,
        recompute=layout.recompute, gpu=machine.gpu,
    )  # fmt: skip
    return Step(
        compute_s=seconds.compute_s,
        communication_s=seconds.exposed_s,
        total_s=seconds.total_s,
        images_per_s=layout.ranks * layout.batch / seconds.total_s,
        memory_bytes=memory,
    )


@dataclass(frozen=True, kw_only=True)
class Seconds:
    """Parts of a step, s."""

    compute_s: float
    exposed_s: float

    @property
    def total_s(self) -> float:
        """All of it."""
        return self.compute_s + self.exposed_s


def timed_step(
    workload: Workload, layout: Layout, machine: Machine, constants: Constants
) -> Seconds:
    """The seconds of a step, without its memory.

    Raises:
        UserError: A strategy that the ranks cannot have.
    """
    passes = passes_s(workload, layout, machine, constants)
    sent = messages(workload, layout, machine, constants)
    # With an overlap of 1 the longer hides the shorter; with 0 they follow each other.
    both = max(passes, sent.hidden_s) + (1 - constants.overlap) * min(passes, sent.hidden_s)
    update = update_s(workload, layout, machine, constants)
    return Seconds(compute_s=passes + update, exposed_s=both - passes + sent.waited_s)


def passes_s(workload: Workload, layout: Layout, machine: Machine, constants: Constants) -> float:
    """Seconds of the forward and the backward pass of a device, alone."""
    again = 1 + _FORWARD_SHARE if layout.recompute else 1.0
    products = again * workload.flops_per_image / (machine.peak_flops * constants.matrix_share)
    moved = workload.moved_per_image * constants.traffic_bytes / machine.memory_bytes_s
    return layout.batch * (products + moved) + len(workload.blocks) * constants.block_s


def update_s(workload: Workload, layout: Layout, machine: Machine, constants: Constants) -> float:
    """Seconds of the optimizer's step on what a device keeps."""
    kept = workload.parameters / shard_count(layout.strategy, layout.ranks)
    return kept * constants.update_bytes / machine.memory_bytes_s


@dataclass(frozen=True, kw_only=True)
class Messages:
    """Seconds of a step's collectives.

    Attributes:
        hidden_s: Of those that may run beside the passes.
        waited_s: Of those that the passes wait for.
    """

    hidden_s: float
    waited_s: float


def messages(
    workload: Workload, layout: Layout, machine: Machine, constants: Constants
) -> Messages:
    """Collectives of a step: gathered parameters, and gradients summed and cut.

    Raises:
        UserError: A strategy that the ranks cannot have.
    """
    links = Links(
        node_bytes_s=machine.node_bytes_s * constants.link_share,
        network_bytes_s=machine.network_bytes_s * constants.link_share,
        node_hop_s=constants.node_hop_s,
        hop_s=constants.hop_s,
    )
    shards, copies = groups(layout)
    if layout.strategy == "ddp":
        return Messages(hidden_s=_buckets_s(workload, copies, links), waited_s=0.0)
    width = _COPY[workload.precision]
    again = not stays_whole(layout.strategy, layout.ranks)
    hidden, waited = 0.0, 0.0
    units = [(numbers, count, again) for numbers, count in Counter(workload.blocks).items()]
    for numbers, count, reshards in [*units, (workload.root, 1, False)]:  # the root stays whole
        reducing = gathering_s(_GRADIENT * numbers, shards, links)
        summing = all_reduce_s(_GRADIENT * numbers / shards.members, copies, links)
        gathering = gathering_s(width * numbers, shards, links)
        hidden += count * (gathering + reducing + summing)
        if reshards:
            late = _waited(layout.prefetch, gathering, gathering_s(0, shards, links))
            hidden += count * (gathering - late)
            waited += count * late
    return Messages(hidden_s=hidden, waited_s=waited)


def _waited(prefetch: Prefetch, whole: float, latency: float) -> float:
    """The part of a gathering in the backward pass for which it waits."""
    return {"pre": 0.0, "post": latency, "none": whole}[prefetch]


def _buckets_s(workload: Workload, group: Group, links: Links) -> float:
    size = _GRADIENT * workload.parameters
    buckets = max(1, math.ceil(size / _BUCKET))
    return buckets * all_reduce_s(size / buckets, group, links)


def groups(layout: Layout) -> tuple[Group, Group]:
    """Who shares one copy of the model, and who has the same part of it in other copies.

    Shards are ranks in a row; copies of a part lie as far apart as a model has shards.

    Raises:
        UserError: A strategy that the ranks cannot have.
    """
    count = shard_count(layout.strategy, layout.ranks)
    copies = layout.ranks // count
    shards = Group(members=count, nodes=_nodes(count, layout), beside=1)
    here = max(1, layout.devices // count)  # copies that a node has whole
    beside = max(1, layout.devices // here)
    same = Group(members=copies, nodes=min(layout.nodes, math.ceil(copies / here)), beside=beside)
    return shards, same


def _nodes(members: int, layout: Layout) -> int:
    """Nodes that so many ranks in a row lie on, at most."""
    return min(layout.nodes, math.ceil(members / layout.devices))


def names() -> tuple[str, ...]:
    """Of the constants."""
    return tuple(field.name for field in fields(Constants))
