"""Jobs that outlived their driver: found, refused or waited for, never doubled.

Three things tell of them. Slurm knows the jobs, queued ones too, that drivers in this work folder
submitted. The lock of a run tells that a trainer works on it, on whatever host, with Slurm or
without; that of a point, that it is measured. And a driver that was killed while it submitted
leaves an sbatch behind for a moment.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts import slurm
from workflow_scripts.errors import UserError
from workflow_scripts.files import holder
from workflow_scripts.logs import log

Named = tuple[str, tuple[str, ...]]  # a rule and the values of its wildcards

_FIRST_PAUSE, _LONGEST_PAUSE = 2.0, 60.0  # seconds between two looks
_REPEAT_SECONDS = 900.0
_SEGMENT = re.compile(r"(rule_pretrain_wildcards_.*)_\d+")


@dataclass(frozen=True, kw_only=True)
class Survivor:
    """One of them.

    Attributes:
        text: Who it is and since when, for a message.
        stop: What ends it.
        work: The job that it does, as the plugin comments jobs, of a run whatever its segment;
            None where that cannot be told.
    """

    text: str
    stop: str
    work: str | None


def trainers(runs: Path) -> dict[str, str]:
    """Runs that are being trained now, each with the process, host and job that does it.

    Args:
        runs: The folder of all runs.
    """
    locks = sorted(runs.glob("*/.run.json.lock"))
    held = ((lock.parent.name, holder(lock.parent / "run.json")) for lock in locks)
    return {run: who for run, who in held if who is not None}


def measured(studies: Path) -> dict[tuple[str, str], str]:
    """Points (study, point) that are being measured now, each with the process that does it.

    Args:
        studies: The folder of all studies.
    """
    locks = sorted(studies.glob("*/.*.json.lock"))
    points = [lock.with_name(lock.name[1:].removesuffix(".lock")) for lock in locks]
    held = (((point.parent.name, point.stem), holder(point)) for point in points)
    return {names: who for names, who in held if who is not None}


def refuse_doubles(
    jobs: Iterable[Named], needed: Iterable[Named], *, folder: Path, runs: Path, submits: bool
) -> None:
    """Refuse to start a driver while jobs of its own graph are queued or running.

    Nothing of this driver runs yet, so whatever is found belongs to an earlier one. A driver of
    other targets in the same folder is not in the way: its jobs are not in this graph.

    Args:
        jobs: All jobs of the graph: one that is done already would be made again under its readers.
        needed: Those that are to run.
        folder: Where the driver was started, and its jobs are.
        runs: The folder of all runs.
        submits: Whether this driver submits jobs to Slurm.

    Raises:
        UserError: Names them and what to do; or Slurm, which is needed, does not answer.
    """
    planned = {_work(_comment(job)) for job in jobs}
    trained = {_work(_comment(job)) for job in needed}
    found = [
        one for one in _queued(folder, submits=submits) if one.work is None or one.work in planned
    ]
    found += [one for one in _working(runs, found) if one.work in trained]
    if found:
        raise UserError(
            "jobs of an earlier driver have not ended and would be doubled:\n"
            f"{_listed(found)}\n"
            f"`make resume` waits for them and goes on. {_to_stop(found)}"
        )


def wait_for_all(runs: Path, *, submitted: bool) -> None:
    """Return when nothing of earlier drivers is queued or running; meanwhile say what is.

    Args:
        runs: The folder of all runs.
        submitted: Whether the earlier driver submitted jobs to Slurm, which then has to answer.
    """
    told, said, pause = "", 0.0, _FIRST_PAUSE
    while True:
        try:
            found = _queued(Path.cwd(), submits=submitted)
            found += _working(runs, found)
            text = f"waiting for jobs of an earlier driver:\n{_listed(found)}\n{_to_stop(found)}"
        except UserError as error:
            found, text = None, f"asking again until it does: {error}"
        if found == []:
            return
        if text != told or time.monotonic() - said > _REPEAT_SECONDS:
            told, said = text, time.monotonic()
            log.info("%s", text)
        time.sleep(pause)
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _queued(folder: Path, *, submits: bool) -> list[Survivor]:
    """Jobs that Slurm has, and submissions on their way to it."""
    found = [
        Survivor(
            text=f"process {number} on this host is submitting a job", stop=f"`kill {number}`",
            work=None,
        )
        for number in slurm.submitting(folder)
    ]  # fmt: skip
    jobs = slurm.jobs(folder)
    if jobs is None and submits:
        raise UserError(
            "squeue is not on this host or does not answer, so that it cannot be seen which jobs "
            "are queued or running; try `squeue --me`, and start again when it lists your jobs"
        )
    for job in jobs or []:
        since = job.submitted if job.waits else job.start
        reason = f", {job.reason}" if job.waits else ""
        text = f"job {job.number}, {job.title}: {job.state} since {since or 'unknown'}{reason}"
        found.append(Survivor(text=text, stop=f"scancel {job.number}", work=_work(job.comment)))
    return found


def _working(runs: Path, queued: list[Survivor]) -> list[Survivor]:
    """Who holds the lock of a run or of a point, less the jobs found already."""
    held = [
        (("pretrain", (run, "0")), f"run {run}: trained by", who)
        for run, who in trainers(runs).items()
    ]
    held += [
        (("point", names), f"point {' '.join(names)}: measured by", who)
        for names, who in measured(runs.parent / "scaling").items()
    ]
    known = {one.stop for one in queued}
    return [
        Survivor(text=f"{text} {who}", stop=stop, work=_work(_comment(job)))
        for job, text, who in held
        if (stop := _stop(who)) not in known
    ]


def _stop(who: str) -> str:
    """The command that ends who holds a lock."""
    job = re.search(r", job (\S+)$", who)
    if job:
        return f"scancel {job[1]}"
    process = re.match(r"process (\d+) on (\S+)", who)
    return f"`kill {process[1]}` on {process[2]}" if process else "end it"


def _comment(job: Named) -> str:
    """What the Slurm plugin writes about a job."""
    rule, values = job
    return f"rule_{rule}" + (f"_wildcards_{'_'.join(values)}".replace("/", "_") if values else "")


def _work(comment: str) -> str:
    """The job that a comment tells of; of a run, whatever its segment: two would use its files."""
    segment = _SEGMENT.fullmatch(comment)
    return segment[1] if segment else comment


def _listed(found: list[Survivor]) -> str:
    return "\n".join(f"  {one.text}" for one in found)


def _to_stop(found: list[Survivor]) -> str:
    """How not to wait: one scancel for all jobs, and what else is to be ended."""
    jobs = [one.stop.removeprefix("scancel ") for one in found if one.stop.startswith("scancel ")]
    others = [one.stop for one in found if not one.stop.startswith("scancel ")]
    commands = ([f"`scancel {' '.join(jobs)}`"] if jobs else []) + others
    return f"To go on at once, from the last checkpoints: {', '.join(commands)}"
