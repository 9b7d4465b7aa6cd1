"""A strategy applied to an objective from outside, which knows nothing of ranks.

The order: meta construction → checkpointing of each block → its compilation → sharding of each
block → of the root → memory → weights. `ddp` replicates; the others are one call, `fully_shard`
(PyTorch's second FSDP), on different meshes:

    strategy                      mesh (replicas, shards)   parameters freed after forward
    no_shard = hybrid_shard_1     (W, 1)                    no
    hybrid_shard_k                (W/k, k)                  yes
    shard_grad_op                 (W,)                      no
    full_shard                    (W,)                      yes

The root's own parameters (embeddings, norms, heads) are never freed after forward: the backward
pass begins with them. One rank needs none of it and runs the plain module, without a process
group.

bfloat16: `fully_shard` gathers parameters in it and a layer computes in it; under `ddp` and on one
rank autocast casts what a layer multiplies. Parameters, moments and the exchange of gradients are
float32 everywhere.

Prefetch is by default fully_shard's own: in the backward pass the next block is gathered while one
is computed, in the forward pass as soon as the host is there. `gather_ahead` blocks instead are
gathered from explicit lists (`set_modules_to_forward_prefetch`), earlier on a slow host, for the
memory of so many whole blocks; a scaling study says whether that pays.
"""

import inspect
import warnings
import weakref
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.nn.parallel import DistributedDataParallel

from workflow_scripts.models.initialise import initialise
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel.blocks import checkpointed, compiled
from workflow_scripts.pretrain.parallel.groups import mesh_of, silent_mesh_of
from workflow_scripts.pretrain.strategies import shard_count, stays_whole

# Objectives whose parameters stay whole from a forward pass to its backward pass.
_kept_whole: weakref.WeakSet[nn.Module] = weakref.WeakSet()

# Buffers are the same everywhere and nothing changes them: DDP need not send them before each
# forward pass. torch 2.15 renamed the switch.
_SWITCHES = ("forward_sync_buffers", "broadcast_buffers")
_KNOWN = inspect.signature(DistributedDataParallel).parameters
_BUFFERS_ARE_TABLES: Any = {next(name for name in _SWITCHES if name in _KNOWN): False}


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
    seed: int, activation_checkpointing: bool = False, compile: bool = False,
    gather_ahead: int = 0, silent: bool = False,
) -> nn.Module:  # fmt: skip
    """Lay an objective over the ranks and fill it: the same weights under every strategy.

    Args:
        objective: Built on the meta device or the CPU; its values are not used.
        strategy: One of `strategies.NAMES`.
        ranks: This process's place.
        device: This rank's device.
        precision: `bf16` or `fp32`.
        seed: The run's seed.
        activation_checkpointing: Whether blocks are computed again in the backward pass.
        compile: Whether each block is compiled.
        gather_ahead: Blocks whose parameters are gathered ahead, forward and backward, where a
            strategy cuts them; 0: as fully_shard does by itself.
        silent: Whether the ranks tell each other nothing, to measure a step without that.

    Returns:
        The module to call: the objective itself, or DDP around it. Names in its state dict are
        those of the objective.

    Raises:
        UserError: A strategy that these ranks cannot have.
    """
    shards = shard_count(strategy, ranks.world)
    if activation_checkpointing:
        checkpointed(objective.wrap_blocks())
    if compile:
        compiled(objective.wrap_blocks())
    if ranks.world > 1 and strategy != "ddp":
        _shard(objective, strategy, shards=shards, world=ranks.world, device=device,
               precision=precision, mesh_of=silent_mesh_of if silent else mesh_of)  # fmt: skip
        if shards > 1 and gather_ahead:
            _gather_ahead(objective.wrap_blocks(), gather_ahead)
    objective.to_empty(device=device)
    initialise(objective, seed, place=_set, start=objective.start)
    if ranks.world > 1 and strategy == "ddp":
        return DistributedDataParallel(
            objective,
            device_ids=[device.index] if device.type == "cuda" else None,
            process_group=silent_mesh_of(device, {"replicate": ranks.world}).get_group()
            if silent
            else None,
            gradient_as_bucket_view=True,  # one copy of the gradients instead of two
            **_BUFFERS_ARE_TABLES,
            # Not static_graph: it fails where a first pass exchanges nothing (pytorch#143580), and
            # checkpointing that is not reentrant does not need it.
        )
    return objective


def _shard(
    objective: Objective, strategy: str, *, shards: int, world: int, device: torch.device,
    precision: str, mesh_of: Callable[[torch.device, dict[str, int]], DeviceMesh],
) -> None:  # fmt: skip
    # A Swin block's output is a view of its last sum; what comes after it adds out of place.
    warnings.filterwarnings("ignore", message=r"FSDP2-wrapped module .* returned a view tensor")
    whole = stays_whole(strategy, world)
    if strategy in ("shard_grad_op", "full_shard"):
        mesh = mesh_of(device, {"shard": world})
    else:
        mesh = mesh_of(device, {"replicate": world // shards, "shard": shards})
    policy = MixedPrecisionPolicy(
        param_dtype=torch.bfloat16 if precision == "bf16" else None,
        reduce_dtype=torch.float32,
        # Noise and targets must stay float32; autocast casts what a layer multiplies.
        cast_forward_inputs=False,
    )
    options: dict[str, Any] = {"mesh": mesh, "mp_policy": policy}
    for block in objective.wrap_blocks():
        fully_shard(block, reshard_after_forward=not whole, **options)
    fully_shard(objective, reshard_after_forward=False, **options)
    if whole:
        _kept_whole.add(objective)


def _gather_ahead(blocks: list[Any], count: int) -> None:
    """Have each block's hook gather the next `count` blocks, in the order in which they run."""
    for place, block in enumerate(blocks):
        block.set_modules_to_forward_prefetch(blocks[place + 1 : place + 1 + count])
        block.set_modules_to_backward_prefetch(blocks[max(0, place - count) : place][::-1])


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
    Parameters that are whole from forward to backward stay so until the last part: they are not
    gathered again for each.
    """
    if isinstance(model, DistributedDataParallel) and not wanted:
        with model.no_sync():
            yield
        return
    if isinstance(model, FSDPModule):
        model.set_requires_all_reduce(wanted)
        if model in _kept_whole:
            model.set_reshard_after_backward(wanted)
    yield


def gradient_norm(model: nn.Module) -> Tensor:
    """Norm of the gradient over all ranks and parameters, before clipping.

    Returns:
        A scalar on the device: no value is read.
    """
    norm = nn.utils.get_total_norm([p.grad for p in model.parameters() if p.grad is not None])
    return norm.full_tensor() if isinstance(norm, DTensor) else norm
