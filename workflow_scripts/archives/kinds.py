"""Which kind of archive a file is, by its first bytes; its name has no say."""

import bz2
import gzip
import lzma
import shlex
import tarfile
import zlib
from collections.abc import Callable
from enum import Enum
from pathlib import Path
from typing import Any, BinaryIO

from workflow_scripts.errors import UserError


class Kind(Enum):
    """Kinds of files; the value is what to call one."""

    ZIP = "a zip file"
    TAR = "a tar file"
    TAR_GZ = "a tar file in gzip"
    TAR_BZ2 = "a tar file in bzip2"
    TAR_XZ = "a tar file in xz"
    TAR_ZST = "a tar file in zstd"
    PARQUET = "a parquet file"
    RAR = "a rar file"
    OTHER = "no archive"


PACKED_TARS = (Kind.TAR_GZ, Kind.TAR_BZ2, Kind.TAR_XZ, Kind.TAR_ZST)

_BLOCK = tarfile.BLOCKSIZE
_START = 4096
_MAGIC = (
    (b"PK\x03\x04", Kind.ZIP),
    (b"PK\x05\x06", Kind.ZIP),  # one without members
    (b"PAR1", Kind.PARQUET),
    (b"Rar!\x1a\x07", Kind.RAR),
)


def _open_zstd(path: Path) -> Any:
    import pyarrow  # takes long, and Python's own library has no zstd before 3.14

    return pyarrow.input_stream(str(path), compression="zstd")


_PACKED: tuple[tuple[bytes, Kind, str, Callable[[Path], Any]], ...] = (
    (b"\x1f\x8b", Kind.TAR_GZ, "gzip", gzip.GzipFile),
    (b"BZh", Kind.TAR_BZ2, "bzip2", bz2.BZ2File),
    (b"\xfd7zXZ\x00", Kind.TAR_XZ, "xz", lzma.LZMAFile),
    (b"\x28\xb5\x2f\xfd", Kind.TAR_ZST, "zstd", _open_zstd),
)
# What else is often found in an archive's place, to be told by name.
_SEEN = (
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive"),
    (b"PK\x07\x08", "a part of a zip file that was split"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    (b"\x0e\x03\x13\x01", "an HDF4 file"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"\x89PNG", "a PNG image"),
    (b"%PDF", "a PDF document"),
    (b"version https://git-lfs", "a pointer of Git LFS, not the file that it stands for"),
)
BROKEN = (OSError, EOFError, ValueError, zlib.error, lzma.LZMAError)  # (pyarrow's: ValueError)


def kind_of(path: Path) -> Kind:
    """The kind of a file.

    Raises:
        OSError: It cannot be read.
    """
    start = _start(path)
    for magic, kind in _MAGIC:
        if start.startswith(magic):
            return kind
    if _is_tar(start):
        return Kind.TAR
    for magic, kind, _, opener in _PACKED:
        if start.startswith(magic):
            try:
                with opener(path) as file:
                    return kind if _is_tar(file.read(_BLOCK)) else Kind.OTHER
            except BROKEN:
                return Kind.OTHER
    return Kind.OTHER


def open_packed(path: Path, kind: Kind) -> BinaryIO:
    """The tar file inside a compressed one, to be read once from the start."""
    opener = next(opener for _, one, _, opener in _PACKED if one is kind)
    file: BinaryIO = opener(path)
    return file


def refuse(path: Path, kind: Kind, *, target: Path | None = None) -> UserError:
    """The error of a file that is no archive to read: what was seen, and what to do.

    Args:
        path: The file.
        kind: A rar, or other.
        target: Where a rar is to be unpacked by hand; beside it by default.
    """
    if kind is Kind.RAR:
        folder = shlex.quote(str(target or path.with_suffix("")))
        file = shlex.quote(str(path))
        return UserError(
            f"{path} is a rar file, which only its maker's program unpacks whole. Unpack it by "
            f"hand:\n  mkdir -p {folder} && unrar x {file} {folder}/\nor, where there is no unrar:"
            f"\n  mkdir -p {folder} && bsdtar -xf {file} -C {folder}\nand give {folder} as the "
            "dataset's path, or take the rar out of the dataset's folder"
        )
    return UserError(
        f"{path} is {described(path)}, expected a zip, tar or parquet file; compare its size and "
        "checksum with the publisher's and get it again"
    )


def described(path: Path) -> str:
    """What a file that is no archive looks like, in words."""
    if not path.stat().st_size:
        return "empty (0 bytes)"
    start = _start(path)
    for magic, name in _SEEN:
        if start.startswith(magic):
            return name
    for magic, _, name, _ in _PACKED:
        if start.startswith(magic):
            return f"a {name} file that holds no tar file, or a broken one"
    text = start.lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if text.startswith((b"<!doctype html", b"<html", b"<head", b"<script")):
        return "an HTML page (of a login or an error, most likely)"
    if text.startswith((b"<?xml", b"<error")):
        return "an XML document (of an error, most likely)"
    if text.startswith((b"{", b"[")):
        return "a JSON document (of an error, most likely)"
    if not start.strip(b"\0"):
        return "a file of zeros (reserved on the disk, never written)"
    return f"no kind of archive (its first bytes are {start[:8].hex(' ')})"


def _start(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(_START)


def _is_tar(start: bytes) -> bool:
    """Whether bytes begin with a header of tar, of whichever dialect: its checksum is right."""
    try:
        tarfile.TarInfo.frombuf(start[:_BLOCK], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True
