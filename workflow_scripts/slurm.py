"""What Slurm knows: the only home of its commands (squeue, sacct, sacctmgr, scontrol)."""

import getpass
import os
import re
import subprocess
from dataclasses import dataclass

from workflow_scripts.logs import log

_LIMIT_SECONDS = 30.0
# A user's own formats and filters would change what the commands print.
_FORMATS = re.compile(r"SQUEUE_|SACCT_|SACCTMGR_|SLURM_TIME_FORMAT$")
_TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)")


def ask(program: str, *arguments: str, limit_s: float = _LIMIT_SECONDS) -> str | None:
    """Run one of Slurm's commands.

    Args:
        program: Its name.
        arguments: Its arguments.
        limit_s: Give up after so many seconds.

    Returns:
        What it printed; None if it is not there, does not answer in time or fails.
    """
    environment = {name: value for name, value in os.environ.items() if not _FORMATS.match(name)}
    try:
        done = subprocess.run(
            [program, *arguments], env=environment, stdin=subprocess.DEVNULL, capture_output=True,
            text=True, timeout=limit_s, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        log.debug("%s: %s", program, error)
        return None
    if done.returncode:
        log.debug("%s: %s", program, done.stderr.strip())
        return None
    return done.stdout


def job() -> str | None:
    """The number of the batch job that this process is part of; None outside one."""
    return os.environ.get("SLURM_JOB_ID") or None


def accounts() -> list[str]:
    """Accounts that this user may submit jobs with; none if the accounting does not tell."""
    user = f"user={getpass.getuser()}"
    printed = ask("sacctmgr", "-n", "-P", "show", "associations", user, "format=account")
    return sorted({line.strip() for line in (printed or "").splitlines()} - {""})


@dataclass(frozen=True, kw_only=True)
class Partition:
    """What a partition allows.

    Attributes:
        nodes: The most that a job gets.
        minutes: The longest time limit of a job; None: any.
    """

    nodes: int
    minutes: int | None


def partitions() -> dict[str, Partition]:
    """The partitions of this site by name; none if Slurm is not here or does not answer."""
    printed = ask("scontrol", "--all", "--oneliner", "show", "partition")
    found = {}
    for line in (printed or "").splitlines():
        fields = dict(word.split("=", 1) for word in line.split() if "=" in word)
        total, most = fields.get("TotalNodes", ""), fields.get("MaxNodes", "")
        if total.isdigit():
            nodes = min(int(total), int(most)) if most.isdigit() else int(total)
            time = _TIME.fullmatch(fields.get("MaxTime", ""))
            found[fields["PartitionName"]] = Partition(nodes=nodes, minutes=_minutes(time))
    return found


def _minutes(time: re.Match[str] | None) -> int | None:
    """Whole minutes of Slurm's `[days-]hours:minutes:seconds`; None for UNLIMITED."""
    if time is None:
        return None
    return int(time["d"] or 0) * 1440 + int(time["h"]) * 60 + int(time["m"])
