"""How a point that was not measured ended: a result of the study, or nothing to keep.

A result is what would happen again: the model does not fit, a step fails, the time is up. It is
written as a point with that status. No result is a mistake in the configuration or the data, and
what befell the machine: no index, a damaged shard, ranks that never met, a full disk, an
environment that cannot be loaded, a job that was cancelled or preempted. There the rule fails, and
the next start tries the point again.

A rank that knows why it ends writes it to the log in a form that is found again (`say`). What ends
a process without a word is read from its exit status and from what the launcher says.
"""

import errno
import re
import traceback
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.scaling.words import FAILED, OUT_OF_MEMORY, TIMEOUT

TIMEOUT_STATUS = 124  # as timeout(1) has it
NO_RESULT = "no_result"
_MARK = re.compile(r"POINT ENDED ([a-z_]+): (.*)")
_FIRST = (NO_RESULT, OUT_OF_MEMORY, TIMEOUT, FAILED)  # of what several ranks say, this counts first
_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
_LONGEST = 300  # characters of an error
_MOST_READ = 2**20  # of the log's end, bytes

# Memory of a device or of the host: torch's own error, the runtime's and the collectives' (`HIP
# error: out of memory`), BLAS's, the host allocator's, Linux's.
_NO_MEMORY = re.compile(
    r"OutOfMemoryError|out of memory|STATUS_ALLOC_FAILED|(?:can't|cannot) allocate memory",
    re.IGNORECASE,
)
# What launchers, batch systems and kernels say of processes that could not say it themselves.
_KILLED_FOR_MEMORY = re.compile(r"oom[-_ ]?kill|out[ _]of[ _]memory(?!, perhaps)", re.IGNORECASE)
_TIME_IS_UP = re.compile(r"DUE TO TIME LIMIT")
_CANCELLED = re.compile(r"CANCELLED AT|PREEMPTION|NODE FAILURE|was ended by SIG(TERM|INT|HUP)")
_TASK_FAILED = re.compile(r"DUE to TASK FAILURE", re.IGNORECASE)
_ENDED_BY_SIGNAL = re.compile(
    r"was ended by SIG(?:KILL|SEGV|ABRT|BUS|FPE|ILL)|\btasks?\b.*: (?:Killed|Aborted|Bus error|"
    r"Segmentation fault|Illegal instruction|Floating point exception)"
)
_SIGNALS = {128 + number for number in (4, 6, 7, 8, 9, 11)}  # ILL, ABRT, BUS, FPE, KILL, SEGV
_STAMP = re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d [A-Z]+ ")  # of our own log
_PATHS = re.compile(r"(?<![\w/])/(?:[^\s/:'\"]+/)+")
# Hosts in what Slurm and we say, and addresses in what gloo and NCCL say.
_HOSTS = re.compile(
    r"(?<=error: )[\w.-]+: (?=tasks? )| ON [\w.-]+(?= CANCELLED)| on [\w.-]+(?=\) was ended)|"
    r"\[(?:\d+\.){3}\d+\](?::\d+)?|\b(?:\d+\.){3}\d+:\d+"
)
_SECRETS = re.compile(
    r"(?i)\b(\w*(?:token|secret|password|passwd|api_?key|authorization)\w*\s*[=:]\s*)\S+"
)


@dataclass(frozen=True, kw_only=True)
class Ending:
    """Why a point has no measurement: a status of points, or `NO_RESULT`; and a line of text."""

    status: str
    error: str


def of_exception(error: BaseException) -> Ending:
    """What an exception in a rank means for its point."""
    text = one_line(f"{error}" or type(error).__name__)
    if isinstance(error, UserError | ImportError):
        return Ending(status=NO_RESULT, error=text)
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return Ending(status=NO_RESULT, error=text)
    if isinstance(error, MemoryError) or _NO_MEMORY.search(f"{type(error).__name__} {error}"):
        return Ending(status=OUT_OF_MEMORY, error=text)
    return Ending(status=FAILED, error=one_line(f"{type(error).__name__}: {error}"))


def say(ending: Ending) -> None:
    """Tell `of_log` how this rank ends."""
    log.error("POINT ENDED %s: %s", ending.status, ending.error)


def say_exception(error: BaseException) -> None:
    """Tell how this rank ends, and where in the code that was."""
    ending = of_exception(error)
    if ending.status not in (NO_RESULT, OUT_OF_MEMORY):
        log.error("%s", "".join(traceback.format_exception(error)).rstrip())
    say(ending)


def of_log(status: int, text: str) -> Ending:
    """How a job ended whose command failed.

    Args:
        status: Its exit status, as the shell has it: 128 + the number of a signal.
        text: What all of its ranks and their launcher wrote.
    """
    said = [Ending(status=found[1], error=found[2].strip()) for found in _MARK.finditer(text)]
    for kind in _FIRST:
        for ending in said:
            if ending.status == kind:
                return ending
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    if told := _last(lines, _TIME_IS_UP):
        return Ending(status=TIMEOUT, error=told)
    if told := _last(lines, _KILLED_FOR_MEMORY):
        return Ending(status=OUT_OF_MEMORY, error=told)
    cancelled = [
        line for line in lines if _CANCELLED.search(line) and not _TASK_FAILED.search(line)
    ]
    by_signal = _last(lines, _ENDED_BY_SIGNAL)
    if by_signal and not cancelled:
        return Ending(status=FAILED, error=by_signal.partition("; the other ranks")[0])
    if status in _SIGNALS and not cancelled:
        return Ending(status=FAILED, error=f"ended by signal {status - 128}")
    last = one_line(lines[-1]) if lines else "the log is empty"
    return Ending(status=NO_RESULT, error=f"exit status {status}: {last}")


def _last(lines: list[str], pattern: re.Pattern[str]) -> str | None:
    """The last line that says so."""
    return next((one_line(line) for line in reversed(lines) if pattern.search(line)), None)


def end_of(path: Path) -> str:
    """The end of a log; empty if it is not there."""
    if not path.is_file():
        return ""
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _MOST_READ))
        return file.read().decode("utf-8", errors="replace")


def one_line(text: str) -> str:
    """The first line of a message, without time, folders and hosts of the machine, and secrets."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    line = _STAMP.sub("", line)
    line = _HOSTS.sub("", _PATHS.sub("", _SECRETS.sub(r"\1…", line)))
    return line if len(line) <= _LONGEST else f"{line[: _LONGEST - 1]}…"
