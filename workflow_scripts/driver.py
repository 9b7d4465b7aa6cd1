"""The Snakemake process that drives a run: what it refuses, and what its jobs need to know."""

import os
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from workflow_scripts.driver_notes import refuse_unlock
from workflow_scripts.jobs import Jobs
from workflow_scripts.run_state import run_states
from workflow_scripts.staleness import keep_measured, refuse_unrecorded

CONFIG_VARIABLE = "ORBWEAVER_CONFIG"  # the merged configuration as JSON, set for every job
_HARMLESS = frozenset(
    {"--unlock", "--lint", "--touch", "-t", "--forceall", "-F", "--cleanup-metadata"}
)


def guard(jobs: Jobs, argv: Sequence[str] = tuple(sys.argv)) -> None:
    """Refuse to start on unrecorded results of another configuration or other code.

    And to unlock the folder under a driver, as Snakemake proposes to whoever starts a second one.
    Points that outlived their driver are kept.

    Raises:
        UserError: Says which, and the command that makes them again.
    """
    if "--unlock" in argv:
        refuse_unlock()
    if not _HARMLESS & set(argv):
        keep_measured(jobs.stamped())
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


def where_to_look(*, runs: Path, submits: bool) -> str:
    """What to read and to do after jobs failed.

    Args:
        runs: The folder of all runs.
        submits: Whether the driver submits jobs to Slurm.
    """
    states = run_states(runs, [], settled=True)
    lines = [f"Run {one.run} {one.state}; its log: {one.log}" for one in states if one.log]
    slurm = ", what Slurm says of it below logs/slurm/" if submits else ""
    return "\n".join(
        [
            *lines,
            f"A job's own log is named in its error above and lies below logs/{slurm}; "
            "`python -m workflow_scripts.status` shows how far each run is and why it failed.",
            "`make resume`, or the same command, goes on: what is done stays done, and training "
            "goes on from its last checkpoint.",
        ]
    )


def command(*arguments: str) -> list[str]:
    """A snakemake command of this Python."""
    return [sys.executable, "-m", "snakemake", *arguments]
