"""How a training is cut into batch jobs: how many, how long each, and what starting them costs."""

import math
from dataclasses import dataclass

from workflow_scripts.pretrain.stop import training_time

_MINUTE = 60.0
_EXACT = 10**12  # minutes; of more, seconds as floats no longer tell one minute from the next


@dataclass(frozen=True, kw_only=True)
class Pace:
    """What a training does over and over.

    Attributes:
        step_s: Of one step.
        save_s: Of one checkpoint.
        save_every: Steps between two checkpoints.
        start_s: From the start of a job to its first step.
    """

    step_s: float
    save_s: float
    save_every: int
    start_s: float

    @property
    def paced_s(self) -> float:
        """Of a step, with its part of the checkpoints."""
        return self.step_s + self.save_s / self.save_every


@dataclass(frozen=True, kw_only=True)
class Segments:
    """The jobs of a training, one after the other.

    Attributes:
        count: How many.
        minutes: The time limit that each asks for.
        seconds: Of all of them, waiting in queues not counted.
    """

    count: int
    minutes: int
    seconds: float


def segments(steps: int, pace: Pace, limit_minutes: int | None) -> Segments | None:
    """The jobs that so many steps take; None where a job ends before its first step does.

    A job trains from its start until `training_time` of its limit, the last checkpoint included.

    Args:
        steps: Of the whole training.
        pace: What they take.
        limit_minutes: Of a job; None: no limit, one job.
    """
    around_s = pace.start_s + pace.save_s  # every job begins, and ends with a checkpoint
    train_s = steps * pace.paced_s
    asked = minutes_for(around_s + train_s)
    if limit_minutes is None or asked <= limit_minutes:
        return Segments(count=1, minutes=asked, seconds=around_s + train_s)
    room_s = training_time(limit_minutes * _MINUTE) - around_s
    each = math.floor(room_s / pace.paced_s)
    if each < 1:
        return None
    count = math.ceil(steps / each)
    return Segments(count=count, minutes=limit_minutes, seconds=count * around_s + train_s)


def minutes_for(seconds: float) -> int:
    """The least time limit, in whole minutes, of a job that trains for so many seconds."""
    minutes = math.ceil(seconds / _MINUTE)
    while minutes < _EXACT and training_time(minutes * _MINUTE) < seconds:
        # At most five minutes are kept back, so this ends soon.
        minutes += 1
    return max(minutes, 1)
