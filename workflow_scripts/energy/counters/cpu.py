"""The load of processors, for a rank that trains on them."""

import math
import time

import psutil

from workflow_scripts.energy.counters.kinds import Gauge, Load

_LOOK_EVERY = 60.0  # seconds between two looks for child processes, which reads all of the host's
_FIRST_LOOKS = 3  # one after the other: loader processes start with the first batch


class _Processes:
    """This process and its loader processes."""

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._children: list[psutil.Process] = []
        self._looks, self._looked_at = 0, 0.0

    def used(self) -> tuple[dict[int, float], int]:
        """CPU seconds of each process by its id, and resident bytes of all."""
        now = time.monotonic()
        if self._looks < _FIRST_LOOKS or now - self._looked_at > _LOOK_EVERY:
            self._children = self._own.children(recursive=True)
            self._looks, self._looked_at = self._looks + 1, now
        times, memory = {}, 0
        for process in (self._own, *self._children):
            try:
                with process.oneshot():
                    spent, held = process.cpu_times(), process.memory_info().rss
            except psutil.Error:  # it has ended
                continue
            times[process.pid] = spent.user + spent.system
            memory += held
        return times, memory


def cpu_load(cores: float) -> Gauge:
    """CPU time of this process and its loader processes since the last reading, over its cores'.

    It is a share of time in which threads ran, not of what the cores can compute. Memory is what
    they hold; what they share counts for each.

    Args:
        cores: That this rank may use.
    """
    processes = _Processes()
    last, at = processes.used()[0], time.monotonic()

    def read() -> Load:
        nonlocal last, at
        (times, memory), now = processes.used(), time.monotonic()
        # A process that is seen for the first time has worked before: it counts from now on.
        spent = sum(times[pid] - last[pid] for pid in times.keys() & last.keys())
        share = min(spent / ((now - at) * cores), 1.0) if now > at else math.nan
        last, at = times, now
        return Load(share, float(memory))

    return Gauge(name="processors (CPU time)", read=read)
