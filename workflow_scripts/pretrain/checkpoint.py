"""Checkpoints: the only home of torch.distributed.checkpoint.

The contract:
- A checkpoint is a folder `step-<n>`: every rank's parts of the weights and of the optimizer's
  moments under the parameters' names, and `meta.json`. It is whatever follows from the first n
  steps; all else (order, masks, learning rate) follows from n.
- It is written as `.step-<n>.<writer>.tmp` beside its place, and rank 0 renames it when all ranks
  have written: a folder named `step-<n>` is whole. What a kill left half-written is never read and
  is removed by the next start. The writer's number keeps ranks of a killed job, should they live
  on for a moment on another node, out of the folder of the next job.
- The last few are kept (one at least), and none goes before the next one has its name. One that
  goes loses its name first, so that a kill leaves no half of it under that name. Snapshots, those
  of steps that somebody will want, are marked and never go.
- Written in the background, it holds the values of its step: they are copied to the host's memory
  before training goes on. One at most is in flight. The writers of all ranks are one thread each,
  which agree over a process group of their own and in one order: no message of theirs can meet one
  of the training. (`dcp.async_save` is the same without the renaming, which would need a second
  agreement; so `dcp.save` runs in our thread.)
- Which one to load is decided by rank 0 alone and told to the others: a network file system may
  show the others a new folder late.
- It loads on any number of ranks and under any strategy, with the same values bit for bit.
- It holds tensors only, no Python objects of ours, and promises nothing across torch versions:
  a finished run is exported as plain weights.
"""

import os
import secrets
import shutil
import time
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException
from torch.distributed.checkpoint.staging import DefaultStager, StagingOptions

from workflow_scripts.errors import UserError
from workflow_scripts.files import json_text, write_text
from workflow_scripts.logs import log
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.saved import (
    META,
    latest,
    read_meta,
    remove,
    step_folder,
    steps,
    unreadable,
)
from workflow_scripts.pretrain.snapshots import is_snapshot, mark_snapshot

_MOMENTS = ("exp_avg", "exp_avg_sq")
_AHEAD = 10_000_000  # bytes copied from the device ahead of writing, torch's own default
_FAILURES = (OSError, RuntimeError, ValueError, CheckpointException)


def _tensors(objective: nn.Module, optimizer: torch.optim.Optimizer | None) -> dict[str, Tensor]:
    """Every tensor of the state by a flat name; sharded ones stay sharded."""
    tensors = {f"model.{name}": value for name, value in objective.state_dict().items()}
    if optimizer is None:
        return tensors
    for name, parameter in objective.named_parameters():
        state = optimizer.state[parameter]
        if not state:  # no step yet: the same zeros that AdamW would start from
            state["step"] = torch.zeros((), dtype=torch.float32, device=parameter.device)
            for moment in _MOMENTS:
                state[moment] = torch.zeros_like(parameter)
        for part in (*_MOMENTS, "step"):
            tensors[f"optimizer.{name}.{part}"] = state[part]
    return tensors


@contextmanager
def _quiet() -> Iterator[None]:
    """Without warnings of no use: that one process is one, and older torch of its own storages."""
    with warnings.catch_warnings():
        for message in ("torch.distributed is disabled", "TypedStorage is deprecated"):
            warnings.filterwarnings("ignore", message=message)
        yield


def _cause(error: BaseException) -> str:
    """The last line of an error, which of several ranks' says what happened."""
    return (str(error).strip() or type(error).__name__).splitlines()[-1]


class Saver:
    """Writes the checkpoints of a run; every rank has one and makes the same calls in one order.

    Args:
        root: The run's checkpoint folder.
        objective: The plain objective, sharded or not.
        optimizer: Its AdamW.
        keep: How many of the last checkpoints stay; one at least.
        snapshots: Steps whose checkpoints stay for good, in later jobs that name none too.
        background: Return from `save` as soon as the values are copied to the host's memory.
        known: Seconds that a checkpoint took earlier, which count until one has been written.

    Attributes:
        longest: Seconds that the longest checkpoint took.
    """

    def __init__(
        self, root: Path, *, objective: nn.Module, optimizer: torch.optim.Optimizer,
        keep: int = 2, snapshots: Collection[int] = (), background: bool = False,
        known: float = 0.0,
    ) -> None:  # fmt: skip
        self.root, self.objective, self.optimizer = root, objective, optimizer
        self.keep, self.snapshots, self.background = max(1, keep), snapshots, background
        self._alone = not dist.is_initialized()
        self._first = self._alone or dist.get_rank() == 0
        self._group = parallel.host_group()
        self._writer = self._from_first(secrets.randbits(31) if self._first else 0)
        self._future: Future[None] | None = None
        self.known, self.longest = known, 0.0
        if background:
            cuda = torch.cuda.is_available()
            self._thread = ThreadPoolExecutor(1, "checkpoint")
            # Pinned, shared, asynchronous, non-blocking: the last one's name is another in older
            # versions of torch.
            self._stager = DefaultStager(StagingOptions(cuda, False, False, cuda))

    def save(self, step: int, meta: dict[str, Any]) -> None:
        """Write a checkpoint, or begin to.

        Args:
            step: Steps done.
            meta: Plain JSON of the trainer, the same on all ranks; taken as it is now.

        Raises:
            UserError: This one, or in the background the one before, cannot be written.
        """
        if self._future and not self._future.done():
            log.info("step %d: waiting for the checkpoint before to be written", step)
        self.finish()
        began = time.monotonic()
        text = json_text({**meta, "step": step})
        tensors = _tensors(self.objective, self.optimizer)
        if self.background:
            staged = self._stager.stage(tensors)
            self._future = self._thread.submit(self._write, step, staged, text, began)
        else:
            self._write(step, tensors, text, began)

    def check(self) -> None:
        """Raise what a write in the background met, if it has ended; waits for nothing.

        Raises:
            UserError: It could not be written.
        """
        if self._future and self._future.done():
            self.finish()

    def finish(self) -> None:
        """Wait until the checkpoint in flight has its name.

        Raises:
            UserError: It could not be written.
        """
        future, self._future = self._future, None
        if future:
            future.result()

    @property
    def reserve(self) -> float:
        """Seconds to leave for the last checkpoint of a segment, twice what the longest took.

        In the background one more may be in flight.
        """
        # One that was slow once must not take its time from every later segment.
        return (3 if self.background else 2) * (self.longest or self.known)

    def _write(self, step: int, tensors: Any, text: str, began: float) -> None:
        temporary = self.root / f".step-{step:09d}.{self._writer:08x}.tmp"
        # Copies on the host need no stream of a device, and this thread has chosen none.
        ahead = 0 if self.background else _AHEAD
        try:
            self._on_first(lambda: _empty(temporary))
            writer = dcp.FileSystemWriter(temporary, per_thread_copy_ahead=ahead)
            with _quiet():
                dcp.save(
                    tensors, storage_writer=writer, process_group=self._group, no_dist=self._alone
                )
            self._on_first(lambda: self._publish(temporary, step, text))
        except _FAILURES as error:
            if self._first:
                shutil.rmtree(temporary, ignore_errors=True)
            raise UserError(self._failure(step, error)) from error
        self.longest = max(self.longest, time.monotonic() - began)

    def _publish(self, temporary: Path, step: int, text: str) -> None:
        """Give a whole folder its name, on the disk too, and let older ones go."""
        write_text(temporary / META, text)
        _flush(temporary)
        final = step_folder(self.root, step)
        if final.exists():  # left by a segment whose later checkpoints somebody removed
            remove(final)
        temporary.rename(final)
        _flush(self.root)
        found = steps(self.root)
        for kept in set(found).intersection(self.snapshots):
            mark_snapshot(self.root, kept)
        for old in found[: -self.keep]:
            if not is_snapshot(self.root, old):
                remove(step_folder(self.root, old))

    def _failure(self, step: int, error: BaseException) -> str:
        last = latest(self.root)
        left = "the run has none yet" if last is None else f"the one of step {last} is whole"
        return (
            f"{step_folder(self.root, step)}: the checkpoint cannot be written ({_cause(error)}); "
            f"{left}. Make room or mend the file system, and start the same command again: it goes "
            "on from there"
        )

    def _from_first(self, number: int) -> int:
        """A number of rank 0, on every rank; none goes on before rank 0 is here."""
        value = torch.tensor([number])
        if not self._alone:
            dist.broadcast(value, src=0, group=self._group)
        return int(value.item())

    def _on_first(self, action: Callable[[], None]) -> None:
        """Let rank 0 act while the others wait, and fail on all ranks if it failed."""
        failed: OSError | None = None
        if self._first:
            try:
                action()
            except OSError as error:
                failed = error
        if self._from_first(int(failed is not None)):
            raise failed or OSError("rank 0 failed; its message says why")


def _empty(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)


def _flush(folder: Path) -> None:
    """Have the entries of a folder on the disk."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def load(
    root: Path, step: int, *, objective: nn.Module, optimizer: torch.optim.Optimizer | None
) -> dict[str, Any]:
    """Load a checkpoint in place and return its meta; every rank calls it.

    Args:
        root: The run's checkpoint folder.
        step: Which one.
        objective: The plain objective, laid out in any way.
        optimizer: Its AdamW; None loads the weights alone.

    Raises:
        UserError: The checkpoint cannot be read or does not fit the model.
    """
    tensors = _tensors(objective, optimizer)
    try:
        with _quiet():
            dcp.load(
                tensors, checkpoint_id=step_folder(root, step), no_dist=not dist.is_initialized()
            )
    except _FAILURES as error:
        raise unreadable(root, step, _cause(error)) from error
    return read_meta(root, step)
