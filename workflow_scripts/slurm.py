"""What Slurm knows of our jobs: the only home of its commands (squeue, sacct, scontrol, …)."""

import getpass
import os
import re
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import psutil

from workflow_scripts.logs import log

JOBS_VARIABLE = "ORBWEAVER_ON_SLURM"  # set for the jobs of a Slurm profile
_LIMIT_SECONDS = 30.0
_NO_NUMBER = 2**63  # Slurm's marks for "none" and "infinite" lie just below 2^64
_LONGEST_ENDING = timedelta(minutes=5)
_COMMENT = re.compile(r"rule_(?P<rule>.+?)(?:_wildcards_(?P<wildcards>.*))?")
# The comment may hold anything, so it comes last.
_FORMAT = "|".join(("%i", "%T", "%D", "%V", "%S", "%e", "%r", "%Z", "%k"))
# A user's own formats and filters would change what the commands print.
_FORMATS = re.compile(r"SQUEUE_|SACCT_|SACCTMGR_|SLURM_TIME_FORMAT$")
_TIME = re.compile(r"(?:(?P<d>\d+)-)?(?P<h>\d+):(?P<m>\d+):(?P<s>\d+)")


def there(program: str) -> bool:
    """Whether this host has one of Slurm's commands."""
    return shutil.which(program) is not None


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


def answers() -> bool:
    """Whether Slurm's controller answers, without which no job can be submitted."""
    return ask("squeue", "--me", "--noheader", "-o", "%i") is not None


@dataclass(frozen=True, kw_only=True)
class Job:
    """A job that Slurm has not yet done with, submitted by a driver of this workflow.

    Attributes:
        number: Its id.
        state: `PENDING`, `RUNNING`, `COMPLETING`, …
        nodes: As many as it has or asks for; None where Slurm tells a range.
        submitted: When, in the site's local time.
        start: When it began or is expected to; None if Slurm does not tell.
        end: When it ended or has to end; None if Slurm does not tell.
        reason: Why it waits.
        comment: What the plugin wrote: `rule_<name>_wildcards_<their values>`.
    """

    number: str
    state: str
    nodes: int | None
    submitted: datetime | None
    start: datetime | None
    end: datetime | None
    reason: str
    comment: str

    @property
    def rule(self) -> str:
        """The rule's name."""
        return self._part("rule")

    @property
    def wildcards(self) -> str:
        """The values of its wildcards, joined by underscores."""
        return self._part("wildcards")

    @property
    def title(self) -> str:
        """`pretrain scenes-mae_2`."""
        return f"{self.rule} {self.wildcards}".strip()

    @property
    def waits(self) -> bool:
        """Whether it has no nodes yet."""
        return self.state == "PENDING"

    @property
    def has_nodes(self) -> bool:
        """Whether it works on its nodes, or they are being made ready."""
        return self.state not in ("PENDING", "COMPLETING")

    def _part(self, name: str) -> str:
        match = _COMMENT.fullmatch(self.comment)
        return (match[name] if match else None) or ""


def jobs(folder: Path, *, limit_s: float = _LIMIT_SECONDS) -> list[Job] | None:
    """This user's queued and running jobs that drivers in a work folder submitted.

    Args:
        folder: The work folder: the plugin has every job start there.
        limit_s: Give up after so many seconds.

    Returns:
        The jobs, the oldest first; None if squeue is not there or does not answer. A job that is
        ending is left out after five minutes: on a broken node that can take hours.
    """
    printed = ask("squeue", "--me", "--noheader", "--noconvert", "-o", _FORMAT, limit_s=limit_s)
    if printed is None:
        return None
    found, real = [], os.path.realpath(folder)
    for line in printed.splitlines():
        number, state, nodes, submitted, start, end, reason, place, comment = line.split("|", 8)
        job = Job(
            number=number.strip(), state=state, nodes=int(nodes) if nodes.isdigit() else None,
            submitted=_time(submitted), start=_time(start), end=_time(end), reason=reason,
            comment=comment,
        )  # fmt: skip
        ending = state == "COMPLETING" and job.end is not None
        lingers = ending and datetime.now() - (job.end or datetime.now()) > _LONGEST_ENDING
        if job.rule and not lingers and os.path.realpath(place) == real:
            found.append(job)
    return sorted(found, key=lambda job: (len(job.number), job.number))


def _time(text: str) -> datetime | None:
    try:
        return datetime.fromisoformat(text)
    except ValueError:  # N/A, Unknown
        return None


def ends(numbers: list[str], *, limit_s: float = _LIMIT_SECONDS) -> dict[str, str]:
    """How jobs ended, from the accounting: `NODE_FAIL`, `OUT_OF_MEMORY`, `CANCELLED by 1001`.

    Args:
        numbers: Their ids.
        limit_s: Give up after so many seconds.

    Returns:
        By id; a job that the accounting does not know, or all if it does not answer, is left out.
    """
    if not numbers:
        return {}
    printed = ask(
        "sacct", "-X", "-n", "-P", "-o", "JobID,State", "-j", ",".join(numbers), limit_s=limit_s
    )
    return dict(line.split("|", 1) for line in (printed or "").splitlines() if "|" in line)


def consumed_joules(steps: Sequence[str], *, limit_s: float = _LIMIT_SECONDS) -> dict[str, float]:
    """Energy of the nodes of steps that are over, from the accounting (`ConsumedEnergyRaw`).

    Args:
        steps: As `4711.0`.
        limit_s: Give up after so many seconds.

    Returns:
        Joules by step. Left out: a step that the accounting does not know, or for which it has
        nothing, 0 (a site that gathers no energy) or its mark for a number that is not there.
    """
    if not steps:
        return {}
    printed = ask(
        "sacct", "-n", "-P", "-o", "JobID,ConsumedEnergyRaw", "-j", ",".join(steps),
        limit_s=limit_s,
    )  # fmt: skip
    rows = [line.split("|", 1) for line in (printed or "").splitlines() if "|" in line]
    return {
        step: float(joules)
        for step, joules in rows
        if step in steps and joules.isdecimal() and 0 < int(joules) < _NO_NUMBER
    }


def submitting(folder: Path) -> list[int]:
    """Processes of this host that are just submitting a job for a work folder.

    sbatch outlives a driver that is killed, by a moment or, where Slurm is slow, by a minute.
    """
    real = os.path.realpath(folder)
    return [p.pid for p in psutil.process_iter(["name", "cwd"]) if _submits(p.info, real)]


def _submits(process: dict[str, Any], folder: str) -> bool:
    return process["name"] == "sbatch" and process["cwd"] == folder


# --- the site ------------------------------------------------------------------------------------


def is_job() -> bool:
    """Whether a driver with a Slurm profile started this process; such jobs download nothing.

    Other batch jobs may: fetching on a transfer node is one.
    """
    return bool(os.environ.get(JOBS_VARIABLE))


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
