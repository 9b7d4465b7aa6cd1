"""A watch over ranks that stop making progress: which one, and where.

Each rank says at a few places of its loop what it begins to do (`Watchdog.at`). A thread of its
own tells that, with the line that the main thread is at, to the store through which the ranks met.
When a rank has begun nothing for the time allowed, it gathers what all told, writes down which
ranks are behind and where, and ends its process: the launcher then ends the others, and the run
goes on from its last checkpoint.

A rank that is not heard from is stopped or dead, or its node is. The store itself lives in rank 0
(unless ranks met through a file): if it does not answer, that is where to look.
"""

import contextlib
import faulthandler
import json
import os
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from workflow_scripts.logs import log
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.parallel import own_store
from workflow_scripts.pretrain.stalled import END, START, Beat, account

_SHORTEST_BEAT, _LONGEST_BEAT = 0.1, 30.0
_SHORTEST_ANSWER, _LONGEST_ANSWER = 2.0, 30.0  # seconds that the store is given
_SHORTEST_SILENCE = 1.0  # without a beat, before a rank counts as not heard from
_LAST_WORDS = 20.0  # seconds for a log on a file system that hangs
T = TypeVar("T")
_HERE = str(Path(__file__).resolve().parent.parent)


def main_place() -> str:
    """The innermost line of this package at which the main thread is: `file:line (function)`."""
    frame = sys._current_frames().get(threading.main_thread().ident or 0)
    while frame is not None:
        code = frame.f_code
        if code.co_filename.startswith(_HERE):
            name = os.path.relpath(code.co_filename, _HERE)
            return f"{name}:{frame.f_lineno} ({code.co_name})"
        frame = frame.f_back
    return "no line of this package"


class Watchdog:
    """Watches this rank while it is entered as a context.

    Args:
        ranks: This process's place; with several ranks the process group has been joined.
        limit_s: Seconds without progress after which the process ends.
        on_stall: Called by the one rank that reports, before it ends.
    """

    def __init__(
        self, ranks: Ranks, *, limit_s: float, on_stall: Callable[[], None] | None = None
    ) -> None:
        self.ranks, self.limit, self.on_stall = ranks, limit_s, on_stall
        self.period = min(max(limit_s / 60, _SHORTEST_BEAT), _LONGEST_BEAT)
        self.patience = min(max(limit_s / 60, _SHORTEST_ANSWER), _LONGEST_ANSWER)
        self._now = (START, 0, time.monotonic())
        self._number = 0
        self._closed = threading.Event()
        self._threads: list[threading.Thread] = []
        self._store: Any = own_store("orbweaver-watch") if ranks.world > 1 else None

    def at(self, phase: str, step: int) -> None:
        """Say what this rank begins to do after `step` steps; costs less than a microsecond."""
        self._now = (phase, step, time.monotonic())

    def __enter__(self) -> Self:
        self.at(START, 0)
        works = [self._watch, *([self._tell] if self._store else [])]
        self._threads = [threading.Thread(target=work, daemon=True) for work in works]
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self.at(END, self._now[1])
        self._closed.set()
        for thread in self._threads:
            thread.join(self.patience)
        faulthandler.cancel_dump_traceback_later()

    # What this rank tells

    def _beat(self) -> Beat:
        phase, step, since = self._now
        self._number += 1
        return Beat(
            rank=self.ranks.rank, number=self._number, phase=phase, step=step,
            seconds=time.monotonic() - since, place=main_place(), host=socket.gethostname(),
            process=os.getpid(),
        )  # fmt: skip

    def _tell(self) -> None:
        """Until closed: put beats into the store; the stack into the log if the run has stalled."""
        asked = False
        while True:
            closed = self._closed.wait(self.period)
            # Without a store the beats of this rank go nowhere; the reporter will say so.
            with contextlib.suppress(RuntimeError):
                self._put()
                if not asked and self._store.check(["stalled"]):
                    asked = True
                    self._stack()
            if closed:
                return

    def _put(self) -> None:
        self._store.set(f"rank-{self.ranks.rank}", json.dumps(self._beat()._asdict()))

    # What this rank watches

    def _watch(self) -> None:
        looked = let_go = time.monotonic()
        while not self._closed.is_set():
            # In C, for a main thread that never gives Python's lock to this one.
            faulthandler.dump_traceback_later(self.limit + 2 * self._guard(), exit=True, file=2)
            self._closed.wait(self.period)
            now = time.monotonic()
            # A process that was stopped and let go on has not stalled meanwhile.
            if now - looked > 5 * self.period + 1:
                let_go = now
            looked = now
            if now - max(self._now[2], let_go) > self.limit and not self._closed.is_set():
                self._end()

    def _guard(self) -> float:
        """Seconds after which the process ends even if it cannot report."""
        return 5 * self.period + 3 * self.patience + _LAST_WORDS

    def _end(self) -> None:
        """Report, or let the rank that was first report; then end this process."""
        guard = threading.Timer(self._guard(), os._exit, [1])
        guard.daemon = True
        guard.start()
        self._stack()
        first = True if self._store is None else self._asked(self._first_to_report)
        if first is False:
            time.sleep(3 * self.period + 2 * self.patience)  # the reporter listens meanwhile
            os._exit(1)
        log.error(
            "no progress for %.3g minutes (launch.stall_minutes): %s. The run ends here; start the "
            "same command again to go on from the last checkpoint",
            self.limit / 60, self._no_answer() if first is None else self._account(),
        )  # fmt: skip
        if self.on_stall is not None:
            self.on_stall()
        os._exit(1)

    def _first_to_report(self) -> bool:
        self._put()
        self._store.set("stalled", "1")  # the others write their stacks down
        return bool(self._store.add("reporters", 1) == 1)

    def _no_answer(self) -> str:
        return (
            "the store of the ranks, which is in rank 0, does not answer: rank 0 is stopped or "
            f"dead, or its node is; this is {self._beat().who(self.ranks.world)}, "
            f"{self._beat().where()}"
        )

    def _account(self) -> str:
        rank, world = self.ranks.rank, self.ranks.world
        if self._store is None:
            return account({rank: self._beat()}, world=1, silent=set())
        before = self._asked(self._beats)
        time.sleep(max(2.5 * self.period, _SHORTEST_SILENCE))
        after = self._asked(self._beats)
        if before is None or after is None:
            return self._no_answer()
        after[rank] = self._beat()
        silent = {
            one for one, beat in after.items()
            if one in before and beat.number == before[one].number and beat.phase != END
        }  # fmt: skip
        return account(after, world=world, silent=silent)

    def _beats(self) -> dict[int, Beat]:
        """What each rank told last."""
        found = {}
        for rank in range(self.ranks.world):
            key = f"rank-{rank}"
            if self._store.check([key]):  # getting what is not there would wait for it
                found[rank] = Beat(**json.loads(self._store.get(key)))
        return found

    def _asked(self, question: Callable[[], T]) -> T | None:
        """The answer to a question to the store; None if there is none in time."""
        answers: list[T] = []

        def ask() -> None:
            with contextlib.suppress(RuntimeError):
                answers.append(question())

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(self.patience)
        return answers[0] if answers else None

    def _stack(self) -> None:
        """The main thread's Python stack, into the log."""
        frame = sys._current_frames().get(threading.main_thread().ident or 0)
        lines = "".join(traceback.format_stack(frame)) if frame else "none"
        log.error("rank %d: no progress in the run; its stack:\n%s", self.ranks.rank, lines)
