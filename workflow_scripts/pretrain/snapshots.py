"""Snapshots: checkpoints along a run that stay, so that they can be exported and judged later.

A snapshot is a checkpoint like any other with a mark in it: an empty file. So it stays in jobs that
were told of no snapshots too; who no longer wants one deletes its folder.
"""

from collections.abc import Collection
from pathlib import Path

from workflow_scripts.logs import log
from workflow_scripts.pretrain.saved import step_folder, steps

_MARK = "snapshot"


def mark_snapshot(root: Path, step: int) -> None:
    """Have a checkpoint stay, however few of the last ones are kept.

    Args:
        root: The run's checkpoint folder.
        step: Which one.
    """
    (step_folder(root, step) / _MARK).touch()


def is_snapshot(root: Path, step: int) -> bool:
    """Whether a checkpoint stays.

    Args:
        root: The run's checkpoint folder.
        step: Which one.
    """
    return (step_folder(root, step) / _MARK).is_file()


def warn_of_snapshots(root: Path, wanted: Collection[int], *, step: int, of: int) -> None:
    """Tell, before hours of training, of snapshots that there will not be.

    Args:
        root: The run's checkpoint folder.
        wanted: The steps that were asked for.
        step: Where the run is.
        of: Its last step.
    """
    found = steps(root)
    never = [one for one in wanted if one > of or (one <= step and one not in found)]
    if never:
        log.warning(
            "%s: there will be no snapshot of step %s: the run is at step %d of %d and has "
            "checkpoints of %s. Name other steps in `along` of the benchmarks",
            root, in_words(never), step, of, in_words(found),
        )  # fmt: skip


def in_words(found: Collection[int]) -> str:
    """`936, 1872`, or `none`."""
    return ", ".join(map(str, found)) or "none"
