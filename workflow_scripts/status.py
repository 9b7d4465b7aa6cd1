"""Tables of the runs and of Slurm's jobs: how far each run is, how fast, and what it costs.

python -m workflow_scripts.status [--results results] [--json]

Below them, why each run that failed or died did: the last lines of its log.
"""

import argparse
import json
import shlex
import socket
import sys
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from workflow_scripts import slurm
from workflow_scripts.driver_notes import lives, notes
from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.earlier import in_words, told
from workflow_scripts.run_state import RunState, latest_checkpoints, run_states
from workflow_scripts.survivors import measured

_COLUMNS = (
    "run", "state", "seg", "step", "img/s", "wait", "MFU", "loss", "left", "nodes", "node-h",
    "to go", "seen",
)  # fmt: skip
_JOB_COLUMNS = ("job", "state", "rule", "nodes", "when")
_MOST_JOBS, _LOG_LINES = 40, 10
_PATIENCE_SECONDS = 10.0  # with Slurm's commands: this is to be looked at now and then


def row(one: RunState) -> tuple[str, ...]:
    """A run's line."""
    return (
        one.run,
        one.state,
        _number(one.segment, "d"),
        "–" if one.step is None else f"{one.step}/{one.total_steps}",
        _number(one.images_per_s, ".0f"),
        _number(one.data_wait, ".0%"),
        _number(one.mfu, ".0%"),
        _number(one.loss, ".4f"),
        _duration(one.seconds_left),
        _number(one.nodes, "d"),
        _number(one.node_hours or None, ".1f"),
        _number(one.node_hours_left or None, ".1f"),
        "–" if one.updated is None else _age(datetime.fromisoformat(one.updated)),
    )


def job_row(job: slurm.Job) -> tuple[str, ...]:
    """A job's line."""
    if job.waits:
        expected = f", expected {_when(job.start)}" if job.start else ""
        when = f"since {_when(job.submitted)} ({job.reason}){expected}"
    else:
        when = f"began {_when(job.start)}, ends by {_when(job.end)}"
    return (job.number, job.state.lower(), job.title, _number(job.nodes, "d"), when)


def _when(time: datetime | None) -> str:
    return "at a time unknown" if time is None else f"{time:%d %b %H:%M}"


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _duration(seconds: float | None) -> str:
    """`1:02:05`, or from two days on `3 d 4 h`."""
    if not seconds:
        return "–"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minutes:02d}:{rest:02d}"


def _age(time: datetime) -> str:
    """How long ago, in its largest unit: `42 s`, `3 min`, `5 h`, `2 d`."""
    seconds = max(0.0, (datetime.now(UTC) - time).total_seconds())
    for unit, name in ((86400, "d"), (3600, "h"), (60, "min")):
        if seconds >= unit:
            return f"{seconds // unit:.0f} {name}"
    return f"{seconds:.0f} s"


def table(columns: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Columns set under each other."""
    lines = [columns, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(columns))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def anew(folder: Path) -> list[str]:
    """What a run's line does not say: that it began anew beside checkpoints of other digests."""
    place = latest_checkpoints(folder)
    if place is None or (folder / "summary.json").is_file():
        return []
    return [f"{folder.name} began anew beside checkpoint {in_words(row)}" for row in told(place)]


def drivers() -> list[str]:
    """Who drives in this folder, or did and has not ended well."""
    lines = []
    for path, note in notes():
        forget = ""
        if note["host"] != socket.gethostname():
            state = f"driver on {note['host']} (whether it lives is known there)"
        elif lives(note):
            state = "driver"
        else:
            state = "driver that ended before its work was done"
            forget = f" (to forget it: rm {path})"
        words = shlex.join(note["arguments"])
        lines.append(f"{state}: process {note['pid']}, snakemake {words}{forget}")
    return lines


def why(failed: Sequence[RunState]) -> list[str]:
    """The last lines of the logs of runs that failed or died, and what Slurm says of their jobs."""
    jobs = [one.job for one in failed if one.job]
    ends = slurm.ends(jobs, limit_s=_PATIENCE_SECONDS)
    lines = []
    for one in failed:
        if one.log is not None:
            job = f" (job {one.job}: {ends.get(one.job, 'end unknown')})" if one.job else ""
            lines += [
                "",
                f"{one.run} {one.state}{job}; the end of {one.log}:",
                *_tail(Path(one.log)),
            ]
    return lines


def _tail(log: Path) -> list[str]:
    if not log.is_file():
        return ["  it is not there"]
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 1000 * _LOG_LINES))
        text = file.read().decode(errors="replace")
    return [f"  {line}" for line in text.splitlines()[-_LOG_LINES:]] or ["  it is empty"]


def page(runs: Path, states: list[RunState], jobs: list[slurm.Job] | None) -> str:
    """All that is shown of the runs below a folder, and of Slurm's jobs."""
    lines = [table(_COLUMNS, [row(one) for one in states])] if states else []
    lines = lines or [f"no run below {runs} yet"]
    used = sum(one.node_hours for one in states)
    left = sum(one.node_hours_left or 0.0 for one in states)
    if used >= 0.05:
        lines += ["", f"{used:.1f} node-hours used, {left:.1f} to go in the runs that have begun"]
    if jobs:
        more = [f"and {len(jobs) - _MOST_JOBS} more"] if len(jobs) > _MOST_JOBS else []
        lines += ["", table(_JOB_COLUMNS, [job_row(job) for job in jobs[:_MOST_JOBS]]), *more]
    elif jobs is None and slurm.there("squeue"):
        lines += ["", "squeue does not answer: which jobs are queued is not known"]
    notes = [one.trouble for one in states if one.trouble]
    notes += [line for one in states if not one.trouble for line in anew(runs / one.run)]
    notes += drivers()
    notes += [
        f"point {' '.join(names)} is being measured by {who}"
        for names, who in measured(runs.parent / "scaling").items()
    ]
    return "\n".join([*lines, *([""] if notes else []), *notes, *why(states)]) + "\n"


def _json(states: list[RunState], jobs: list[slurm.Job] | None) -> str:
    queue = None if jobs is None else [asdict(job) for job in jobs]
    found = {"runs": [asdict(one) for one in states], "jobs": queue}
    return json.dumps(found, indent=1, default=str) + "\n"


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        prog="python -m workflow_scripts.status", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    parser.add_argument("--results", type=Path, default=Path("results"), help="paths.results")
    parser.add_argument("--json", action="store_true", help="runs and jobs for other programs")
    options = parser.parse_args()
    runs = options.results / "runs"
    jobs = slurm.jobs(Path.cwd(), limit_s=_PATIENCE_SECONDS)
    states = run_states(runs, jobs or [])
    try:
        text = _json(states, jobs) if options.json else page(runs, states, jobs)
    except UserError as error:
        sys.exit(str(error))
    sys.stdout.write(text)


if __name__ == "__main__":
    main()
