"""The part of a file that has come so far: `.<name>.part`, and beside it what it is a part of.

The description (`.<name>.part.json`) is written before the first byte, so that a part without one,
or with that of another file, is never gone on with.
"""

import errno
import math
import os
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Self

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import boot_id
from workflow_scripts.transfer.hashing import Digests
from workflow_scripts.transfer.notes import read_note, write_note

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FLUSHED_EVERY = 2**28


@dataclass(frozen=True, kw_only=True)
class Origin:
    """What the bytes of a part are a part of.

    Attributes:
        url: Where they came from, without secrets.
        etag: The server's ETag, as sent.
        modified: Its Last-Modified, as sent.
        total: Bytes of the whole file, if the server told.
    """

    url: str
    etag: str | None = None
    modified: str | None = None
    total: int | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range takes: a strong ETag, else the date (RFC 9110, 13.1.5)."""
        if self.etag and not self.etag.startswith("W/"):
            return self.etag
        return self.modified

    def agrees(self, other: "Origin") -> bool:
        """Whether nothing tells that the other is a part of another file."""
        pairs = [(self.etag, other.etag), (self.modified, other.modified),
                 (self.total, other.total)]  # fmt: skip
        return all(one == two or one is None or two is None for one, two in pairs)


class Part:
    """An open part file: its bytes, their digests, and their origin.

    A process may be killed at any byte: the kernel has what it wrote. A machine that goes down may
    lose bytes of a file that keeps its length. Where a checksum is known it shows that; else the
    part is flushed now and then, and after another boot no more than that counts.
    """

    def __init__(self, target: Path, algorithms: tuple[str, ...], *, checked: bool) -> None:
        """Open the part of a file, or begin one.

        Args:
            target: The file that it becomes.
            algorithms: The digests wanted.
            checked: The checksum of the whole is known.
        """
        self.target = target
        self.path, self._note = part_paths(target)
        self._algorithms = algorithms
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self._checked, self._flushed = checked, 0
        self.origin, safe = self._read_note()
        size = os.fstat(self._descriptor).st_size
        self.size = size if checked else int(min(size, safe))
        os.ftruncate(self._descriptor, self.size)
        # Whether its bytes came from one answer of a server; else they may not fit together.
        self.of_one_piece = not self.size
        self._digests = Digests(self._descriptor, algorithms, self.size)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self._digests.stop()
        with suppress(OSError):  # it may be what ended the download
            self._flush()
        os.close(self._descriptor)

    def restart(self, origin: Origin | None = None) -> None:
        """Throw away what there is; what comes next is of `origin`."""
        self._digests.stop()
        os.ftruncate(self._descriptor, 0)
        self.size, self.origin, self.of_one_piece, self._flushed = 0, origin, True, 0
        self._digests = Digests(self._descriptor, self._algorithms)
        if origin:
            self._write_note()
        else:
            self._note.unlink(missing_ok=True)

    def append(self, chunks: Sequence[bytes]) -> None:
        """Write the next bytes.

        Raises:
            UserError: There is no room; what could be written stays.
        """
        waiting = [memoryview(chunk) for chunk in chunks]
        while waiting:
            try:
                count = os.pwritev(self._descriptor, waiting, self.size)
            except OSError as error:
                if error.errno not in _NO_ROOM:
                    raise
                raise no_room(self.target, self.size, error) from None
            self.size += count
            while waiting and count >= len(waiting[0]):
                count -= len(waiting.pop(0))
            if count:
                waiting[0] = waiting[0][count:]
        self._digests.grown(self.size)
        if self.size - self._flushed >= _FLUSHED_EVERY:
            self._flush()

    def digests(self) -> dict[str, str]:
        """The digests of all bytes; nothing can be appended after."""
        return self._digests.result()

    def become_whole(self) -> None:
        """Flush it and give it its name."""
        os.fsync(self._descriptor)
        self.path.replace(self.target)
        self._note.unlink(missing_ok=True)
        self.origin = None

    def reject(self) -> Path:
        """Set it aside under a name that nothing reads, and begin an empty one."""
        aside = rejected_path(self.target)
        self._digests.stop()
        self.path.replace(aside)
        os.close(self._descriptor)
        self._descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
        self.restart()
        return aside

    def _flush(self) -> None:
        if not self._checked and self.origin and self.size > self._flushed:
            os.fdatasync(self._descriptor)
            self._flushed = self.size
            self._write_note()

    def _write_note(self) -> None:
        if self.origin:
            boot = {"boot": boot_id(), "flushed": self._flushed}
            write_note(self._note, {**asdict(self.origin), **boot})

    def _read_note(self) -> tuple[Origin | None, int | float]:
        """The origin, and how many bytes are certain to be on the disk."""
        note = read_note(self._note)
        try:
            origin = Origin(**{one.name: note[one.name] for one in fields(Origin)})
            return origin, math.inf if note["boot"] == boot_id() else int(note["flushed"])
        except (KeyError, TypeError, ValueError):  # none, or of another version: begin afresh
            return None, 0


def part_paths(target: Path) -> tuple[Path, Path]:
    """Where the part of a file and its description lie."""
    part = target.with_name(f".{target.name}.part")
    return part, part.with_name(f"{part.name}.json")


def rejected_path(target: Path) -> Path:
    """Where a file with a wrong checksum is set aside."""
    return target.with_name(f"{target.name}.rejected")


def no_room(target: Path, size: int, error: OSError) -> UserError:
    """What to say when the disk is full."""
    return UserError(
        f"{target}: {error.strerror} after {size} bytes; they are kept: make room (or choose "
        "another folder, `paths.data`) and start again, and the download goes on from there"
    )
