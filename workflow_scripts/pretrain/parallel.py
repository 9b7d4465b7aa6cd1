"""How a run is laid over ranks: the only home of torch.distributed.fsdp.

A strategy is applied to an objective from outside, in the order: meta construction → shard each
block → shard the root → memory → weights. `ddp` replicates; the others are one call,
`fully_shard` (PyTorch's second FSDP), on different meshes:

    strategy                      mesh (replicas, shards)   parameters freed after forward
    no_shard = hybrid_shard_1     (W, 1)                    no
    hybrid_shard_k                (W/k, k)                  yes
    shard_grad_op                 (W,)                      no
    full_shard                    (W,)                      yes

One rank needs none of it and runs the plain module, without a process group.
"""

import datetime
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.device_mesh import init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from workflow_scripts.models.initialise import initialise
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.strategies import shard_count


def join(ranks: Ranks, *, timeout_s: float) -> torch.device:
    """Join the process group (if there are several ranks) and return this rank's device."""
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", ranks.local_rank % torch.cuda.device_count())
        torch.cuda.set_device(device)
    if ranks.world > 1:
        dist.init_process_group(
            "nccl" if device.type == "cuda" else "gloo",
            init_method=ranks.rendezvous,
            rank=ranks.rank,
            world_size=ranks.world,
            timeout=datetime.timedelta(seconds=timeout_s),
        )
    return device


def wait_for_others(seconds: float) -> None:
    """Have no exchange give up earlier, in any group made so far.

    Groups of a mesh begin with torch's own limits (10 minutes with NCCL), whatever `join` said.
    """
    groups = dist.distributed_c10d._world.pg_map if dist.is_initialized() else ()
    for group in groups:
        dist.distributed_c10d._set_pg_timeout(datetime.timedelta(seconds=seconds), group)


def leave() -> None:
    """Leave the process group, if one was joined."""
    if dist.is_initialized():
        dist.destroy_process_group()


def _set(parameter: nn.Parameter, value: Tensor) -> None:
    """Copy a full value into a parameter, or this rank's part of it into a sharded one."""
    if isinstance(parameter, DTensor):
        # Every rank drew the same value: cut it here, with no message.
        part = distribute_tensor(
            value.to(parameter.device), parameter.device_mesh, parameter.placements,
            src_data_rank=None,
        )  # fmt: skip
        parameter.copy_(part)
    else:
        parameter.copy_(value)


def laid_out(
    objective: Objective, strategy: str, *, ranks: Ranks, device: torch.device, precision: str,
    seed: int,
) -> nn.Module:  # fmt: skip
    """Lay an objective over the ranks and fill it: the same weights under every strategy.

    Args:
        objective: Built on the meta device or the CPU; its values are not used.
        strategy: One of `strategies.NAMES`.
        ranks: This process's place.
        device: This rank's device.
        precision: `bf16` gathers and computes in bfloat16 and reduces in float32; `fp32`.
        seed: The run's seed.

    Returns:
        The module to call: the objective itself, or DDP around it.

    Raises:
        UserError: A strategy that these ranks cannot have.
    """
    shards = shard_count(strategy, ranks.world)
    if ranks.world > 1 and strategy != "ddp":
        _shard(objective, strategy, shards=shards, world=ranks.world, device=device,
               precision=precision)  # fmt: skip
    objective.to_empty(device=device)
    initialise(objective, seed, place=_set)
    if ranks.world > 1 and strategy == "ddp":
        return DistributedDataParallel(
            objective,
            device_ids=[device.index] if device.type == "cuda" else None,
        )
    return objective


def _shard(
    objective: Objective, strategy: str, *, shards: int, world: int, device: torch.device,
    precision: str,
) -> None:  # fmt: skip
    if shards == world and strategy in ("shard_grad_op", "full_shard"):
        mesh = init_device_mesh(device.type, (world,), mesh_dim_names=("shard",))
    else:
        mesh = init_device_mesh(
            device.type, (world // shards, shards), mesh_dim_names=("replicate", "shard")
        )
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else None,
        reduce_dtype=torch.float32,
        # Noise and targets must stay float32; autocast casts what a layer multiplies.
        cast_forward_inputs=False,
    )
    options: dict[str, Any] = {
        "mesh": mesh,
        "reshard_after_forward": shards > 1 and strategy != "shard_grad_op",
        "mp_policy": policy,
    }
    for block in objective.wrap_blocks():
        fully_shard(block, **options)
    fully_shard(objective, **options)


def plain(model: nn.Module) -> Objective:
    """The objective inside whatever `laid_out` returned."""
    inner = model.module if isinstance(model, DistributedDataParallel) else model
    assert isinstance(inner, Objective)
    return inner


@contextmanager
def exchanging(model: nn.Module, wanted: bool) -> Iterator[None]:
    """Whether the backward pass within exchanges gradients between replicas, or only adds them up.

    Forward and backward of a part of a batch run within it. Gradients that are cut over ranks are
    cut after each part all the same: whole ones of a model that needs cutting would not fit.
    """
    if isinstance(model, DistributedDataParallel) and not wanted:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(wanted)
    yield


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of the gradient over all ranks and parameters, before clipping.

    Returns:
        A scalar on the device: no value is read.
    """
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm


def summed(values: Tensor) -> Tensor:
    """The sum of a tensor over ranks, on every rank."""
    if dist.is_initialized():
        dist.all_reduce(values)
    return values


def from_first(number: int, device: torch.device) -> int:
    """A number that only rank 0 knows, on every rank."""
    if not dist.is_initialized():
        return number
    value = torch.tensor([number], dtype=torch.int64, device=device)
    dist.broadcast(value, src=0)
    return int(value.item())


class Agreement:
    """Ranks agree at step boundaries that one of them wants to stop.

    The answer is one step late: the message of a step travels while the next one is computed, on
    a process group of its own that no device waits for.
    """

    def __init__(self) -> None:
        self._group: Any = dist.new_group(backend="gloo") if dist.is_initialized() else None
        self._flag: Tensor | None = None
        self._work: Any = None

    def stop(self, wanted: bool) -> bool:
        """Whether any rank wanted to stop at the last boundary (at this one, for one rank)."""
        if self._group is None:
            return wanted
        answer = self._answer()
        self._flag = torch.tensor([int(wanted)])
        self._work = dist.all_reduce(
            self._flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True
        )
        return answer

    def _answer(self) -> bool:
        if self._flag is None or self._work is None:
            return False
        self._work.wait()
        return bool(self._flag.item())

    def close(self) -> None:
        """Wait for the last message."""
        self._answer()


def gathered(values: Tensor) -> Tensor:
    """A tensor of every rank (each of the same shape), stacked by rank, on every rank."""
    if not dist.is_initialized():
        return values[None]
    rows = [torch.empty_like(values) for _ in range(dist.get_world_size())]
    dist.all_gather(rows, values)
    return torch.stack(rows)
