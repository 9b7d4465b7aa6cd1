"""What rank 0 decides for the ranks that a launcher started, and how they find each other.

Rank 0 holds the run's lock, computes the run's digest and finds whether there is anything to
train. It tells the other ranks what came of it, and they compute nothing of it themselves:

- `run_digest` (under srun also `host`, `address` and `port`): come to rank 0, to train that run;
- `over`: there is nothing to train, leave;
- `refused`: rank 0 cannot begin and says why in its log, leave too.

Under srun this word is a file in the run's folder, named after the step. Rank 0 listens before it
tells, so that the port is the kernel's choice and nobody else's, and all ranks load torch at the
same time. Under torchrun the word lies in the store that torchrun keeps for its ranks.
"""

import json
import random
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.pretrain.address import listen, own_address
from workflow_scripts.pretrain.launch import Ranks, Server

PATIENCE_S = 600.0
_SHORTEST_PAUSE, _LONGEST_PAUSE = 0.05, 4.0
_SPREAD_S = 30.0  # the first rank of each node gives up so much before the others
_KEY = "orbweaver-word"
Word = dict[str, Any]


def _file(ranks: Ranks, run: Path) -> Path | None:
    """The file of the word; None if no srun started the ranks."""
    return run / f".meeting-{ranks.step.name}.json" if ranks.step else None


class Meeting:
    """Rank 0's part: it decides and tells, if a launcher started others.

    Args:
        ranks: Rank 0's place.
        run: The run's folder.
    """

    def __init__(self, ranks: Ranks, run: Path) -> None:
        self.ranks, self.run = ranks, run
        self.told = self.called = False

    def clear(self) -> None:
        """Remove what killed jobs left in the run's folder; the caller holds the run's lock."""
        for path in self.run.glob("*.meeting-*"):  # with what was not whole yet
            path.unlink(missing_ok=True)

    def over(self) -> None:
        """There is nothing to train."""
        self._tell({"over": True})

    def refused(self, why: str) -> None:
        """Rank 0 cannot begin."""
        self._tell({"refused": why})

    def opened(self, run_digest: str) -> Ranks:
        """Call the others to train this run; returns rank 0's place.

        Raises:
            UserError: MASTER_PORT is taken, or is no port.
        """
        word: Word = {"run_digest": run_digest}
        ranks = self.ranks
        if ranks.step is not None:
            listening = listen()
            port = listening.getsockname()[1]
            where = {"host": ranks.where, "address": own_address(ranks.step), "port": port}
            ranks = replace(ranks, server=Server(**where, listening=listening))
            word |= where
        self.called = True
        self._tell(word)
        return ranks

    def _tell(self, word: Word) -> None:
        if file := _file(self.ranks, self.run):
            write_json(file, word)
        elif self.ranks.by_torchrun:
            _store(self.ranks, PATIENCE_S).set(_KEY, json.dumps(word))
        self.told = True


@contextmanager
def held(ranks: Ranks, run: Path) -> Iterator[Meeting]:
    """The meeting that rank 0 holds; if it fails before it has told anything, it tells that."""
    file, meeting = _file(ranks, run), Meeting(ranks, run)
    if file:
        file.unlink(missing_ok=True)
    try:
        yield meeting
    except BaseException as error:
        if not meeting.told:
            # The disk may be full or torchrun gone, and rank 0 has more to say than that.
            with suppress(OSError, RuntimeError):
                meeting.refused(str(error) or type(error).__name__)
        raise
    finally:
        if file and meeting.called:
            file.unlink(missing_ok=True)


def called(ranks: Ranks, word: Word) -> Ranks:
    """The place of a rank that rank 0 has called, with where to find it."""
    names = ("host", "address", "port")
    server = Server(**{name: word[name] for name in names}) if ranks.step else None
    return replace(ranks, server=server)


def word_of_first(ranks: Ranks, run: Path, *, patience_s: float) -> Word:
    """Wait for what rank 0 tells; called by the others.

    Args:
        ranks: This process's place.
        run: The run's folder.
        patience_s: Time to wait.

    Raises:
        UserError: Rank 0 has told nothing in that time.
    """
    if ranks.local_rank:
        patience_s += _SPREAD_S
    file = _file(ranks, run)
    word = _from_file(file, patience_s) if file else _from_store(ranks, patience_s)
    if word is None:
        job = f" of job {ranks.step.job}" if ranks.step else ""
        raise UserError(
            f"rank {ranks.rank} of {ranks.world} on {ranks.where} has waited {patience_s:.0f} s "
            f"for rank 0{job}, which has told no address yet"
            f"{f' in {file}' if file else ''}; {_lock(run)}. Rank 0 may wait for that lock or "
            "digest a large teacher (then raise --meet-s), or have died: see what the log says of "
            "it. Start the same command again to go on"
        )
    return word


def _from_file(file: Path, patience_s: float) -> Word | None:
    """The word, looked for ever more seldom: thousands of ranks ask one server for it."""
    pause, end = _SHORTEST_PAUSE, time.monotonic() + patience_s
    while True:
        with suppress(FileNotFoundError):
            word: Word = json.loads(file.read_text(encoding="utf-8"))
            return word
        if time.monotonic() >= end:
            return None
        time.sleep(pause * random.uniform(0.5, 1.0))
        pause = min(1.5 * pause, _LONGEST_PAUSE)


def _from_store(ranks: Ranks, patience_s: float) -> Word | None:
    try:
        word: Word = json.loads(_store(ranks, patience_s).get(_KEY))
    except RuntimeError:
        return None
    return word


def _store(ranks: Ranks, patience_s: float) -> Any:
    """The store that torchrun keeps for its ranks; anew in each of its attempts."""
    from workflow_scripts.pretrain.parallel.arrival import store_of  # needs torch

    return store_of(ranks, patience_s=patience_s)


def _lock(run: Path) -> str:
    """Who took the run's lock last."""
    with suppress(OSError):
        if holder := (run / ".run.json.lock").read_text(encoding="utf-8").strip():
            return f"the run's lock was last taken by {holder}"
    return "nobody has taken the run's lock yet"
