"""Measurements for `loader.py`: a reader run to its end, in a process of its own, and checked."""

import logging
import multiprocessing
import resource
import sys
import time
import warnings
from collections.abc import Callable, Iterable
from resource import RUSAGE_CHILDREN, RUSAGE_SELF
from typing import Any

import numpy as np
import torch
from loader_images import WORKERS

Result = dict[str, float]


def check_batch(batch: Any, *, shape: tuple[int, ...], dtype: torch.dtype) -> None:
    """Refuse what is not the batch that all have to deliver."""
    if tuple(batch.shape) != shape or batch.dtype != dtype:
        raise SystemExit(f"a batch of {tuple(batch.shape)} {batch.dtype}, not {shape} {dtype}")


def delivered(labels: list[Any], classes: np.ndarray | None) -> np.ndarray:
    """The numbers of the samples of all batches; ours come with the classes to compare."""
    if classes is None:
        return np.concatenate([np.asarray(some) for some in labels])
    for found, numbers in labels:
        if not np.array_equal(found.numpy(), classes[numbers]):
            raise SystemExit("ours delivered the labels of other samples")
    return np.concatenate([numbers for _, numbers in labels])


def drain(
    read: Callable[[], Iterable[Any]], *, shape: tuple[int, ...], dtype: torch.dtype, count: int,
    epochs: int = 1, classes: np.ndarray | None = None,
) -> Result:  # fmt: skip
    """Run a reader to its end: its rate and start-up, after a check of what it delivered."""
    start = time.perf_counter()
    labels, means = [], []
    times = []
    for batch, label in read():
        times.append(time.perf_counter())
        check_batch(batch, shape=shape, dtype=dtype)
        if shape[-1] == 3:
            means.append(float(batch[::8, 100, 100].float().mean()))  # more would take its time
        elif not np.array_equal(batch[:, 0, 0, 0].numpy(), label):
            raise SystemExit("a chip is not the one that was asked for")
        labels.append(label)
    numbers = delivered(labels, classes)
    if not np.array_equal(np.bincount(numbers, minlength=count), np.full(count, epochs)):
        missing = int((np.bincount(numbers, minlength=count) == 0).sum())
        raise SystemExit(f"{len(numbers)} samples of {count} × {epochs}, {missing} of them never")
    # The workers begin together: when the first batch comes, the others are about to.
    rate = (len(numbers) - WORKERS * shape[0]) / (times[-1] - times[WORKERS - 1])
    mean = float(np.mean(means)) if means else 0.0
    return {"rate": rate, "start": times[0] - start, "mean": mean, "samples": len(numbers)}


def apart(work: Callable[[], Any]) -> Any:
    """What `work` returns, in a process of its own."""
    context = multiprocessing.get_context("fork")
    receiver, sender = context.Pipe(duplex=False)

    def run() -> None:
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        found = work()
        if isinstance(found, dict):
            used = (resource.getrusage(who) for who in (RUSAGE_SELF, RUSAGE_CHILDREN))
            seconds = sum(one.ru_utime + one.ru_stime for one in used)
            found["cpu_ms"] = 1000 * seconds / found["samples"]
        sender.send(found)
        sender.close()

    process = context.Process(target=run)
    process.start()
    sender.close()
    try:
        found = receiver.recv()
    except EOFError:
        raise SystemExit("a measurement failed; its error is above") from None
    process.join()
    return found


def measure(ways: dict[str, Callable[[], Result]], rounds: int) -> dict[str, list[Result]]:
    """Results of each way, in turn; the order turns round by round, so that none is always first.

    The files were written just before and are in the page cache.
    """
    found: dict[str, list[Result]] = {name: [] for name in ways}
    names = list(ways)
    for number in range(rounds):
        turned = names[number % len(names) :] + names[: number % len(names)]
        for name in turned:
            result = apart(ways[name])
            found[name].append(result)
            print(f"round {number + 1}: {name} {result['rate']:.0f}/s", file=sys.stderr)
    return found
