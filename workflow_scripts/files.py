"""Whole files or none, and one writer at a time.

A result is written under a temporary name beside its place, flushed to the disk and renamed, so
that a file that exists is whole. A stage holds the lock of its main output while it works, so that
a job whose driver died and the job of the next driver never write the same thing together.
"""

import errno
import fcntl
import json
import math
import os
import socket
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any, TextIO

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

_POLL_SECONDS = 0.1


@contextmanager
def atomic(path: Path, *, writer: str = "") -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, flush it and rename it to `path`.

    After an error the temporary file is removed; after a SIGKILL it stays and the next writer of
    the same file overwrites it.

    Args:
        path: The file.
        writer: Tells the temporary files of processes apart that may write the same file at once;
            what those leave after a SIGKILL, the caller clears.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}{writer}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException as error:
        temporary.unlink(missing_ok=True)
        if isinstance(error, OSError) and error.errno and not error.filename:
            error.filename = str(path)  # a write to an open file says not which
        raise


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically."""
    with atomic(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def json_text(value: Any) -> str:
    """Indented JSON with sorted keys: equal values give equal text."""
    text = json.dumps(value, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    return text + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `json_text` atomically: equal values give equal bytes."""
    write_text(path, json_text(value))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        UserError: The file is missing, cannot be read or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"), parse_constant=_refuse_constant)
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and make it again") from None


def _refuse_constant(name: str) -> Any:
    raise ValueError(f"{name} in place of a number")  # which `json_text` never writes


def read_object(path: Path, **kinds: type | tuple[type, ...]) -> dict[str, Any]:
    """Read a JSON file that holds an object.

    Args:
        path: The file.
        kinds: Keys that it has to have, and of which type.

    Raises:
        UserError: The file is missing, is not JSON, or is something else.
    """
    found = read_json(path)
    if not isinstance(found, dict):
        raise UserError(
            f"{path}: holds {json.dumps(found)[:40]}, expected an object; delete it and make it "
            "again"
        )
    for key, kind in kinds.items():
        if not isinstance(found.get(key), kind):
            seen = json.dumps(found[key])[:40] if key in found else "missing"
            raise UserError(
                f"{path}: {key!r} is {seen}, which is not what the workflow writes; delete the "
                "file and make it again"
            )
    return found


@contextmanager
def exclusive(
    path: Path, *, wait_s: float = math.inf, what: str | None = None, clear: bool = False
) -> Iterator[None]:
    """Hold the lock of an output; wait, saying for whom, while another process makes it.

    The lock is the kernel's (`flock` on `.<name>.lock`): it ends with its process, however it ends,
    so that a job that is started again after a kill finds it free. On a network file system it
    holds between nodes where that is mounted so (Lustre: with `flock`).

    Args:
        path: The output.
        wait_s: Stop waiting after so many seconds.
        what: What to call the output; its path by default.
        clear: Remove the lock's file at the end: for outputs of which there are very many.

    Raises:
        UserError: Another process still holds it after `wait_s`; names it by process, host and
            job. Or the file system has no locks.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    name = _lock_file(path)
    with ExitStack() as open_files:
        while True:
            file = open_files.enter_context(name.open("a+", encoding="utf-8"))
            _lock(file, wait_s, what or str(path))
            if _is_named(file, name):
                break
            file.close()  # the one before removed it, and the next may hold a new one
        if clear:
            open_files.callback(name.unlink, missing_ok=True)  # while it is still held
        _say_holder(file)
        yield


def _say_holder(file: TextIO) -> None:
    """Write into a lock's file who holds it."""
    try:
        file.truncate(0)
        file.write(this_process())
        file.flush()
    except OSError as error:
        error.filename = file.name  # a write to an open file says not which
        raise


def this_process() -> str:
    """This process in words, for who waits for it: process, host and job."""
    job = os.environ.get("SLURM_JOB_ID")
    return f"process {os.getpid()} on {socket.gethostname()}" + (f", job {job}" if job else "")


def holder(path: Path) -> str | None:
    """Who holds the lock of an output, in words; None if nobody does.

    The lock is tried for a moment, shared with others who try; what the holder wrote stays.

    Args:
        path: The output.

    Raises:
        UserError: The file system has no locks.
    """
    try:
        with _lock_file(path).open(encoding="utf-8") as file:
            return None if _locked(file, fcntl.LOCK_SH) else _holder(file)
    except FileNotFoundError:
        return None


def _lock_file(path: Path) -> Path:
    return path.with_name(f".{path.name}.lock")


def _lock(file: TextIO, wait_s: float, what: str) -> None:
    if _locked(file):
        return
    limit = "" if math.isinf(wait_s) else f", {wait_s:g} s at most"
    log.warning("%s is being made by %s; waiting for it to end%s", what, _holder(file), limit)
    if math.isinf(wait_s):
        fcntl.flock(file, fcntl.LOCK_EX)
        return
    end = time.monotonic() + wait_s
    while time.monotonic() < end:
        time.sleep(_POLL_SECONDS)
        if _locked(file):
            return
    raise UserError(
        f"{what} is being made by {_holder(file)}, and two at a time would write the same files. "
        "Start again when it has ended, or end it first"
    )


def _is_named(file: TextIO, name: Path) -> bool:
    """Whether an open file is still the one of that name."""
    try:
        return os.path.samestat(os.fstat(file.fileno()), name.stat())
    except FileNotFoundError:
        return False


def _locked(file: TextIO, kind: int = fcntl.LOCK_EX) -> bool:
    """Take the lock of an open file if it is free."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError as error:
        if error.errno not in (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP):
            raise
        raise UserError(
            f"{file.name}: this file system has no locks ({error.strerror}), so that two jobs "
            "could write the same files; put data and results on one that has (Lustre: mounted "
            "with flock)"
        ) from error
    return True


def _holder(file: TextIO) -> str:
    file.seek(0)
    return file.read().strip() or "another process"
