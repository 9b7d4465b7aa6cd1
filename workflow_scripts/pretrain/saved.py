"""Which checkpoints of a run are whole: folder names alone, for programs that need no torch.

`checkpoint` writes and loads them and states the contract.
"""

import json
import re
import shutil
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

META = "meta.json"
_NAME = re.compile(r"step-(\d{9})")


def step_folder(root: Path, step: int) -> Path:
    """Where the checkpoint of a step is, or would be."""
    return root / f"step-{step:09d}"


def steps(root: Path) -> list[int]:
    """Steps of the whole checkpoints below a run's checkpoint folder, ascending."""
    if not root.is_dir():
        return []
    found = (_NAME.fullmatch(path.name) for path in root.iterdir() if path.is_dir())
    return sorted(int(match[1]) for match in found if match)


def latest(root: Path) -> int | None:
    """The last whole checkpoint's step, None if there is none."""
    found = steps(root)
    return found[-1] if found else None


def read_meta(root: Path, step: int) -> dict[str, Any]:
    """What was saved beside the tensors: plain numbers of the trainer.

    Raises:
        UserError: It cannot be read, and with it the checkpoint.
    """
    path = step_folder(root, step) / META
    try:
        meta: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise unreadable(root, step, f"{META}: {error}") from None
    return meta


def unreadable(root: Path, step: int, cause: str) -> UserError:
    """What to tell of a checkpoint that cannot be loaded: the only cure is the one before it.

    Args:
        root: The run's checkpoint folder.
        step: Which one.
        cause: Why not.
    """
    before = [other for other in steps(root) if other < step]
    cure = f"go on from the one of step {before[-1]}" if before else "begin the run anew"
    return UserError(
        f"{step_folder(root, step)}: the checkpoint cannot be loaded ({cause}); delete this folder "
        f"to {cure}"
    )


def remove(folder: Path) -> None:
    """Remove a checkpoint; its name goes first, so that half of it never passes for a whole."""
    aside = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    shutil.rmtree(aside)


def clear_leftovers(root: Path) -> None:
    """Remove what a kill left half-written or half-removed (rank 0, under the run's lock)."""
    for path in root.glob(".step-*.tmp"):
        log.warning("%s: half-written checkpoint of a killed job, removed", path)
        shutil.rmtree(path)
    for path in root.glob(".step-*.old"):
        shutil.rmtree(path)
