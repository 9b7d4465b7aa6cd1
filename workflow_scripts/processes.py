"""Run a function over many items in processes: results in order, a crash costs one item."""

import os
import signal
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import TypeVar

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import die_with_parent

T = TypeVar("T")
R = TypeVar("R")

# How a C library ends a process that it broke; a kill (memory, batch system) is another matter.
_CRASHES = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT, signal.SIGFPE, signal.SIGILL)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Spawned: C libraries and open files do not like to be forked.
    return ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=die_with_parent, initargs=(os.getpid(),)
    )


def map_in_processes(
    function: Callable[[T], R],
    items: Iterable[T],
    *,
    workers: int,
    crashed: Callable[[T], R],
) -> Iterator[R]:
    """Yield `function(item)` in the order of the items, computed ahead by a pool of processes.

    One result more than there are workers waits at most, so memory does not grow with the items.
    The first exception of a call is raised here.

    Args:
        function: A function of a module (it is sent by name).
        items: Taken one by one.
        workers: Processes; with 0 the function is called here.
        crashed: What stands for the result of an item on which a C library crashed twice.

    Raises:
        UserError: A worker was killed from outside, twice.
    """
    if workers == 0:
        yield from map(function, items)
        return
    source = iter(items)
    pool = _pool(workers)
    waiting: deque[tuple[T, Future[R]]] = deque()

    def submit(count: int) -> None:
        for item in islice(source, count):
            waiting.append((item, _submitted(pool, function, item)))

    try:
        submit(workers + 1)
        while waiting:
            item, future = waiting.popleft()
            try:
                result = future.result()
            except BrokenProcessPool:  # by this item or by another one in flight
                result = _alone(function, item, crashed)
                pool = _pool(workers)
                again = [other for other, _ in waiting]
                waiting.clear()
                waiting.extend((other, _submitted(pool, function, other)) for other in again)
            submit(1)
            yield result
    finally:
        pool.shutdown(cancel_futures=True)


def _submitted(pool: ProcessPoolExecutor, function: Callable[[T], R], item: T) -> Future[R]:
    try:
        return pool.submit(function, item)
    except BrokenProcessPool as error:  # told when its result is asked for
        failed: Future[R] = Future()
        failed.set_exception(error)
        return failed


def _alone(function: Callable[[T], R], item: T, crashed: Callable[[T], R]) -> R:
    """The result of one item in a process of its own, which tells how it ended."""
    context = get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_send, args=(sender, function, item, os.getpid()))
    process.start()
    sender.close()
    try:
        done, value = receiver.recv()
    except EOFError:
        process.join()
        code = process.exitcode or 0
        if -code in _CRASHES:
            return crashed(item)
        raise UserError(
            f"a worker process was ended from outside (exit code {code}); was there too little "
            "memory? Use fewer workers"
        ) from None
    process.join()
    if not done:
        raise value
    result: R = value
    return result


def _send(sender: Connection, function: Callable[[T], R], item: T, parent: int) -> None:
    die_with_parent(parent)
    try:
        sender.send((True, function(item)))
    except Exception as error:
        sender.send((False, error))
