"""What the `path` of a manifest's item stands for: a file, or a member of an archive.

A member that is read in place has an address, `<file>!<stored|deflate>:<offset>:<stored bytes>`:
where its bytes begin in the archive, how many there are, and how they are packed. It is recognised
by its end alone, so that a name may hold a `!` elsewhere. Reading one opens the archive, seeks and
inflates; the list of members is not looked at, and nothing is shared between threads. (The archive
is opened for each member, as a file of a folder is; keeping it open gained nothing measurable.)
"""

import errno
import hashlib
import io
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from isal import igzip_lib, isal_zlib

STORED, DEFLATE = "stored", "deflate"

_ADDRESS = re.compile(
    rf"(?P<file>.+)!(?P<method>{STORED}|{DEFLATE}):(?P<offset>[0-9]{{1,19}}):(?P<bytes>[0-9]{{1,19}})",
    re.DOTALL,
)
_PIECE = 2**18  # bytes read, inflated and hashed at a time


@dataclass(frozen=True, slots=True)
class Address:
    """Where a member lies.

    Attributes:
        file: The archive.
        method: `stored` or `deflate`.
        offset: Of its first byte in the archive.
        bytes: How many it has there.
    """

    file: str
    method: str
    offset: int
    bytes: int

    def __str__(self) -> str:
        return f"{self.file}!{self.method}:{self.offset}:{self.bytes}"


def address_in(path: str) -> Address | None:
    """The address that a manifest's path is; None for a plain file."""
    found = _ADDRESS.fullmatch(path)
    if found is None:
        return None
    return Address(found["file"], found["method"], int(found["offset"]), int(found["bytes"]))


def open_stored(path: str, *, size: int | None = None) -> BinaryIO:
    """Open what a manifest's path stands for, to read its bytes once from the start.

    Args:
        path: A file or an address.
        size: Bytes that a member should have: inflating ends with an error above them.

    Raises:
        OSError: The file is missing or may not be read; of a member, here or while it is read:
            the archive is not what it was (too short, a broken deflate stream, another size).
    """
    address = address_in(path)
    if address is None:
        return Path(path).open("rb")
    stored = _Stored(path, address)
    if address.method == STORED:
        return io.BufferedReader(stored, _PIECE)
    return io.BufferedReader(_Inflated(path, stored, size), _PIECE)


def pieces(path: str, *, size: int | None = None) -> Iterator[bytes]:
    """Yield all bytes of what a manifest's path stands for, as `open_stored` reads them."""
    with open_stored(path, size=size) as file:
        while piece := file.read(_PIECE):
            yield piece


def read_stored(path: str, *, size: int | None = None) -> bytes:
    """All bytes of what a manifest's path stands for; arguments and errors of `open_stored`."""
    if address_in(path) is None:
        return Path(path).read_bytes()
    return b"".join(pieces(path, size=size))


def digest_stored(
    path: str, *, size: int | None = None, crc32: int | None = None
) -> tuple[str, int]:
    """Hexadecimal sha256 and size of what a manifest's path stands for.

    Args:
        path: A file or an address.
        size: Bytes that the archive says a member has.
        crc32: The checksum that the archive has of it.

    Raises:
        OSError: As `open_stored`, or the bytes are not those that the archive tells of.
    """
    if address_in(path) is None:
        with Path(path).open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest(), file.tell()
    total, count, check = hashlib.sha256(), 0, 0
    for piece in pieces(path, size=size):
        total.update(piece)
        count += len(piece)
        if crc32 is not None:
            check = isal_zlib.crc32(piece, check)
    if size is not None and count != size:
        raise _damaged(path, f"the member has {count} bytes, the archive says {size}")
    if crc32 is not None and check != crc32:
        raise _damaged(path, "the member's CRC-32 is not that in the archive, which is damaged")
    return total.hexdigest(), count


def _damaged(path: str, reason: str) -> OSError:
    return OSError(errno.EIO, reason, path)


class _Stored(io.RawIOBase):
    """A member's bytes as the archive holds them."""

    def __init__(self, path: str, address: Address) -> None:
        self._path, self.left = path, address.bytes
        self._file = Path(address.file).open("rb", buffering=0)  # noqa: SIM115 (see close)
        try:
            self._file.seek(address.offset)
        except OSError:  # an offset that no file has
            self._file.close()
            raise _damaged(path, "the archive ends before this member") from None

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        wanted = min(len(buffer), self.left)
        if not wanted:
            return 0
        count = self._file.readinto(memoryview(buffer)[:wanted])
        if not count:
            raise _damaged(self._path, "the archive ends before this member does")
        self.left -= count
        return count

    def close(self) -> None:
        self._file.close()
        super().close()


class _Inflated(io.RawIOBase):
    """A member's bytes after inflating, at most `size` of them."""

    def __init__(self, path: str, source: _Stored, size: int | None) -> None:
        self._path, self._source, self._size, self._count = path, source, size, 0
        self._stream = igzip_lib.IgzipDecompressor(flag=igzip_lib.DECOMP_DEFLATE)

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: memoryview) -> int:  # type: ignore[override]
        data = self._next(len(buffer))
        self._count += len(data)
        if self._size is not None and self._count > self._size:
            raise _damaged(self._path, f"the member inflates to more than {self._size} bytes")
        buffer[: len(data)] = data
        return len(data)

    def _next(self, most: int) -> bytes:
        """Up to so many bytes; none at the end of the stream."""
        while not self._stream.eof:
            packed = self._source.read(_PIECE) if self._stream.needs_input else b""
            if self._stream.needs_input and not packed:
                raise _damaged(self._path, "a broken deflate stream: it has no end")
            try:
                data: bytes = self._stream.decompress(packed, most)
            except igzip_lib.IsalError:  # type: ignore[misc]  # (its stubs call it an instance)
                raise _damaged(self._path, "a broken deflate stream") from None
            if data:
                return data
        if self._source.left or self._stream.unused_data:
            raise _damaged(self._path, "a broken deflate stream: it ends before its bytes do")
        return b""

    def close(self) -> None:
        self._source.close()
        super().close()
