"""Power and utilisation of a run over time: a thread of each rank looks every few seconds.

The loop gives nothing to it and waits for nothing: a rank's thread reads its own counters and tells
what it read to the store through which the ranks met, over a connection of its own. The thread of
rank 0 adds up what all ranks told last and appends a line to `power.jsonl` in the run's checkpoint
folder. Ranks read at moments of their own, so that a line is a sum over one period, not over one
instant.
"""

import contextlib
import json
import math
import struct
import threading
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from workflow_scripts.energy.rank import Energy
from workflow_scripts.logs import log
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import read_lines, write_lines
from workflow_scripts.pretrain.launch import Ranks

POWER = "power.jsonl"
PERIOD = 5.0  # seconds between two readings
_LEAVE = 5.0  # seconds that a thread is given to end; it may wait for a file system
_TOLD = struct.Struct("<3d")


class Reading(NamedTuple):
    """What one rank read; NaN where something is not measured.

    Attributes:
        watts: Mean power of its counters since its last reading.
        utilisation: Of its device, 0 to 1.
        memory: Bytes in use on its device.
    """

    watts: float
    utilisation: float
    memory: float


def row_of(readings: Iterable[Reading], *, seconds: float, step: int) -> dict[str, Any]:
    """A line of `power.jsonl`: None for what not every rank measured.

    Args:
        readings: One of each rank.
        seconds: Of training since the run began.
        step: Steps done.
    """
    watts, utilisation, memory = zip(*readings, strict=True)
    power, busy, used = math.fsum(watts), math.fsum(utilisation) / len(utilisation), sum(memory)
    return {
        "seconds": round(seconds, 2),
        "step": step,
        "watts": None if math.isnan(power) else round(power, 2),
        "utilisation": None if math.isnan(busy) else round(busy, 4),
        "memory_bytes": None if math.isnan(used) else round(max(memory)),
    }


def resume(folder: Path, *, seconds: float) -> None:
    """Cut off lines of a segment that was killed, of training that is done again.

    Args:
        folder: The run's checkpoint folder.
        seconds: Of training until the checkpoint that the run goes on from.
    """
    path = folder / POWER
    write_lines(path, [row for row in read_lines(path) if row["seconds"] <= seconds])


class Sampler:
    """Samples this rank's counters while it is entered as a context.

    Args:
        ranks: This process's place; with several ranks the process group has been joined.
        energy: Its counters.
        counted: Whether the counters of all ranks make a sum.
        folder: The run's checkpoint folder, where rank 0 writes.
        progress: Seconds of training since the run began, and steps done.
        period_s: Seconds between two readings.
    """

    def __init__(
        self, ranks: Ranks, energy: Energy, *, counted: bool, folder: Path,
        progress: Callable[[], tuple[float, int]], period_s: float = PERIOD,
    ) -> None:  # fmt: skip
        self.ranks, self.energy, self.period = ranks, energy, period_s
        # Between two values of a slow counter power would be 0, and then several times what it was.
        self.counted = counted and energy.every_s <= period_s
        self.path, self.progress = folder / POWER, progress
        self._closed = threading.Event()
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._store: Any = None
        self._joules, self._read_at = math.nan, 0.0

    def __enter__(self) -> Self:
        if self.ranks.world > 1:
            self._store = parallel.own_store("orbweaver-power")
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:  # fmt: skip
        self._closed.set()
        self._thread.join(_LEAVE)

    def _work(self) -> None:
        self._read()  # what the first line is counted from
        while not self._closed.wait(self.period):
            if not self._sample():
                return
        # A short segment, or the end of a long one, is worth a line if it is worth a mean.
        if time.monotonic() - self._read_at > 0.2 * self.period:
            self._sample()

    def _sample(self) -> bool:
        """Read, tell, and (rank 0) write; False if it is no use to go on."""
        own = self._read()
        if self.ranks.is_first:
            try:
                told = self._told(own)
                if told is not None:
                    self._write(told)
            except OSError as error:  # the disk is full: training will meet it, or need not
                log.warning("%s: %s; power is sampled no more", self.path, error)
                return False
        elif self._store is not None:
            with contextlib.suppress(RuntimeError):  # rank 0 is gone, and with it the store
                self._store.set(f"rank-{self.ranks.rank}", _TOLD.pack(*own))
        return True

    def _read(self) -> Reading:
        joules, load = self.energy.joules() if self.counted else math.nan, self.energy.busy()
        now = time.monotonic()
        used, elapsed = joules - self._joules, now - self._read_at
        self._joules, self._read_at = joules, now
        watts = used / elapsed if elapsed > 0 else math.nan
        return Reading(watts, load.utilisation, load.memory)

    def _told(self, own: Reading) -> list[Reading] | None:
        """What every rank told last; None as long as one has told nothing."""
        if self._store is None:
            return [own]
        names = [f"rank-{rank}" for rank in range(1, self.ranks.world)]
        try:
            if not self._store.check(names):  # getting what is not there would wait for it
                return None
            return [own, *(Reading(*_TOLD.unpack(told)) for told in self._store.multi_get(names))]
        except RuntimeError:
            return None

    def _write(self, told: list[Reading]) -> None:
        seconds, step = self.progress()
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row_of(told, seconds=seconds, step=step)) + "\n")
