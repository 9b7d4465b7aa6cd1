"""Whole files or none, and one writer at a time.

A result is written under a temporary name beside its place, flushed to the disk and renamed, so
that a file that exists is whole. A stage holds the lock of its main output while it works, so that
a job whose driver died and the job of the next driver never write the same thing together.
"""

import fcntl
import json
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Yield a temporary path; when the block ends well, flush it and rename it to `path`.

    After an error the temporary file is removed; after a SIGKILL it stays and the next writer of
    the same file overwrites it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        yield temporary
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        temporary.replace(path)
    except BaseException:
        temporary.unlink(missing_ok=True)
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
        UserError: The file is missing or is not JSON.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise UserError(f"{path}: no such file") from None
    except ValueError as error:
        raise UserError(f"{path}: not valid JSON ({error}); delete it and make it again") from None


@contextmanager
def exclusive(path: Path) -> Iterator[None]:
    """Hold the lock of an output; wait, saying for whom, while another process makes it.

    The lock is the kernel's (`flock` on `.<name>.lock`): it ends with its process, however it ends.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = path.with_name(f".{path.name}.lock")
    with lock.open("a+") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            file.seek(0)
            holder = file.read().strip() or "another process"
            log.warning("%s is being made by %s; waiting for it to end", path, holder)
            fcntl.flock(file, fcntl.LOCK_EX)
        job = os.environ.get("SLURM_JOB_ID")
        file.truncate(0)
        file.write(
            f"process {os.getpid()} on {socket.gethostname()}" + (f", job {job}" if job else "")
        )
        file.flush()
        yield
