"""Members of a zip file, checked as a whole before the first is given.

`zipfile` reads the central directory, some 560 bytes of memory a member; what follows here is what
it does not do: it looks at no member's type, lets members overlap, and opens a local header only
to inflate at once.
"""

import os
import stat
import struct
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

import numpy as np
from isal import isal_zlib

from workflow_scripts.archives.listed import Limits, Member, SetAside, damaged, refused
from workflow_scripts.archives.names import OddError, Seen, key_of, shown
from workflow_scripts.errors import UserError
from workflow_scripts.stored import DEFLATE, STORED, Address

IN_PLACE = {zipfile.ZIP_STORED: STORED, zipfile.ZIP_DEFLATED: DEFLATE}
_METHODS = {
    0: "no method", 8: "deflate", 9: "deflate64", 12: "bzip2", 14: "lzma", 93: "zstd", 95: "xz",
    96: "JPEG", 97: "WavPack", 98: "PPMd", 99: "AES",
}  # fmt: skip

_LOCAL = struct.Struct("<4s2x2H16x2H")  # signature, flags, method, lengths of name and extra
_LOCAL_SIGNATURE = b"PK\x03\x04"
_ENTRY = 46  # bytes of the central directory that every member has
_ENTRY_BYTES = 1024  # more a member, on average, no archive has
_ENCRYPTED = 0x1 | 0x40 | 0x2000
_PATCH = 0x20
_UTF8 = 0x800
_UNICODE_PATH = 0x7075
_TYPES = {
    stat.S_IFLNK: "a link", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device",
    stat.S_IFIFO: "a FIFO", stat.S_IFSOCK: "a socket",
}  # fmt: skip
_DAMAGE = (zipfile.BadZipFile, NotImplementedError, ValueError, struct.error, OverflowError)


class Entry(NamedTuple):
    """A member that may be used: what `zipfile` says of it, its key, and where its bytes begin."""

    info: zipfile.ZipInfo
    key: str
    offset: int


@contextmanager
def opened(archive: Path, limits: Limits) -> Iterator[zipfile.ZipFile]:
    """The archive with its central directory read.

    Raises:
        UserError: It is no whole zip file, a part of a split one, or holds too many members.
    """
    try:
        told = _told_members(archive, limits)
        file = zipfile.ZipFile(archive)
    except UnicodeDecodeError:
        raise UserError(
            f"{archive}: a name in it is marked as UTF-8 and is not; unpack it by hand, or have it "
            "made again"
        ) from None
    except _DAMAGE as error:
        raise damaged(archive, f"cannot be read as a zip file ({error})") from None
    with file:
        if (len(file.filelist) - told) % 2**16:  # writers without zip64 count so far
            raise damaged(archive, f"lists {len(file.filelist)} members, its end tells of {told}")
        if any(info.volume for info in file.filelist):
            raise UserError(
                f"{archive} is a part of a zip file that was split; join the parts (zip -s 0 "
                f"{archive.name} --out whole.zip) and use the whole"
            )
        yield file


def _told_members(archive: Path, limits: Limits) -> int:
    """How many members the end of the archive tells of.

    Raises:
        UserError: The directory would fill the memory by its size alone.
    """
    with archive.open("rb") as file:
        # Of zipfile's own, so that both see the same place; it has no public name.
        end = zipfile._EndRecData(file)  # type: ignore[attr-defined]
    if end is None:
        raise damaged(archive, "has not the end of a zip file")
    size: int = end[zipfile._ECD_SIZE]  # type: ignore[attr-defined]
    if size > limits.members * _ENTRY_BYTES:
        limits.check(archive, members=size // _ENTRY, total=0, stored=0)
    told: int = end[zipfile._ECD_ENTRIES_TOTAL]  # type: ignore[attr-defined]
    return told


def reads_in_place(archive: Path, limits: Limits) -> bool:
    """Whether all members are stored or deflated.

    Raises:
        UserError: As `opened`.
    """
    with opened(archive, limits) as file:
        return all(info.compress_type in IN_PLACE for info in file.filelist)


def zip_entries(file: zipfile.ZipFile, archive: Path, limits: Limits) -> Iterator[Entry | SetAside]:
    """The members of an opened archive, in its order, of whichever method.

    Raises:
        UserError: The archive is damaged or looks like an attack; before anything is yielded.
    """
    infos = file.filelist
    size = archive.stat().st_size
    total = sum(info.file_size for info in infos)
    limits.check(archive, members=len(infos), total=total, stored=size)
    offsets = np.full(len(infos), -1, np.int64)
    ends = np.empty(len(infos), np.int64)
    keys: list[str | SetAside | None] = []
    seen = Seen()
    descriptor = os.open(archive, os.O_RDONLY | os.O_CLOEXEC)
    try:
        for number, info in enumerate(infos):
            header = _local_header(descriptor, info, archive, file.start_dir)
            offsets[number] = header.offset
            ends[number] = header.offset + info.compress_size
            keys.append(_key(info, header, archive, limits, seen))
    finally:
        os.close(descriptor)
    _check_overlaps(archive, np.array([i.header_offset for i in infos], np.int64), ends, infos)
    del seen, ends
    for info, key, offset in zip(infos, keys, offsets.tolist(), strict=True):
        if isinstance(key, str):
            yield Entry(info, key, offset)
        elif key is not None:
            yield key


def zip_members(archive: Path, limits: Limits) -> Iterator[Member | SetAside]:
    """The members of a zip file that are read in place; see `members`."""
    with opened(archive, limits) as file:
        for one in zip_entries(file, archive, limits):
            if isinstance(one, SetAside):
                yield one
                continue
            info, key, offset = one
            method = IN_PLACE.get(info.compress_type)
            if method is None:
                yield SetAside(key, f"it is packed by {method_name(info)}, not read in place")
                continue
            address = Address(str(archive), method, offset, info.compress_size)
            yield Member(key, info.file_size, str(address), info.CRC)


def method_name(info: zipfile.ZipInfo) -> str:
    """What the method of a member is called."""
    return _METHODS.get(info.compress_type, f"method {info.compress_type}")


class _Header(NamedTuple):
    name: bytes
    flags: int
    method: int
    offset: int  # of the data


def _local_header(descriptor: int, info: zipfile.ZipInfo, archive: Path, directory: int) -> _Header:
    """What stands before a member's bytes.

    Raises:
        UserError: Nothing of the kind, or the member would reach into the directory.
    """
    name = shown(info.orig_filename)
    if not 0 <= info.header_offset < directory:
        raise damaged(archive, f"member {name!r} would begin at {info.header_offset}, outside")
    read = os.pread(descriptor, _LOCAL.size + len(_raw_name(info)), info.header_offset)
    if len(read) < _LOCAL.size or not read.startswith(_LOCAL_SIGNATURE):
        raise damaged(archive, f"member {name!r} does not begin where the directory says")
    _, flags, method, name_bytes, extra_bytes = _LOCAL.unpack_from(read)
    offset = info.header_offset + _LOCAL.size + name_bytes + extra_bytes
    if offset + info.compress_size > directory:
        raise damaged(archive, f"member {name!r} would reach beyond the archive's members")
    whole = len(read) == _LOCAL.size + name_bytes
    return _Header(read[_LOCAL.size :] if whole else b"", flags, method, offset)


def _key(
    info: zipfile.ZipInfo, header: _Header, archive: Path, limits: Limits, seen: Seen
) -> str | SetAside | None:
    """A member's key, None for a folder or what is left out, or why it is not used."""
    name = _name(info)
    try:
        key = key_of(name, archive)
        if key is None or name.endswith("/") or stat.S_ISDIR(info.external_attr >> 16):
            return None
        _check_entry(info, header, limits)
        seen.add(key)
    except OddError as odd:
        return SetAside(shown(name), str(odd))
    return key


def _raw_name(info: zipfile.ZipInfo) -> bytes:
    """The bytes of a name, which zipfile decoded."""
    name = info.orig_filename
    return name.encode("utf-8" if info.flag_bits & _UTF8 or name.isascii() else "cp437")


def _name(info: zipfile.ZipInfo) -> str:
    """The name as text; bytes in no known encoding are lone surrogates, as tarfile has them.

    Without the mark for UTF-8 names should be in DOS's cp437, and are in whatever the writer had:
    UTF-8 on most systems today. Other bytes cannot be told apart, and a class named by a guess
    would be wrong without a sign. Info-ZIP writes UTF-8 into a field beside the name.
    """
    if info.orig_filename.isascii() or info.flag_bits & _UTF8:
        return info.orig_filename
    raw = _raw_name(info)
    field = _unicode_path(info.extra, raw)
    return (raw if field is None else field).decode("utf-8", "surrogateescape")


def _unicode_path(extra: bytes, raw: bytes) -> bytes | None:
    """The name in UTF-8 that Info-ZIP's field 0x7075 has, if it is that of this name."""
    while len(extra) >= 4:
        kind, length = struct.unpack_from("<HH", extra)
        field, extra = extra[4 : 4 + length], extra[4 + length :]
        if kind == _UNICODE_PATH and len(field) > 5:
            version, checksum = struct.unpack_from("<BI", field)
            if version == 1 and checksum == isal_zlib.crc32(raw):
                return field[5:]
    return None


def _check_entry(info: zipfile.ZipInfo, header: _Header, limits: Limits) -> None:
    """Set aside what is no plain file, or cannot be read.

    Raises:
        OddError: With the reason.
    """
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG):
        raise OddError(f"it is {_TYPES.get(kind, 'a special file')}, not a file")
    if (info.flag_bits | header.flags) & _ENCRYPTED:
        raise OddError("it is encrypted")
    if info.flag_bits & _PATCH:
        raise OddError("it is a patch to another file")
    if header.name != _raw_name(info) or header.method != info.compress_type:
        raise OddError("the archive's directory and the member's own header differ")
    if info.compress_type == zipfile.ZIP_STORED and info.file_size != info.compress_size:
        raise OddError(f"it has {info.compress_size} bytes, its header says {info.file_size}")
    if limits.expands(info.file_size, info.compress_size):
        raise OddError(
            f"it has {info.compress_size:,} bytes and would take {info.file_size:,}, over "
            f"{limits.ratio} times as many"
        )


def _check_overlaps(
    archive: Path, starts: np.ndarray, ends: np.ndarray, infos: list[zipfile.ZipInfo]
) -> None:
    """Refuse members that share bytes, by which a small archive becomes a huge one.

    Raises:
        UserError: Naming the first two.
    """
    order = np.argsort(starts, kind="stable")
    wrong = np.flatnonzero(ends[order][:-1] > starts[order][1:])
    if len(wrong):
        pair = [shown(infos[number].orig_filename) for number in order[wrong[0] : wrong[0] + 2]]
        raise refused(archive, f"its members {pair[0]!r} and {pair[1]!r} overlap")
