"""Run a function over many items in threads: results in order, few in memory at a time."""

import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from itertools import islice
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_WAITING_PER_WORKER = 4

_asked: int | None = None  # by `workers_are`


def usable_cores() -> int:
    """How many cores this process may run on (a batch job often may not use all)."""
    return len(os.sched_getaffinity(0)) if _asked is None else _asked


@contextmanager
def workers_are(count: int) -> Iterator[None]:
    """Take so many cores for those at hand, in all of this process, as long as this lasts."""
    global _asked  # what is deep inside a protocol asks for it
    before, _asked = _asked, count
    try:
        yield
    finally:
        _asked = before


def map_in_order(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int | None = None,
    size_of: Callable[[T], int] | None = None,
    most: int = 0,
) -> Iterator[R]:
    """Yield `function(item)` in the order of the items, computed ahead by a pool of threads.

    At most a few results per worker wait at a time, so memory does not grow with the items.
    The first exception of a call is raised here, and what has not begun is dropped.

    Args:
        function: What to do with an item; worth it where it reads, hashes or decodes, which
            release the interpreter lock.
        items: Taken one by one.
        workers: Threads; as many as usable cores by default.
        size_of: How large an item's result is, about; without it all count as nothing.
        most: Sizes, all together, above which no more results are computed ahead than there are
            workers.
    """
    count = workers or usable_cores()
    source = iter(items)
    pool = ThreadPoolExecutor(count)
    waiting: deque[tuple[Future[R], int]] = deque()

    def fill() -> None:
        held = sum(size for _, size in waiting)
        while len(waiting) < (count if held > most else count * _WAITING_PER_WORKER):
            for item in islice(source, 1):
                size = size_of(item) if size_of else 0
                waiting.append((pool.submit(function, item), size))
                held += size
                break
            else:
                return

    try:
        fill()
        while waiting:
            result = waiting.popleft()[0].result()
            fill()
            yield result
    finally:
        pool.shutdown(cancel_futures=True)
