"""Members of a tar file: walked by `tarfile`, which is held to small reads and forward moves."""

import io
import sys
import tarfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, NamedTuple

from workflow_scripts.archives.kinds import BROKEN
from workflow_scripts.archives.listed import Limits, Member, SetAside, damaged, refused
from workflow_scripts.archives.names import OddError, Seen, key_of, shown
from workflow_scripts.stored import STORED, Address

_BLOCK = tarfile.BLOCKSIZE
_HEADER_BYTES = 2**20  # that a member's headers, long names and records may take
_PADDING = 2**24  # zeros that may follow the end
_PIECE = 2**20
_TYPES = {
    tarfile.LNKTYPE: "a link", tarfile.SYMTYPE: "a link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a FIFO",
}  # fmt: skip
# What tarfile raises for hostile records besides its own errors.
_DAMAGE = (
    tarfile.TarError, OverflowError, IndexError, KeyError, TypeError, RecursionError,
    *BROKEN,
)  # fmt: skip


class Entry(NamedTuple):
    """A member that may be used: its key, its size, and where its bytes begin in the tar file."""

    key: str
    bytes: int
    offset: int


class Guarded(io.RawIOBase):
    """A file under tarfile, which would read as much of a header as the header asks for.

    It moves forward only, by reading where the file cannot seek: a packed one is read once,
    so that it cannot be led back. Headers may take so many bytes as `left` says; `header` is what
    was read of them last.
    """

    def __init__(self, file: BinaryIO, *, seeks: bool) -> None:
        self._file, self._seeks, self._at = file, seeks, 0
        self.left, self.header = _HEADER_BYTES, b""

    def tell(self) -> int:
        """Where it stands."""
        return self._at

    def read(self, size: int | None = -1) -> bytes:
        """So many bytes, fewer at the end.

        Raises:
            ReadError: Without a size, or too many.
        """
        if size is None or not 0 <= size <= self.left:
            raise tarfile.ReadError("a header of this length has no good reason")
        self.left -= size
        self.header = self.take(size)
        return self.header

    def take(self, size: int) -> bytes:
        """The same for a member's data."""
        found = self._file.read(min(size, _PIECE))
        while found and len(found) < size:
            piece = self._file.read(min(size - len(found), _PIECE))
            if not piece:
                break
            found += piece
        self._at += len(found)
        return found

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        """Move forward.

        Raises:
            ReadError: Backward.
        """
        if whence != io.SEEK_SET or offset < self._at:
            raise tarfile.ReadError("its headers lead back")
        if self._seeks:
            self._file.seek(offset)
            self._at = offset
        while self._at < offset and self.take(min(offset - self._at, _PIECE)):
            pass
        return self._at


@contextmanager
def told(archive: Path) -> Iterator[None]:
    """Say of an archive what went wrong while it was read.

    Raises:
        UserError: In place of what libraries raise for broken or hostile bytes.
    """
    try:
        yield
    except _DAMAGE as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the archive's
        raise damaged(archive, f"cannot be read as a tar file ({error})") from None


def tar_entries(file: Guarded, archive: Path, limits: Limits) -> Iterator[Entry | SetAside]:
    """The members of a tar file as they come; the file then stands at the member's bytes.

    Those may be taken from it, or not, before the next member is asked for.

    Raises:
        UserError: It is damaged, cut short, or looks like an attack; found on the way.
    """
    seen, count, total = Seen(), 0, 0
    stored = archive.stat().st_size
    with told(archive):
        tar = tarfile.open(  # noqa: SIM115 (it holds nothing open but the caller's file)
            fileobj=file, mode="r:", encoding="utf-8", errors="surrogateescape"
        )
    while True:
        with told(archive):
            file.left = _HEADER_BYTES
            info = tar.next()
        if info is None:
            break
        tar.members.clear()  # type: ignore[attr-defined]  # else it keeps them all
        count += 1
        total = max(total + info.size, file.tell())  # headers may be the larger part
        if not 0 <= info.size <= sys.maxsize:
            raise refused(archive, f"member {shown(info.name)!r} would have {info.size} bytes")
        limits.check(archive, members=count, total=total, stored=stored)
        found = _entry(info, archive, seen)
        if found is not None:
            yield found
    with told(archive):
        _check_end(file, tar.offset, archive)


def _entry(info: tarfile.TarInfo, archive: Path, seen: Seen) -> Entry | SetAside | None:
    try:
        key = key_of(info.name, archive)
        if key is None or info.isdir():
            return None
        if info.issparse():
            raise OddError("it is a sparse file, whose holes the archive leaves out")
        if not info.isreg():
            raise OddError(f"it is {_TYPES.get(info.type, 'a special file')}, not a file")
        seen.add(key)
    except OddError as odd:
        return SetAside(shown(info.name), str(odd))
    return Entry(key, info.size, info.offset_data)


def _check_end(file: Guarded, offset: int, archive: Path) -> None:
    """Whether the archive ends as tar files do; of a packed one this compares its checksum too.

    tarfile stops without a word at the end of the file, and at a header that is none.
    """
    if len(file.header) < _BLOCK:
        raise damaged(archive, f"ends at byte {offset} without the mark of its end")
    if file.header.strip(b"\0"):
        raise damaged(archive, f"has no header where one is expected, at byte {offset}")
    padding = 0
    while piece := file.take(_PIECE):
        padding += len(piece)
        if padding > _PADDING or piece.strip(b"\0"):
            raise damaged(
                archive,
                "holds more after the mark of its end (several tar files joined are unpacked by "
                "`tar -xif`)",
            )


def tar_members(archive: Path, limits: Limits) -> Iterator[Member | SetAside]:
    """The members of a tar file that is read in place; see `members`."""
    with archive.open("rb") as raw:
        entries = list(tar_entries(Guarded(raw, seeks=True), archive, limits))
    for one in entries:
        if isinstance(one, SetAside):
            yield one
        else:
            address = Address(str(archive), STORED, one.offset, one.bytes)
            yield Member(one.key, one.bytes, str(address))
