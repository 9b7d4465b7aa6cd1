"""Room for granules that are fetched, tiled and deleted: a ledger kept by the jobs of all drivers.

Each day that is at work has a file in `.room` beside the datasets' folders: what it may take up,
where, and who holds it. Its job holds the file's lock (`flock`, which ends with the process however
that ends), so a file that nobody holds is what a dead job left: its granules count until its day
starts again or until somebody needs the room; then the oldest go first, and only those in a folder
that bears the mark of `fetch.generated`. Whoever reads or changes the ledger holds a lock of its
own, for a moment.
"""

import fcntl
import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.generated import claim, claimed, remove
from workflow_scripts.files import this_process
from workflow_scripts.logs import log

LEDGER = ".room"
_POLL_SECONDS, _LONGEST_POLL = 0.1, 5.0


@dataclass(frozen=True, kw_only=True)
class _Entry:
    """A day in the ledger: its file, what it takes up, where, who has it, and whether he lives."""

    file: Path
    bytes: int
    folder: Path
    holder: str
    alive: bool
    since: float


@contextmanager
def room(folder: Path, need: int, budget: int, *, keep: bool = False) -> Iterator[None]:
    """Hold room for a day's granules; wait, saying for whom, until there is some.

    When the block ends well, the folder goes, and its entry with it; after an error or a kill both
    stay.

    Args:
        folder: Where the granules will lie, `<raw>/<dataset>/<date>`; it is claimed.
        need: Their size, bytes.
        budget: Bytes for all days together.
        keep: The folder stays, and so takes no part in the budget.

    Raises:
        UserError: The day alone is larger than the budget, or the file system has no locks.
    """
    need = 0 if keep else need
    if need > budget:
        raise UserError(
            f"{folder}: the granules of this day are {_gb(need)}, more than the {_gb(budget)} of "
            "transfer.budget_gb, which all days share that are fetched at a time; raise it"
        )
    ledger = folder.parent.parent / LEDGER
    ledger.mkdir(parents=True, exist_ok=True)
    own = ledger / f"{folder.parent.name}.{folder.name}"
    told, poll = "", _POLL_SECONDS
    while isinstance(file := _reserved(own, folder, need, budget), str):
        if file != told:
            log.info("%s: waiting for %s", folder, file)
            told = file
        time.sleep(poll * random.uniform(0.5, 1))  # jitter: not all that wait ask together
        poll = min(2 * poll, _LONGEST_POLL)
    with file:
        yield
        if not keep:
            remove(folder)
            if folder.exists():  # no reason to fail a day that is made
                log.warning("%s could not be removed; it goes on counting", folder)
                return
        with _alone(ledger):
            own.unlink(missing_ok=True)


@contextmanager
def _alone(ledger: Path) -> Iterator[None]:
    with (ledger / ".lock").open("a", encoding="utf-8") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _reserved(own: Path, folder: Path, need: int, budget: int) -> TextIO | str:
    """The day's entry, open and locked; or who has the room, in words."""
    with _alone(own.parent):
        others = [entry for entry in _entries(own.parent) if entry.file != own]
        file = _taken(own)
        if file is None:
            return f"{_read(own).get('holder', 'another process')}, who has this day"
        if not _make_room(others, need, budget):
            file.close()
            if not own.stat().st_size:  # no trace of who only looked
                own.unlink()
            return _who(others, need, budget)
        _write(file, folder, need)
        claim(folder)
        return file


def _taken(own: Path) -> TextIO | None:
    """The entry's open file with its lock; None where another process has it."""
    file = own.open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.close()
        return None
    return file


def _write(file: TextIO, folder: Path, need: int) -> None:
    file.truncate(0)
    json.dump({"bytes": need, "folder": folder.as_posix(), "holder": this_process()}, file)
    file.flush()


def _entries(ledger: Path) -> list[_Entry]:
    """All days of the ledger, those of dead jobs with the size of what lies there."""
    found = []
    for file in sorted(path for path in ledger.iterdir() if not path.name.startswith(".")):
        dataset, _, day = file.name.rpartition(".")
        folder = ledger.parent / dataset / day
        said = _read(file)
        alive = _is_held(file)
        size = int(said.get("bytes", 0)) if alive else _size(folder)
        holder = str(said.get("holder", "another process"))
        since = file.stat().st_mtime
        found.append(
            _Entry(file=file, bytes=size, folder=folder, holder=holder, alive=alive, since=since)
        )
    return found


def _read(file: Path) -> dict[str, Any]:
    """What an entry says; nothing where its writer was killed while he wrote."""
    try:
        said = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return said if isinstance(said, dict) else {}


def _is_held(file: Path) -> bool:
    with file.open("a", encoding="utf-8") as tried:
        try:
            fcntl.flock(tried, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def _size(folder: Path) -> int:
    """Bytes of the files of a folder that others may be emptying."""
    total = 0
    for path in folder.rglob("*"):
        with suppress(OSError):
            total += path.lstat().st_size
    return total


def _make_room(others: list[_Entry], need: int, budget: int) -> bool:
    """Whether there is room, once what dead jobs left is removed as far as needed."""
    used = sum(entry.bytes for entry in others)
    living = sum(entry.bytes for entry in others if entry.alive)
    if living + need > budget:
        return False  # nothing is removed in vain
    for entry in sorted(others, key=lambda entry: (entry.since, entry.file.name)):
        if used + need <= budget:
            break
        if not entry.alive:
            log.info("%s: removing %s that a dead job left", entry.folder, _gb(entry.bytes))
            if claimed(entry.folder):
                remove(entry.folder)
            entry.file.unlink(missing_ok=True)
            used -= entry.bytes
    return used + need <= budget


def _who(others: list[_Entry], need: int, budget: int) -> str:
    living = [entry for entry in others if entry.alive]
    used = _gb(sum(entry.bytes for entry in living))
    names = "; ".join(
        f"{one.folder.parent.name} {one.folder.name} ({one.holder})" for one in living
    )
    return f"room: {_gb(need)} needed, {used} of {_gb(budget)} taken by {names}"


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
