"""What ends a segment before the run's last step: its time is up, or somebody stops it.

SIGUSR1 (which batch systems send before the limit) and the deadline mean that the time is up: the
chain of segments goes on with the next one. SIGTERM and SIGINT (scancel, kill, Ctrl-C) stop the
run here: the segment is not over, and the same command goes on with it. Either way a checkpoint is
saved first.
"""

import enum
import math
import signal
import time
from dataclasses import dataclass
from typing import Any

from workflow_scripts.pretrain import attempts
from workflow_scripts.pretrain.launch import seconds_since_start

_MARGIN_SHARE, _LONGEST_MARGIN = 0.1, 300.0


class Wish(enum.IntEnum):
    """What is asked of a segment; of the wishes of several ranks the greatest counts."""

    GO_ON = 0
    WALLTIME = 1
    STOP = 2


def training_time(walltime_s: float) -> float:
    """Seconds from the start of a job until its segment has to end.

    Args:
        walltime_s: Time of the job. A tenth of it, five minutes at most, is left for its end: the
            last checkpoint, and whatever went on before this job's first process.
    """
    return walltime_s - min(_MARGIN_SHARE * walltime_s, _LONGEST_MARGIN)


def ignore_usr1() -> None:
    """Until there is a StopRequest, SIGUSR1 ends neither this process nor those that it starts.

    A wish that comes so early is not lost: the deadline stands for it.
    """
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)


class StopRequest:
    """What was asked of this process. From now on SIGUSR1 ends the segment, not the process.

    Args:
        allowed: Seconds from the start of the job until the segment has to end.
    """

    def __init__(self, allowed: float = math.inf) -> None:
        self.allowed = allowed
        self.deadline = time.monotonic() + allowed - seconds_since_start()
        self._told = Wish.GO_ON
        signal.signal(signal.SIGUSR1, self._take)

    def heed(self) -> None:
        """From now on SIGTERM and the first SIGINT are wishes, too.

        Before there is a step to save they end the process at once, as they would any.
        """
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._take)

    def _take(self, number: int, _frame: object) -> None:
        wish = Wish.WALLTIME if number == signal.SIGUSR1 else Wish.STOP
        self._told = max(self._told, wish)
        if number == signal.SIGINT:  # who presses Ctrl-C again does not want to wait
            signal.signal(signal.SIGINT, signal.default_int_handler)

    def asked(self, *, reserve: float = 0.0) -> Wish:
        """What is asked now, keeping `reserve` seconds for what is to be written."""
        if time.monotonic() + reserve >= self.deadline:
            return max(self._told, Wish.WALLTIME)
        return self._told


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Where training ended, and what had been wished for."""

    start_step: int
    end_step: int
    total_steps: int
    wish: Wish
    facts: dict[str, Any]

    @property
    def how(self) -> str:
        """`done`, `stopped`, `walltime`, or `failed` if the time was up before the first step."""
        if self.end_step >= self.total_steps:
            return attempts.DONE
        if self.wish == Wish.STOP:
            return attempts.STOPPED
        return attempts.WALLTIME if self.end_step > self.start_step else attempts.FAILED
