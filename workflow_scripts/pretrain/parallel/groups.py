"""Process groups: joining the other ranks, and what ranks tell each other."""

import datetime
import os
import resource
from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh

from workflow_scripts.pretrain.launch import Ranks, device_number
from workflow_scripts.pretrain.meeting import PATIENCE_S
from workflow_scripts.pretrain.parallel import silent
from workflow_scripts.pretrain.parallel.arrival import Arrival

_NCCL = "nccl"  # what RCCL is called, too
_GLOO = "gloo"
# Of the groups that are joined; `join` sets them.
_timeout = datetime.timedelta(minutes=30)
_arrival: Arrival | None = None


def join(ranks: Ranks, *, timeout_s: float, patience_s: float = PATIENCE_S) -> torch.device:
    """Join the process group (if there are several ranks) and return this rank's device.

    Args:
        ranks: This process's place.
        timeout_s: How long a message may take, in this group and in all that are made later.
        patience_s: How long ranks wait for each other, here and when a group is made.

    Raises:
        UserError: More ranks on this node than accelerators, or ranks that do not come or cannot
            be reached; names them.
    """
    global _timeout, _arrival
    _timeout = datetime.timedelta(seconds=timeout_s)
    device = torch.device("cpu")
    if torch.cuda.is_available():
        device = torch.device("cuda", device_number(ranks, torch.cuda.device_count()))
        torch.cuda.set_device(device)
    if ranks.world > 1:
        _limit_connections()
        _arrival = Arrival(ranks, patience_s=patience_s)
        _arrival.all_came()
        with _arrival.connecting():
            dist.init_process_group(
                _backend(device),
                store=_arrival.store_for("groups", timeout_s=timeout_s),
                rank=ranks.rank,
                world_size=ranks.world,
                timeout=_timeout,
                # Connects at once, so that a network that does not work is seen here and not in
                # the first step, and lets a mesh split its groups off: two calls instead of one a
                # group.
                device_id=device if device.type == "cuda" else None,
            )
            _try_out(None, device)
    return device


def _try_out(group: Any, device: torch.device) -> None:
    """See that a message passes, now and not in the first step."""
    probe = torch.zeros(1, device=device)
    dist.all_reduce(probe, group=group)
    probe.item()  # waits for a device


def _limit_connections() -> None:
    """Fewer connections between hosts, and as many as this process may have.

    By default each gloo group connects all ranks to all: a million connections among a thousand
    ranks, and as many questions to the store. So a rank connects to another one when it has
    something to tell it, which for a sum are two others.
    """
    os.environ.setdefault("TORCH_GLOO_LAZY_INIT", "1")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _backend(device: torch.device) -> str:
    return _NCCL if device.type == "cuda" else _GLOO


def _options(device: torch.device) -> Any:
    """Options of a group of a mesh: torch would give it ten minutes, whatever `join` was told."""
    kinds: Any = dist  # its stubs lack the class of gloo's options
    cuda = device.type == "cuda"
    options = kinds.ProcessGroupNCCL.Options() if cuda else kinds.ProcessGroupGloo._Options()
    options._timeout = _timeout
    return options


def mesh_of(device: torch.device, sizes: dict[str, int]) -> DeviceMesh:
    """All ranks as a mesh, with the timeout that was joined with.

    Args:
        device: This rank's device.
        sizes: Ranks along each dimension, by its name.
    """
    world = dist.get_world_size()
    # A dimension of all ranks is the group that was joined: a second one would cost memory.
    own: Any = {
        name: (_backend(device), _options(device)) for name, n in sizes.items() if n != world
    }
    return init_device_mesh(
        device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes),
        backend_override=own or None,
    )  # fmt: skip


def silent_mesh_of(device: torch.device, sizes: dict[str, int]) -> DeviceMesh:
    """The same mesh, over which nothing is sent (`silent`)."""
    own: Any = dict.fromkeys(sizes, silent.register())
    return init_device_mesh(
        device.type, tuple(sizes.values()), mesh_dim_names=tuple(sizes), backend_override=own
    )


def host_group() -> Any:
    """A new group of all ranks for messages between hosts that no device waits for; None alone.

    Every rank calls it.
    """
    if _arrival is None:
        return None
    with _arrival.connecting():
        group: Any = dist.new_group(backend=_GLOO, timeout=_timeout)
        _try_out(group, torch.device("cpu"))
    return group


def own_store(name: str) -> Any:
    """A connection of the caller's own to the store through which the ranks met.

    A call that waits holds its connection, so the process group keeps the one it has.

    Args:
        name: Of the caller: what it stores is its own.
    """
    return dist.PrefixStore(name, dist.distributed_c10d._get_default_store().clone())


def leave() -> None:
    """Leave the process group, if one was joined."""
    global _arrival
    _arrival = None
    if dist.is_initialized():
        dist.destroy_process_group()


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
    """Ranks agree at step boundaries on what one of them wants: the greatest number counts.

    The answer is one step late: the message of a step travels while the next one is computed, on
    a process group of its own that no device waits for.
    """

    def __init__(self) -> None:
        self._group = host_group()
        self._flag: Tensor | None = None
        self._work: Any = None

    def now(self, wanted: int) -> int:
        """The greatest that any rank wants, without delay: ranks wait for each other."""
        if self._group is None:
            return wanted
        flag = torch.tensor([wanted])
        dist.all_reduce(flag, op=dist.ReduceOp.MAX, group=self._group)
        return int(flag.item())

    def greatest(self, wanted: int) -> int:
        """The greatest that any rank wanted at the last boundary (at this one, for one rank)."""
        if self._group is None:
            return wanted
        answer = self._answer()
        self._flag = torch.tensor([wanted])
        self._work = dist.all_reduce(
            self._flag, op=dist.ReduceOp.MAX, group=self._group, async_op=True
        )
        return answer

    def _answer(self) -> int:
        if self._flag is None or self._work is None:
            return 0
        self._work.wait()
        return int(self._flag.item())

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
