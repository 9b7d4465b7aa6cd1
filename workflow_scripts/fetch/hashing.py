"""Read and hash many files, small or large: results in order, by threads and then by processes.

A small file costs more in the interpreter than in hashing, and threads share one interpreter: from
some hundred files on, processes hash them in batches. The first ones are left to threads, since
most folders are small and a process takes longer to start than they take to read.
"""

import errno
import hashlib
import os
import stat
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice
from typing import NamedTuple

from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.processes import map_in_processes
from workflow_scripts.stored import address_in, digest_stored
from workflow_scripts.threads import map_in_order, usable_cores

_BY_THREADS = 512  # files, before processes are worth their start
_BATCH_FILES, _BATCH_BYTES = 256, 2**25
_CHUNK_FILES = 4096  # known ones with them, so that few wait while others are read
_ASKED_FILES = 256
_PIECE = 2**20


# What a file holds: its sha256 and its size. And a file to read: its path, the size to expect, and
# the CRC-32 of a member. Plain tuples, since millions of them go from process to process.
Content = tuple[bytes, int]
Unread = tuple[str, int, int | None]


class Hashed(NamedTuple):
    """A file with what it holds, or the reason why it cannot be read.

    `at` is a moment before it was read, in ns since the epoch; None if it was known.
    """

    file: FoundFile
    content: Content | str
    at: int | None


@dataclass
class _Chunk:
    """Files in order: what is known of each, and the places of those to read."""

    at: int = field(default_factory=time.time_ns)
    files: list[FoundFile] = field(default_factory=list)
    known: list[Content | None] = field(default_factory=list)
    unread: list[Unread] = field(default_factory=list)

    def hashed(self, contents: Iterable[Content | str]) -> Iterator[Hashed]:
        """All files, with what was read of the unread ones, as it comes."""
        read = iter(contents)
        for file, known in zip(self.files, self.known, strict=True):
            if known is None:
                yield Hashed(file, next(read), self.at)
            else:
                yield Hashed(file, known, None)


def hash_files(
    files: Iterable[FoundFile],
    known: Callable[[Sequence[FoundFile]], list[Content | None]],
    *,
    workers: int | None = None,
) -> Iterator[Hashed]:
    """Yield every file, in the order given, with its sha256; few are in memory at a time.

    Args:
        files: Taken one by one. Members of archives are read fastest in the order of the archive.
        known: What each of some files holds if that is known: then it is not read.
        workers: Threads, then processes, that read and hash; as many as usable cores by default.

    Raises:
        UserError: A process was killed from outside, twice.
    """
    workers = workers or usable_cores()
    source = _with_known(iter(files), known)
    few = partial(_chunk, source, most_files=_BY_THREADS, most_bytes=None)
    read = 0
    while (workers == 1 or read < _BY_THREADS) and (chunk := few()):
        yield from chunk.hashed(_by_threads(chunk.unread, workers))
        read += len(chunk.unread)
    many = partial(_chunk, source, most_files=_BATCH_FILES, most_bytes=_BATCH_BYTES)
    if (first := many()) is not None:
        yield from _by_processes(first, many, workers)


def _with_known(
    files: Iterator[FoundFile], known: Callable[[Sequence[FoundFile]], list[Content | None]]
) -> Iterator[tuple[FoundFile, Content | None]]:
    """Files with what is known of them, which is asked for many at a time."""
    while some := list(islice(files, _ASKED_FILES)):
        yield from zip(some, known(some), strict=True)


def _chunk(
    source: Iterator[tuple[FoundFile, Content | None]],
    *,
    most_files: int,
    most_bytes: int | None,
) -> _Chunk | None:
    """The next files, until so many, or so many bytes, are to be read; None at the end."""
    chunk, size = _Chunk(), 0
    for file, content in source:
        chunk.files.append(file)
        chunk.known.append(content)
        if content is None:
            chunk.unread.append((file.path, file.bytes, file.crc32))
            size += file.bytes
        if (
            len(chunk.unread) >= most_files
            or (most_bytes is not None and size >= most_bytes)
            or len(chunk.files) >= _CHUNK_FILES
        ):
            break
    return chunk if chunk.files else None


def _by_threads(files: list[Unread], workers: int) -> Iterator[Content | str]:
    if workers == 1 or len(files) < 2:
        return map(read_content, files)
    return map_in_order(read_content, files, workers=workers)


def _by_processes(
    first: _Chunk, others: Callable[[], _Chunk | None], workers: int
) -> Iterator[Hashed]:
    waiting: deque[_Chunk] = deque()

    def batches() -> Iterator[list[Unread]]:
        chunk: _Chunk | None = first
        while chunk is not None:
            waiting.append(chunk)
            yield chunk.unread
            chunk = others()

    for contents in map_in_processes(
        read_contents, batches(), workers=workers, crashed=_why_crashed
    ):
        yield from waiting.popleft().hashed(contents)


def read_contents(files: list[Unread]) -> list[Content | str]:
    """`read_content` of each; members of one archive are read in the order they lie there."""
    order = sorted(range(len(files)), key=lambda place: _place(files[place][0], place))
    found = {place: read_content(files[place]) for place in order}
    return [found[place] for place in range(len(files))]


def _place(path: str, place: int) -> tuple[str, int]:
    member = address_in(path) if "!" in path else None
    return (member.file, member.offset) if member else ("", place)


def _why_crashed(files: list[Unread]) -> list[Content | str]:
    return ["cannot be read (a library crashed on this file or on one near it)"] * len(files)


def read_content(file: Unread) -> Content | str:
    """What a file holds, or the reason why it is set aside."""
    path, expected, crc32 = file
    try:
        if "!" in path and address_in(path) is not None:
            checksum, size = digest_stored(path, size=expected, crc32=crc32)
            return bytes.fromhex(checksum), size
        return _read(path, expected)
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def _read(path: str, expected: int) -> Content:
    """Read with plain calls: for a small file, Python's file objects cost as much as hashing.

    A pipe that bears an image's name is empty, and waits for no writer; a device has no end.

    Raises:
        OSError: It cannot be read, or is a device.
    """
    number = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    try:
        data = os.read(number, min(expected, _PIECE) + 1)
        total, size = hashlib.sha256(data), len(data)
        # A file gives less than was asked for at its end only: one call reads a small one.
        whole = size == expected <= _PIECE
        if data and not whole and not stat.S_ISREG(os.fstat(number).st_mode):
            raise OSError(errno.EINVAL, "it is a device or a pipe, not a file", path)
        while data and not whole:
            data = os.read(number, _PIECE)
            total.update(data)
            size += len(data)
    finally:
        os.close(number)
    return total.digest(), size
