"""One logger for every stage, to the terminal and to a file, and progress that suits both."""

import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from tqdm import tqdm

log = logging.getLogger("orbweaver")
T = TypeVar("T")

_SECONDS_BETWEEN_LINES = 10.0


def start_logging(file: Path | None = None) -> None:
    """Send log lines to standard error and, if given, to a file."""
    handlers: list[logging.Handler] = [logging.StreamHandler(sys.stderr)]
    if file is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(logging.FileHandler(file, encoding="utf-8"))
    formatter = logging.Formatter("%(asctime)s %(levelname)s %(message)s", "%Y-%m-%d %H:%M:%S")
    for old in list(log.handlers):
        log.removeHandler(old)
    for handler in handlers:
        handler.setFormatter(formatter)
        log.addHandler(handler)
    log.setLevel(logging.INFO)
    log.propagate = False


def progress(
    items: Iterable[T], *, what: str, total: int | Callable[[], int] | None = None
) -> Iterator[T]:
    """Pass items on, showing a bar on a terminal and a line now and then in a log.

    Args:
        items: Passed on one by one.
        what: They are, in words.
        total: How many there are, or what counts them: asked once, when it is to be shown.
    """
    if sys.stderr.isatty():
        count = total() if callable(total) else total
        yield from tqdm(items, desc=what, total=count, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            total = total() if callable(total) else total
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            log.info("%s: %d of %s, %.1f/s%s", what, done, total or "?", rate, left)


class ByteMeter:
    """Bytes that come from several threads: a bar on a terminal, a line now and then in a log.

    Whoever waits for the threads calls `tick`.
    """

    def __init__(self, *, what: str, total: int | None = None) -> None:
        """Begin.

        Args:
            what: Of what they are.
            total: How many are expected, if known.
        """
        self._what, self._total = what, total
        self._done = self._came = self._told = 0
        self._start = self._last = time.monotonic()
        self._lock = threading.Lock()
        self._bar = (
            tqdm(desc=what, total=total, unit="B", unit_scale=True, leave=False)
            if sys.stderr.isatty()
            else None
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:  # fmt: skip
        if self._bar is not None:
            self._bar.close()

    def add(self, count: int, *, now: bool = True) -> None:
        """So many bytes more.

        Args:
            count: Negative for bytes that have to come again.
            now: They came now; else they were there before and say nothing of the rate.
        """
        with self._lock:
            self._done += count
            if now:
                self._came += count
            if self._bar is not None:
                self._bar.update(count)

    def tick(self) -> None:
        """Write the line in the log if it is time, and something came or went since the last."""
        now = time.monotonic()
        if self._bar is not None or self._done == self._told:
            return
        if now - self._last >= _SECONDS_BETWEEN_LINES:
            self._last, self._told = now, self._done
            log.info("%s", self.line(now - self._start))

    def line(self, seconds: float) -> str:
        """What the log says after so many seconds."""
        with self._lock:
            rate = max(self._came, 0) / seconds
            whole = f" of {self._total / 1e9:.2f}" if self._total else ""
            left = ""
            if self._total and rate:
                left = f", {max(self._total - self._done, 0) / rate:.0f} s left"
            return f"{self._what}: {self._done / 1e9:.2f}{whole} GB, {rate / 1e6:.1f} MB/s{left}"
