"""Process groups that send nothing: what a strategy costs without its communication.

Every rank is alone with what it has. What would come from others it makes of its own: a gathered
tensor is its part again and again, the sum of a gradient over ranks its own gradient. So all
tensors have the strategy's shapes and lie in memory as they would, each rank keeps the strategy's
copies into and out of the gathered tensors, and values stay numbers of the usual size: rows of
weights come again, NaNs and denormals, which are slower on some processors, do not. A gathered
tensor is written once at the speed of memory, by two copies at most however many ranks there are,
on the stream on which it would have come.

Why not torch's own `fake` backend: in torch 2.10 it leaves what others would have sent as it lay
in memory, and it is a part of torch's tests.
"""

from typing import Any

import torch
from torch import Tensor
from torch import distributed as dist
from torch._C._distributed_c10d import _create_work_from_future

BACKEND = "silent"


def _done(result: Any, device: torch.device) -> Any:
    """Work that is over; on a GPU whoever waits for it has its stream wait for the copies."""
    future: Any = torch.futures.Future(devices=[device] if device.type == "cuda" else None)
    future.set_result(result)
    return _create_work_from_future(future)


_Group: Any = dist.ProcessGroup  # its stubs have two signatures for each operation


class SilentGroup(_Group):
    """Ranks that tell each other nothing. Operations that no strategy uses are not there.

    Args:
        rank: Number of this rank.
        size: Ranks of the group.
    """

    def __init__(self, rank: int, size: int) -> None:
        super().__init__(rank, size)
        self._name = ""
        self._own, self._ranks = rank, size

    def _set_group_name(self, name: str) -> None:
        self._name = name  # torch keeps a group's name in backends, of which there are none here

    @property
    def group_name(self) -> str:
        """The name that torch gave the group."""
        return self._name

    def getBackendName(self) -> str:
        """Name of the backend."""
        return BACKEND

    def size(self) -> int:
        """Ranks of the group."""
        return self._ranks

    def allreduce(self, tensors: list[Tensor], opts: Any = None) -> Any:
        """The mean over ranks is one's own."""
        return _done(tensors, tensors[0].device)

    def broadcast(self, tensors: list[Tensor], opts: Any = None) -> Any:
        """What is sent to all is one's own."""
        return _done(tensors, tensors[0].device)

    def allgather(self, outputs: list[list[Tensor]], inputs: list[Tensor], opts: Any = None) -> Any:
        """Each rank's tensor is one's own."""
        with torch.no_grad():
            for parts, own in zip(outputs, inputs, strict=True):
                for part in parts:
                    part.copy_(own)
        return _done(outputs, inputs[0].device)

    def all_gather_single(self, output: Tensor, own: Tensor, opts: Any = None) -> Any:
        """Each rank's part is one's own."""
        with torch.no_grad():
            parts, mine = output.view(self._ranks, -1), own.view(1, -1)
            if parts[self._own].data_ptr() == own.data_ptr():
                # FSDP has written this rank's part into its place; NCCL then copies nothing.
                others = [parts[: self._own], parts[self._own + 1 :]]
            else:
                others = [parts]
            # Not a copy for each rank: a thousand launches would take longer than what they copy.
            for rows in others:
                if rows.numel():
                    rows.copy_(mine.expand_as(rows))
        return _done([output], output.device)

    def reduce_scatter_single(self, output: Tensor, given: Tensor, opts: Any = None) -> Any:
        """The mean of this rank's part is what it has itself."""
        with torch.no_grad():
            output.view(-1).copy_(given.view(self._ranks, -1)[self._own])
        return _done([output], output.device)

    # As these were called before torch 2.15.
    _allgather_base = all_gather_single
    _reduce_scatter_base = reduce_scatter_single


def _make(_store: Any, rank: int, size: int, _timeout: Any) -> SilentGroup:
    return SilentGroup(rank, size)


def register() -> str:
    """Make the backend known to torch; returns its name."""
    if BACKEND not in dist.Backend.backend_list:
        dist.Backend.register_backend(BACKEND, _make, devices=["cpu", "cuda"])
    return BACKEND
