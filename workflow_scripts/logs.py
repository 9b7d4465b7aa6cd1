"""One logger for every stage, to the terminal and to a file, and progress that suits both."""

import logging
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TypeVar

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


def progress(items: Iterable[T], *, what: str, total: int | None = None) -> Iterator[T]:
    """Pass items on, showing a bar on a terminal and a line now and then in a log."""
    if sys.stderr.isatty():
        yield from tqdm(items, desc=what, total=total, leave=False)
        return
    start = last = time.monotonic()
    for done, item in enumerate(items, 1):
        yield item
        now = time.monotonic()
        if now - last >= _SECONDS_BETWEEN_LINES:
            last = now
            rate = done / (now - start)
            left = f", {(total - done) / rate:.0f} s left" if total else ""
            log.info("%s: %d of %s, %.1f/s%s", what, done, total or "?", rate, left)
