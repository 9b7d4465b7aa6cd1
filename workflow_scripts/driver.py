"""The Snakemake process that drives a run: what it refuses, and what it leaves for resume."""

import os
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.jobs import Jobs
from workflow_scripts.staleness import refuse_unrecorded

NOTES = Path(".snakemake/orbweaver-drivers")  # one file a driver
CONFIG_VARIABLE = "ORBWEAVER_CONFIG"  # the merged configuration as JSON, set for every job
ACCOUNT_VARIABLE = "ORBWEAVER_ACCOUNT"  # as in the Slurm profiles
QUESTIONS = frozenset({"stale", "dag"})  # targets that only ask
_HARMLESS = frozenset(
    {"--unlock", "--lint", "--touch", "-t", "--forceall", "-F", "--cleanup-metadata"}
)


def guard(jobs: Jobs, argv: Sequence[str] = tuple(sys.argv)) -> None:
    """Refuse to start on unrecorded results of another configuration or other code.

    Raises:
        UserError: Says which, and the command that makes them again.
    """
    if not _HARMLESS & set(argv):
        refuse_unrecorded(jobs.stamped(), _forced(argv), argv[1:])


def _forced(argv: Sequence[str]) -> list[str]:
    """Files and rules named after --forcerun on the command line."""
    forced, taking = [], False
    for word in argv:
        if word.startswith("-"):
            taking = word in ("--forcerun", "-R")
        elif taking:
            forced.append(word)
    return forced


def prepare_jobs(config_json: str) -> None:
    """Let every job find this package, from any folder, and know the merged configuration.

    The configuration is for the jobs that ask Snakemake itself (`stale`, `dag`).
    """
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [root, *paths])))
    os.environ[CONFIG_VARIABLE] = config_json


def require_account() -> None:
    """Refuse to submit jobs in nobody's name: sites reject them, one by one and late.

    Raises:
        UserError: The environment names no account.
    """
    if not os.environ.get(ACCOUNT_VARIABLE):
        raise UserError(
            f"no account to submit jobs with: export {ACCOUNT_VARIABLE}=<your project> and start "
            "again (accounts are taken from the environment only)"
        )


def note_start(*, runs: str, submits: bool) -> None:
    """Leave a note for `make resume`: who drives, since when, with which command.

    Args:
        runs: The folder of all runs.
        submits: Whether it submits jobs to Slurm.
    """
    if not QUESTIONS & set(sys.argv):
        note = {"arguments": sys.argv[1:], "runs": runs, "submits": submits, "noted": time.time()}
        _write_note(note)


def take_over(path: Path, note: dict[str, Any]) -> None:
    """Put this process, which is to become the driver, in the place of one that died.

    A driver that never begins (there is nothing to do, or it is refused) is the last to be resumed
    again: the others come first.

    Raises:
        UserError: Another process has just done so.
    """
    own = _write_note({**note, "noted": 0.0})
    try:
        if own != path:
            path.unlink()
    except FileNotFoundError:
        own.unlink()
        raise UserError(
            "another `make resume` has just begun; let it work, or stop it first"
        ) from None


def _write_note(note: dict[str, Any]) -> Path:
    process, host = psutil.Process(), socket.gethostname()
    path = NOTES / f"{host}-{process.pid}.json"
    write_json(path, {**note, "pid": process.pid, "created": process.create_time(), "host": host})
    return path


def note_success() -> None:
    """Forget the drivers that wanted what has just been made."""
    for path, note in notes():
        if note["arguments"] == sys.argv[1:]:
            path.unlink(missing_ok=True)


def where_to_look(*, submits: bool) -> str:
    """What to read and to do after jobs failed.

    Args:
        submits: Whether the driver submits jobs to Slurm.
    """
    slurm = ", what Slurm says of it below logs/slurm/" if submits else ""
    return (
        "A job's own log is named in its error above and lies below logs/"
        f"{slurm}; `python -m workflow_scripts.status` shows how far each run is, every start's "
        "log and its last lines.\n"
        "`make resume`, or the same command, goes on: what is done stays done, and training goes "
        "on from its last checkpoint."
    )


def notes() -> list[tuple[Path, dict[str, Any]]]:
    """The notes of drivers that run or did not end well in this folder, the oldest first."""
    found = [(path, read_json(path)) for path in NOTES.glob("[!.]*.json")]
    return sorted(found, key=lambda pair: float(pair[1]["noted"]))


def lives(note: dict[str, Any]) -> bool:
    """Whether a driver's process still runs on this host (a reused number does not count)."""
    try:
        process = psutil.Process(note["pid"])
        same = abs(process.create_time() - note["created"]) < 1.0
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def command(*arguments: str) -> list[str]:
    """A snakemake command of this Python."""
    return [sys.executable, "-m", "snakemake", *arguments]
