"""What an answer of a server holds: the place of its bytes in the file, and the bytes."""

import re
import time
from collections.abc import Callable, Iterator

import requests

from workflow_scripts.transfer.failures import NETWORK_ERRORS, of_error

_READ = 2**20  # at most at a time
_HELD = 2**20  # bytes that are written together,
_HELD_S = 0.5  # or what came in so long
_CONTENT_RANGE = re.compile(r"bytes (?:(\d{1,18})-\d{1,18}|\*)/(\d{1,18}|\*)")  # of sane lengths
_LENGTH = re.compile(r"\d{1,18}")


def content_range(response: requests.Response) -> tuple[int | None, int | None]:
    """First byte and total of a Content-Range; None for what it does not tell."""
    match = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", "").strip())
    if not match:
        return None, None
    start, total = match.groups()
    return int(start) if start else None, None if total == "*" else int(total)


def content_length(response: requests.Response) -> int | None:
    """The Content-Length; None if there is none that can be."""
    told = _LENGTH.fullmatch(response.headers.get("Content-Length", "").strip())
    return int(told[0]) if told else None


def chunks(response: requests.Response, timeout_s: float) -> Iterator[list[bytes]]:
    """The body in handfuls, as it comes; what came before an error is given first.

    `read1` returns what one call of the system brought: over TLS 16 KiB, which is little to write
    and to hash at a time.
    """
    held: list[bytes] = []
    size, since, failure = 0, time.monotonic(), None
    read: Callable[..., bytes] = response.raw.read1
    while True:
        try:
            data = read(_READ, decode_content=False)
        except NETWORK_ERRORS as error:
            failure = of_error(error, timeout_s)
            data = b""
        if data:
            held.append(data)
            size += len(data)
        now = time.monotonic()
        if held and (not data or size >= _HELD or now - since >= _HELD_S):
            yield held
            held, size, since = [], 0, now
        if failure:
            raise failure
        if not data:
            return
