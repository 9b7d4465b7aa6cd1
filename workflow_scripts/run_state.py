"""Where a run is: from what its trainers wrote, the lock of the run, and Slurm's queue."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import holder, read_json
from workflow_scripts.pretrain import attempts as starts
from workflow_scripts.pretrain.history import STATE
from workflow_scripts.pretrain.run_digest import IDENTITY, checkpoint_folder
from workflow_scripts.slurm import Job

# The states beside the outcomes of an attempt.
NEW, QUEUED, STARTING, RUNNING = "new", "queued", "starting", "running"
DIED, UNREADABLE = "died", "unreadable"
_LOGS = Path("logs/pretrain")  # as rules/pretrain.smk has it; envs/launch.sh keeps one an attempt
_NUMBERS = ("step", "total_steps", "images_per_s", "data_wait", "mfu", "loss", "seconds_left")
_SECONDS_TO_BEGIN = 20.0  # from a job's first line in its log to its first sign of life


@dataclass(frozen=True, kw_only=True)
class RunState:
    """What `status` tells of a run; None where nobody has said it yet.

    Attributes:
        run: Its name.
        state: One of those above or, if nothing lives, how its last attempt ended: `done`, ….
        segment: The segment that is trained, was last, or waits in the queue.
        step: Steps done.
        total_steps: Steps of the whole run.
        images_per_s: Of the whole job.
        data_wait: Part of the time that went into waiting for data.
        mfu: Model FLOP utilisation.
        loss: The last one.
        seconds_left: Of training, at the speed of the last attempt.
        job: The Slurm job that trains it, waits to, or did last.
        nodes: Of that job.
        attempts: Starts of a trainer.
        node_hours: Used by all attempts.
        node_hours_left: Of training, at the speed and on the nodes of the last attempt.
        updated: The last sign of life (ISO, UTC).
        log: The log of the last attempt, if the run failed or died.
        trouble: Which of the run's files cannot be read, and what to do.
    """

    run: str
    state: str
    segment: int | None = None
    step: int | None = None
    total_steps: int | None = None
    images_per_s: float | None = None
    data_wait: float | None = None
    mfu: float | None = None
    loss: float | None = None
    seconds_left: float | None = None
    job: str | None = None
    nodes: int | None = None
    attempts: int = 0
    node_hours: float = 0.0
    node_hours_left: float | None = None
    updated: str | None = None
    log: str | None = None
    trouble: str | None = None


def run_states(runs: Path, jobs: Sequence[Job], *, settled: bool = False) -> list[RunState]:
    """Where all runs below a folder are; of one with a damaged file that it has one.

    Args:
        runs: The folder of all runs.
        jobs: What Slurm has in its queue; empty if it does not tell.
        settled: No job begins just now.
    """
    found = []
    for folder in sorted(path for path in runs.glob("*") if path.is_dir()):
        try:
            found.append(run_state(folder, jobs, settled=settled))
        except UserError as error:
            found.append(RunState(run=folder.name, state=UNREADABLE, trouble=str(error)))
    return found


def run_state(folder: Path, jobs: Sequence[Job], *, settled: bool = False) -> RunState:
    """Where a run is.

    Args:
        folder: The run's folder.
        jobs: What Slurm has in its queue; empty if it does not tell.
        settled: No job begins just now: a log without a sign of life is that of a failure.

    Raises:
        UserError: A file that tells of it is not JSON.
    """
    progress, attempts = _written(folder)
    last = attempts[-1] if attempts else {}
    job = _job_of(folder.name, jobs)
    state = _state(progress, last, job, held=holder(folder / "run.json") is not None)
    if state not in (RUNNING, STARTING, QUEUED, starts.DONE):
        early = _early(folder, last, seconds_to_begin=0.0 if settled else _SECONDS_TO_BEGIN)
        state, last = (starts.FAILED, {**last, **early}) if early else (state, last)
    segment = last.get("segment")
    log = last.get("log") or str(_LOGS / folder.name / f"{segment}.log")
    numbers = {name: progress.get(name) for name in _NUMBERS}
    left, nodes = numbers["seconds_left"], last.get("nodes")
    return RunState(
        run=folder.name,
        state=state,
        **numbers,
        segment=_segment(job) if job else segment,
        job=job.number if job else last.get("job"),
        nodes=job.nodes if job else nodes,
        attempts=len(attempts),
        node_hours=starts.node_hours(attempts),
        node_hours_left=None if left is None or nodes is None else left * nodes / 3600,
        updated=progress.get("updated", last.get("seen")),
        log=log if state in (starts.FAILED, DIED) else None,
    )


def latest_checkpoints(folder: Path) -> Path | None:
    """The checkpoint folder of a run's last start; None if it was never started.

    Args:
        folder: The run's folder.
    """
    identity = folder / IDENTITY
    if not identity.is_file():
        return None
    return checkpoint_folder(folder, read_json(identity)["run_digest"])


def _written(folder: Path) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """What the latest checkpoint folder holds: the last progress, and all attempts."""
    place = latest_checkpoints(folder)
    if place is None:
        return {}, []
    progress = place / STATE
    return (read_json(progress) if progress.is_file() else {}), starts.read(place)


def _state(
    progress: Mapping[str, Any], last: Mapping[str, Any], job: Job | None, *, held: bool
) -> str:
    """The state in one word; a trainer that lives holds the lock of the run, on whatever host."""
    told = progress.get("state")
    outcome = last["outcome"] if last else (None if told == RUNNING else told)
    began = bool(last or progress)
    if held and began and outcome is None:
        return RUNNING if progress.get("updated", "") >= last.get("began", "") else STARTING
    if outcome == starts.DONE:
        return starts.DONE
    if held or (job is not None and job.has_nodes):
        return STARTING
    if job is not None and job.waits:
        return QUEUED
    return (outcome or DIED) if began else NEW


def _early(folder: Path, last: Mapping[str, Any], *, seconds_to_begin: float) -> dict[str, Any]:
    """Segment, job and log of a start that failed before it became an attempt; empty if none did.

    What is wrong with the configuration, the data or the environment is told in such a log alone.
    """
    logs = [(path.stat().st_mtime, path) for path in _LOGS.glob(f"{folder.name}/*.attempts/*.log")]
    written, log = max(logs, default=(0.0, Path()))
    segment = log.parent.name.removesuffix(".attempts")
    seen = datetime.fromisoformat(last["seen"]).timestamp() if last else 0.0
    begins = time.time() - written < seconds_to_begin
    whole = (folder / "segments" / f"{segment}.json").is_file()
    if written <= seen or begins or whole or str(log) == last.get("log"):
        return {}
    return {
        "segment": int(segment),
        "log": str(log),
        "job": log.stem if log.stem.isdigit() else None,
    }


def _job_of(run: str, jobs: Sequence[Job]) -> Job | None:
    """The job of a run's segment: one that runs before one that waits."""
    own = [
        job for job in jobs if job.rule == "pretrain" and job.wildcards.rpartition("_")[0] == run
    ]
    return min(own, key=lambda job: job.waits, default=None)


def _segment(job: Job) -> int:
    return int(job.wildcards.rpartition("_")[2])
