"""The notes that drivers leave: who drives in this folder, with which command, and does it live?"""

import os
import shlex
import socket
import sys
import time
from pathlib import Path
from typing import Any

import psutil

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json

NOTES = Path(".snakemake/orbweaver-drivers")  # one file a driver
QUESTIONS = frozenset({"stale", "dag", "relist"})  # targets that only ask


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


def how_to_stop(note: dict[str, Any]) -> str:
    """The two ways to stop a driver; SIGTERM is none, it would first wait for all its jobs."""
    pid = note["pid"]
    return (
        f"stop it with `kill -INT {pid}`, which cancels its jobs (each saves a checkpoint), or "
        f"with `kill -KILL {pid}`, which leaves them running"
    )


def refuse_unlock() -> None:
    """Refuse to unlock the folder of a driver that works in it.

    Raises:
        UserError: Names it. Its own `make resume` may unlock, having looked.
    """
    for _, note in notes():
        here = note["host"] == socket.gethostname()
        if here and note["pid"] not in (os.getpid(), os.getppid()) and lives(note):
            raise UserError(
                f"the folder is locked by a driver that still runs (process {note['pid']}: "
                f"snakemake {shlex.join(note['arguments'])}): let it work, or {how_to_stop(note)}; "
                "then `make resume`"
            )
