"""Checkpoints: the only home of torch.distributed.checkpoint.

The contract:
- A checkpoint is a folder `step-<n>`: every rank's parts of the weights and of the optimizer's
  moments under the parameters' names, and `meta.json`. It is whatever follows from the first n
  steps; all else (order, masks, learning rate) follows from n.
- It is written as `.step-<n>.tmp` beside its place, and rank 0 renames it when all ranks have
  written: a folder named `step-<n>` is whole. What a kill left half-written is never read and is
  removed by the next start.
- The last two are kept, so that there is one while the next is being written.
- Which one to load is decided by rank 0 alone and told to the others: a network file system may
  show the others a new folder late.
- It loads on any number of ranks and under any strategy, with the same values bit for bit.
- It holds tensors only, no Python objects of ours, and promises nothing across torch versions:
  a finished run is exported as plain weights.
"""

import os
import shutil
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
import torch.distributed.checkpoint as dcp
from torch import Tensor, nn
from torch import distributed as dist
from torch.distributed.checkpoint.api import CheckpointException

from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.pretrain.saved import META, read_meta, step_folder, steps

KEEP = 2
_MOMENTS = ("exp_avg", "exp_avg_sq")


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
    """Without the warning that a single process is a single process."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="torch.distributed is disabled")
        yield


def save(
    root: Path, step: int, *, objective: nn.Module, optimizer: torch.optim.Optimizer,
    meta: dict[str, Any],
) -> None:  # fmt: skip
    """Write a checkpoint; every rank calls it.

    Args:
        root: The run's checkpoint folder.
        step: Steps done.
        objective: The plain objective, sharded or not.
        optimizer: Its AdamW.
        meta: Plain JSON of the trainer, the same on all ranks.
    """
    alone = not dist.is_initialized()
    first = alone or dist.get_rank() == 0
    temporary = root / f".step-{step:09d}.tmp"
    if first:
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir(parents=True)
    if not alone:
        dist.barrier()
    with _quiet():
        dcp.save(_tensors(objective, optimizer), checkpoint_id=temporary, no_dist=alone)
    if first:
        write_json(temporary / META, {**meta, "step": step})
        _publish(temporary, step_folder(root, step))
        for old in steps(root)[:-KEEP]:
            shutil.rmtree(step_folder(root, old))
    if not alone:
        dist.barrier()


def _publish(temporary: Path, final: Path) -> None:
    """Rename a whole folder into its place, and have the folder's entry on the disk."""
    if final.exists():  # the same step, saved by an earlier segment
        shutil.rmtree(final)
    temporary.rename(final)
    parent = os.open(final.parent, os.O_RDONLY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)


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
    folder = step_folder(root, step)
    tensors = _tensors(objective, optimizer)
    try:
        with _quiet():
            dcp.load(tensors, checkpoint_id=folder, no_dist=not dist.is_initialized())
        meta = read_meta(root, step)
    except (OSError, RuntimeError, ValueError, CheckpointException) as error:
        cause = str(error).strip().splitlines()[-1]
        raise UserError(
            f"{folder}: the checkpoint cannot be loaded ({cause}); delete this folder to go on "
            "from the one before it"
        ) from error
    return meta
