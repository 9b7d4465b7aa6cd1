"""The Snakemake process that drives a run: what it refuses, and what it leaves for resume."""

import os
import re
import socket
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from workflow_scripts.files import read_json, write_json
from workflow_scripts.jobs import Jobs
from workflow_scripts.staleness import refuse_unrecorded

NOTES = Path(".snakemake/orbweaver-drivers")  # one file a driver
CONFIG_VARIABLE = "ORBWEAVER_CONFIG"  # the merged configuration as JSON, set for every job
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


def only_plans(argv: Sequence[str] = tuple(sys.argv)) -> bool:
    """Whether the command line is that of a dry run (`-n`, also among other letters: `-np`)."""
    return any(re.fullmatch(r"-[a-zA-Z]*n[a-zA-Z]*|--dry-?run", word) for word in argv[1:])


def prepare_jobs(config_json: str) -> None:
    """Let every job find this package, from any folder, and know the merged configuration.

    The configuration is for the jobs that ask Snakemake itself (`stale`, `dag`).
    """
    root = str(Path(__file__).resolve().parent.parent)
    paths = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(filter(None, [root, *paths])))
    os.environ[CONFIG_VARIABLE] = config_json


def note_start() -> None:
    """Leave a note for `make resume`: who drives, since when, with which command."""
    if not QUESTIONS & set(sys.argv):
        process = psutil.Process()
        note = {
            "pid": process.pid,
            "created": process.create_time(),
            "host": socket.gethostname(),
            "arguments": sys.argv[1:],
            "noted": time.time(),
        }
        write_json(NOTES / f"{note['host']}-{process.pid}.json", note)


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


def command(*arguments: str) -> list[str]:
    """A snakemake command of this Python."""
    return [sys.executable, "-m", "snakemake", *arguments]
