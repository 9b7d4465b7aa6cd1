"""Programs called as Slurm's that note what they are asked and have every job done at once."""

import json
import os
import re
import shlex
from dataclasses import dataclass
from pathlib import Path

from tests.workspace import Workspace
from workflow_scripts.planned import planned_jobs

PROGRAMS = {
    # Snakemake removes a job's outputs before it is submitted; here they are back at once.
    "sbatch": "exec 9< {calls}; flock 9; cp -rn {made}/. .\n"
    'printf "%q " "$@" >> {calls}; echo >> {calls}; wc -l < {calls}',
    "sacct": 'seq "$(wc -l < {calls})" | sed "s/$/|COMPLETED/"',
    "sacctmgr": "printf '{accounts}'",
    "scontrol": 'case "$*" in *partition*) cat {partitions};; *) echo "MaxArraySize = 1001";; esac',
    "squeue": ":",
    "sinfo": ":",
    "scancel": ":",
}


@dataclass(frozen=True)
class Line:
    """A call of sbatch: the rule it is for, and its words."""

    rule: str
    wildcards: str
    words: tuple[str, ...]

    def option(self, name: str) -> str | None:
        """The value of `--name=value` or `-n value`; None if it is not there."""
        for word, after in zip(self.words, (*self.words[1:], ""), strict=True):
            if word == name:
                return after
            if word.startswith(f"{name}="):
                return word.removeprefix(f"{name}=")
        return None


class InstantSlurm:
    """The programs, in a folder of their own."""

    def __init__(self, folder: Path, *, accounts: tuple[str, ...], partitions: str = "") -> None:
        self.folder, self.made = folder / "programs", folder / "made"
        self.calls = folder / "calls"
        table = folder / "partitions"
        for place in (self.folder, self.made):
            place.mkdir(parents=True, exist_ok=True)
        self.calls.touch()
        table.write_text(partitions)
        places = {"calls": self.calls, "made": self.made, "partitions": table}
        for name, body in PROGRAMS.items():
            program = self.folder / name
            lines = "".join(f"{account}\\n" for account in accounts)
            program.write_text("#!/bin/bash\n" + body.format(**places, accounts=lines) + "\n")
            program.chmod(0o755)

    def environment(self, **own: str) -> list[str]:
        """The beginning of a command line that finds these programs."""
        path = f"PATH={self.folder}{os.pathsep}{os.environ['PATH']}"
        return ["env", path, *(f"{name}={value}" for name, value in own.items())]

    def prepare(self, plan: str, *, over: tuple[str, ...] = ()) -> None:
        """Make what every job of a plan (the output of `snakemake -n`) would.

        Args:
            plan: What Snakemake printed.
            over: Segments that end their run; all others are cut by their walltime.
        """
        records = re.findall(r"^    benchmark: (.*)$", plan, flags=re.M)
        for name in [*records, *(name for job in planned_jobs(plan) for name in job.outputs)]:
            path = self.made / name
            path.parent.mkdir(parents=True, exist_ok=True)
            reason = "done" if name in over else "walltime"
            path.write_text(json.dumps({"reason": reason, "content": ""}))

    def lines(self) -> list[Line]:
        """The calls of sbatch so far."""
        return [_line(shlex.split(call)) for call in self.calls.read_text().splitlines()]


def _line(words: list[str]) -> Line:
    comment = words[words.index("--comment") + 1]
    rule, _, wildcards = comment.removeprefix("rule_").partition("_wildcards_")
    return Line(rule, wildcards, tuple(words))


def drive(
    workspace: Workspace,
    slurm: InstantSlurm,
    *words: str,
    over: tuple[str, ...] = (),
    pinned_to: str | None = None,
    **own: str,
) -> str:
    """A plan, then the same command with the jobs submitted; what both printed.

    Args:
        workspace: Where.
        slurm: The programs.
        words: Options and targets of Snakemake, the profile among them.
        over: As of `InstantSlurm.prepare`.
        pinned_to: The only core that the driver may use.
        own: Variables of the environment.
    """
    core = ["taskset", "-c", pinned_to] if pinned_to else []
    start = [*slurm.environment(**own), "timeout", "-k", "10", "900", *core, "snakemake", *words]
    plan = workspace.run(*start, "-n", "-p")
    slurm.prepare(plan.stdout + plan.stderr, over=over)
    quick = ["--slurm-init-seconds-before-status-checks", "1", "--latency-wait", "1"]
    quick += ["--max-status-checks-per-second", "9"]
    done = workspace.run(*start, *quick)
    return plan.stdout + plan.stderr + done.stdout + done.stderr
