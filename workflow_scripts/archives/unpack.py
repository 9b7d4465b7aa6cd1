"""Unpack an archive that is not read in place: whole files, nothing outside, resumed after a kill.

What an earlier start unpacked is kept: a file has its name only when its size, and in zip files its
CRC, were those that the archive tells. The files of a folder marked as complete are counted.
"""

import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

from workflow_scripts.archives.kinds import BROKEN, PACKED_TARS, Kind, kind_of, open_packed, refuse
from workflow_scripts.archives.listed import Limits, SetAside, damaged
from workflow_scripts.archives.members import LIMITS
from workflow_scripts.archives.names import OddError, Seen
from workflow_scripts.archives.parquet_rows import Columns, Table
from workflow_scripts.archives.tar_members import Guarded, tar_entries, told
from workflow_scripts.archives.target import DONE, Target
from workflow_scripts.archives.zip_members import method_name, opened, zip_entries
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log, progress

_COLUMNS = Columns()
_PIECE = 2**18
_FORM = 1  # of what is written for an archive; another one is unpacked anew


@dataclass(frozen=True, kw_only=True)
class Unpacked:
    """What an archive became.

    Attributes:
        folder: Where its files are, under their names in the archive.
        files: How many.
        bytes: Of all of them.
        set_aside: Members that were not unpacked.
    """

    folder: Path
    files: int
    bytes: int
    set_aside: tuple[SetAside, ...]


class _Part(NamedTuple):
    """A file to write; its bytes are asked for before the next part, or not at all."""

    key: str
    size: int
    pieces: Callable[[], Iterable[bytes]]


class _Contents(NamedTuple):
    parts: Iterator[_Part | SetAside]
    number: int | None  # of the parts, if known
    needed: int  # bytes on the disk, at least


def unpack(
    archive: Path,
    target: Path,
    *,
    limits: Limits = LIMITS,
    columns: Columns = _COLUMNS,
    sha256: str | None = None,
) -> Unpacked:
    """Unpack an archive into a folder of its own, or find that it was.

    Args:
        archive: A zip, tar (plain, or in gzip, bzip2, xz or zstd) or parquet file.
        target: The folder; it is made, or was made here before.
        limits: Of what is believed.
        columns: Of a parquet file.
        sha256: Of the archive, where it is known: the folder then stays good when the archive is
            touched. Else the archive counts as changed with its size or time.

    Raises:
        UserError: It is no archive, damaged, or looks like an attack; the folder holds somebody's
            files; the disk is too small.
        OSError: The disk is broken.
    """
    kind = kind_of(archive)
    if kind in (Kind.RAR, Kind.OTHER):
        raise refuse(archive, kind, target=target)
    made_from = _made_from(archive, sha256, columns if kind is Kind.PARQUET else None)
    if (found := _finished(target, made_from)) is not None:
        return found
    with exclusive(target), Target(target) as folder:
        if (found := _finished(target, made_from)) is not None:
            return found  # by another process, meanwhile
        folder.claim(made_from)
        with ExitStack() as stack:
            contents = _contents(archive, kind, columns, limits, stack)
            _check_room(folder, contents.needed, archive)
            facts, keys = _fill(folder, contents, archive)
        facts["made_from"] = made_from
        folder.finish(facts, keys)
    others = len(facts["set_aside"])
    log.info("%s: %d files in %s, %d set aside", archive, facts["files"], target, others)
    return _unpacked(target, facts)


def _made_from(archive: Path, sha256: str | None, columns: Columns | None) -> dict[str, Any]:
    seen = archive.stat()
    content = {"mtime_ns": seen.st_mtime_ns} if sha256 is None else {"sha256": sha256}
    read_as = None if columns is None else asdict(columns)
    return {"form": _FORM, "archive": archive.name, "bytes": seen.st_size, "columns": read_as,
            **content}  # fmt: skip


def _finished(target: Path, made_from: dict[str, Any]) -> Unpacked | None:
    """What an earlier start made of the same archive; nothing is written, which may not be allowed.

    Raises:
        UserError: The folder's mark is a link.
    """
    if not target.is_dir():
        return None
    with Target(target) as folder:
        facts = folder.read(DONE)
        if facts is None or facts.get("made_from") != made_from:
            return None
        there = folder.files_there()
    if there < facts["files"]:  # scratch file systems remove what was not read for long
        gone = facts["files"] - there
        log.warning("%s: %d of %d files are gone; unpacked anew", target, gone, facts["files"])
        return None
    return _unpacked(target, facts)


def _unpacked(target: Path, facts: dict[str, Any]) -> Unpacked:
    others = tuple(SetAside(**row) for row in facts["set_aside"])
    return Unpacked(folder=target, files=facts["files"], bytes=facts["bytes"], set_aside=others)


def _check_room(folder: Target, needed: int, archive: Path) -> None:
    """Whether the disk has room for what is not there yet.

    Raises:
        UserError: It has not.
    """
    missing, free = needed - folder.bytes_there(), folder.free_bytes()
    if missing > free:
        raise UserError(
            f"{archive}: unpacking it into {folder.root} takes {missing / 1e9:.3f} GB more at "
            f"least, and {free / 1e9:.3f} GB are free there; make room, or link {folder.root} to "
            "another disk"
        )


def _fill(folder: Target, contents: _Contents, archive: Path) -> tuple[dict[str, Any], set[str]]:
    """Write what is missing; the facts, and the keys of all files."""
    keys: set[str] = set()
    total, set_aside = 0, []
    folded = Seen() if folder.ignores_case() else None
    what = f"unpacking {archive.name}"
    for part in progress(contents.parts, what=what, total=contents.number):
        if isinstance(part, SetAside):
            found = part
        else:
            try:
                if folded is not None:
                    folded.add(part.key.casefold())
                if not folder.has(part.key, part.size):
                    folder.write(part.key, part.pieces(), part.size)
            except OddError as odd:
                found = SetAside(part.key, str(odd))
            else:
                keys.add(part.key)
                total += part.size
                continue
        set_aside.append(asdict(found))
    return {"files": len(keys), "bytes": total, "set_aside": set_aside}, keys


def _contents(
    archive: Path, kind: Kind, columns: Columns, limits: Limits, stack: ExitStack
) -> _Contents:
    """What an archive holds; what is open meanwhile goes with the stack."""
    stored = archive.stat().st_size
    if kind is Kind.ZIP:
        file = stack.enter_context(opened(archive, limits))
        needed = sum(info.file_size for info in file.filelist)
        return _Contents(_zip_parts(file, archive, limits), len(file.filelist), needed)
    if kind is Kind.PARQUET:
        table = stack.enter_context(Table(archive, columns, limits))
        return _Contents(_table_parts(table), table.rows, table.bytes)
    raw = stack.enter_context(
        open_packed(archive, kind) if kind in PACKED_TARS else archive.open("rb")
    )
    # What it takes is known at its end only; images hardly shrink when they are packed.
    return _Contents(_tar_parts(Guarded(raw, seeks=False), archive, limits), None, stored)


def _zip_parts(file: zipfile.ZipFile, archive: Path, limits: Limits) -> Iterator[_Part | SetAside]:
    for one in zip_entries(file, archive, limits):
        if isinstance(one, SetAside):
            yield one
        else:
            yield _Part(one.key, one.info.file_size, partial(_inflated, file, one.info))


def _inflated(file: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """A member's bytes; the last of them come when the CRC has been compared.

    Raises:
        OddError: Its method is unknown, or its bytes are broken.
    """
    try:
        with file.open(info) as member:
            while piece := member.read(_PIECE):
                yield piece
    except NotImplementedError:
        raise OddError(f"it is packed by {method_name(info)}, which is not read") from None
    except (zipfile.BadZipFile, *BROKEN) as error:
        if isinstance(error, OSError) and error.errno is not None:
            raise  # the disk's, not the archive's
        raise OddError(f"its bytes are broken ({error})") from None


def _tar_parts(file: Guarded, archive: Path, limits: Limits) -> Iterator[_Part | SetAside]:
    for one in tar_entries(file, archive, limits):
        if isinstance(one, SetAside):
            yield one
        else:
            yield _Part(one.key, one.bytes, partial(_taken, file, one.bytes, archive))


def _taken(file: Guarded, left: int, archive: Path) -> Iterator[bytes]:
    """A member's bytes, which come next in the tar file.

    Raises:
        UserError: There are fewer.
    """
    while left:
        with told(archive):
            piece = file.take(min(left, _PIECE))
        if not piece:
            raise damaged(archive, "ends before its last member does")
        left -= len(piece)
        yield piece


def _table_parts(table: Table) -> Iterator[_Part | SetAside]:
    for one in table.images():
        if isinstance(one, SetAside):
            yield one
        else:
            yield _Part(one.key, len(one.data), partial(iter, [one.data]))
