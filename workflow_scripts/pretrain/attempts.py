"""Every start of a run's trainer: when, on how many nodes, in which job, and how it ended.

`attempts.json` in the run's checkpoint folder is a list, one entry an attempt, the oldest first.
An entry is there before ranks meet, so that a job that never got to a step is seen as well. The
last one is written again with every sign of life; if nobody set its outcome it runs, or it died.
"""

import datetime
import os
import socket
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.files import read_json, write_json
from workflow_scripts.pretrain.launch import Ranks, seconds_since_start
from workflow_scripts.slurm import JOBS_VARIABLE

ATTEMPTS = "attempts.json"
LOG_VARIABLE = "ORBWEAVER_ATTEMPT_LOG"  # set by whatever keeps a log of its own for each attempt
WALLTIME, DONE, STOPPED, FAILED = "walltime", "done", "stopped", "failed"
OUTCOMES = (WALLTIME, DONE, STOPPED, FAILED)


def read(folder: Path) -> list[dict[str, Any]]:
    """The attempts of a run, the oldest first; empty if there was none.

    Args:
        folder: The run's checkpoint folder.

    Returns:
        Of each `segment`, `job` (its number in the batch system), `step` (of the job, if Slurm
        started it for this segment alone), `nodes`, `ranks`, `host`, `pid`,
        `began` and `seen` (the last sign of life; ISO, UTC), `seconds` (from the job's first
        process to `seen`), `log`, and `outcome`: one of `OUTCOMES`, or None while it runs or if it
        died.
    """
    path = folder / ATTEMPTS
    return list(read_json(path)) if path.is_file() else []


def begin(
    folder: Path, *, segment: int, ranks: Ranks, environment: Mapping[str, str] = os.environ
) -> None:
    """Add an attempt (the first process of a job, under the run's lock).

    Args:
        folder: The run's checkpoint folder.
        segment: The segment's number.
        ranks: This process's place, or that of the parent of ranks.
        environment: The variables that name the job and the log.
    """
    began = now()
    entry = {
        "segment": segment,
        "job": environment.get("SLURM_JOB_ID"),
        "step": _own_step(ranks, environment),
        "nodes": 1 if ranks.must_spawn else -(-ranks.world // ranks.local_world),
        "ranks": ranks.world,
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "began": began,
        "seen": began,
        "seconds": _seconds(),
        "log": environment.get(LOG_VARIABLE),
        "outcome": None,
    }
    write_json(folder / ATTEMPTS, [*read(folder), entry])


def seen(folder: Path, outcome: str | None = None) -> dict[str, Any]:
    """Note a sign of life of the last attempt, and how it ended if it did.

    Returns:
        The attempt; empty for a trainer that was started without one.
    """
    attempts = read(folder)
    if not attempts:
        return {}
    attempts[-1] |= {"seen": now(), "seconds": _seconds(), "outcome": outcome}
    write_json(folder / ATTEMPTS, attempts)
    return attempts[-1]


def node_hours(attempts: Iterable[Mapping[str, Any]]) -> float:
    """Node-hours that attempts used, until each was last seen."""
    return sum(one["nodes"] * one["seconds"] for one in attempts) / 3600


def now() -> str:
    """The time as it stands in a run's records: ISO, UTC."""
    return datetime.datetime.now(datetime.UTC).isoformat("T", "seconds")


def _own_step(ranks: Ranks, environment: Mapping[str, str]) -> str | None:
    """The number of the step that is this segment and nothing else.

    A driver that runs jobs in its own allocation, or in a step of it, is not told from them.
    """
    if ranks.step is None and JOBS_VARIABLE not in environment:
        return None
    step = environment.get("SLURM_STEP_ID", "")
    return step if step.isdecimal() else None


def _seconds() -> float:
    return round(seconds_since_start(), 1)
