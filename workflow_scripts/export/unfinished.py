"""What of a run cannot be exported and what to do: steps that are left, snapshots not there."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.pretrain import attempts, saved
from workflow_scripts.pretrain.history import SEGMENTS, read_lines
from workflow_scripts.pretrain.run_digest import checkpoint_folder
from workflow_scripts.pretrain.snapshots import in_words


def refuse_to_lose(run: Path, segments: int) -> None:
    """Refuse to export a finished run again from a segment before its last one.

    Snakemake removes the weights before the job that would fail for want of steps.

    Args:
        run: The run's folder.
        segments: As many as the configuration asks for now; lowered after the run was finished.

    Raises:
        UserError: Says how many it takes.
    """
    path = run / "segments" / f"{segments}.json"
    weights = run / "weights.safetensors"
    if not (weights.is_file() and path.is_file()):
        return
    try:
        finished_segment(path, run)
    except UserError as error:
        raise UserError(f"{weights} would be removed and not be made again. {error}") from None


def refuse_lost_steps(run: Path, segments: int, steps: Iterable[int]) -> None:
    """Refuse to export snapshots that a finished run does not have.

    As above, what was exported before would be removed.

    Args:
        run: The run's folder.
        segments: As many as the configuration asks for; none of them is to be trained again.
        steps: The snapshots.

    Raises:
        UserError: Names them, those that there are, and what to do.
    """
    path = run / "segments" / f"{segments}.json"
    segment = read_json(path) if path.is_file() else {"reason": "to be trained"}
    if segment["reason"] == "done":
        refuse_steps(steps, run=run, segment=segment)


def refuse_steps(steps: Iterable[int], *, run: Path, segment: Mapping[str, Any]) -> None:
    """Refuse snapshots that a finished run does not have.

    Args:
        steps: The snapshots.
        run: The run's folder.
        segment: Its last segment.

    Raises:
        UserError: Names them, those that there are, and what to do.
    """
    folder, end = checkpoint_folder(run, segment["run_digest"]), segment["end_step"]
    found = saved.steps(folder)
    missing = [step for step in steps if step not in found]
    if not missing:
        return
    again = (
        f", or train the run again with them: move {folder} away and start with --forcerun "
        f"{run / 'segments' / '1.json'}"
    )
    raise UserError(
        f"run {run.name}, which ended at step {end}, has no checkpoint of step {in_words(missing)}."
        f" Name steps that it has in `along` of the benchmarks ({in_words(found)})"
        f"{again if min(missing) < end else ''}"
    )


def finished_segment(path: Path, run: Path) -> dict[str, Any]:
    """The last segment of a run that is done.

    Args:
        path: The segment's JSON.
        run: The run's folder.

    Raises:
        UserError: Steps are left; says how many, and how many segments they need.
    """
    segment: dict[str, Any] = read_json(path)
    if segment["reason"] == "done":
        return segment
    end, total, number = segment["end_step"], segment["total_steps"], int(path.stem)
    each = steps_in_a_walltime(checkpoint_folder(run, segment["run_digest"]))
    each = each or max(1, end // number)
    needed = number + -(-(total - end) // each)
    key = f"runs.{run.name}"
    raise UserError(
        f"{path}: run {run.name} is at step {end} of {total} and the time of its last segment is "
        f"up; {total - end} steps are left, and a segment makes about {each}. Raise "
        f"{key}.segments from {number} to {needed} and start again: it goes on from step {end}. "
        f"With more {key}.launch.walltime_minutes, where the site allows that, fewer are enough "
        "(one more at least: segments that ended are not begun again)"
    )


def steps_in_a_walltime(folder: Path) -> int | None:
    """Steps of the last job that trained until its time was up; None if nobody knows.

    A segment's JSON would tell too many where jobs were killed and another one went on.

    Args:
        folder: The run's checkpoint folder.
    """
    for row in reversed(read_lines(folder / SEGMENTS)):
        if row.get("outcome") == attempts.WALLTIME:
            return int(row["end_step"] - row["start_step"])
    return None
