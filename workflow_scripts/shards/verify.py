"""Check a corpus: every byte of its index, shards and selection against what packing wrote down.

A file is compared with its sha256, which takes as long as hashing it. Only a shard that differs is
looked into, sample by sample, in a process of its own: the HDF5 library may crash on damage.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import repeat
from pathlib import Path
from typing import Any

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import json_text
from workflow_scripts.logs import log, progress
from workflow_scripts.processes import map_in_processes
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.reader import Shard
from workflow_scripts.shards.selection import read_selection
from workflow_scripts.threads import map_in_order

_SHOWN = 5
_LEAST_BYTES = 4  # that a sample takes: its crc32

_PACK = "restore it, or remove it and pack again"
_REMEDY = {layout.CHIPS: "restore it, or tile its day again and pack"}


@dataclass(kw_only=True)
class Verified:
    """What was checked, and each fault: the file, what was seen and expected, what to do."""

    files: int = 1  # the index
    bytes: int = 0
    samples: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class _File:
    """A file that the index lists, and what it says of it; `kind` of a selection is empty."""

    path: Path
    kind: str
    sha256: str
    count: int
    bytes: int | None

    def fault(self, *found: str) -> str:
        """What was found, with what to do."""
        return "; ".join([f"{self.path}: {found[0]}", *found[1:], _REMEDY.get(self.kind, _PACK)])


def verify(index_path: Path, *, workers: int | None = None) -> Verified:
    """Compare a corpus with its index: any flipped bit, missing or truncated file, wrong count.

    Args:
        index_path: The corpus's `index.json`; paths of files in it are relative to its folder.
        workers: Threads that read and hash, each a file; as many as usable cores by default.

    Raises:
        UserError: There is no index, or what it lists cannot be told.
    """
    data, index = _read_index(index_path)
    verified = Verified(bytes=len(data), samples=_number(index.get("count")))
    verified.faults += [f"{index_path}: {fault}; {_PACK}" for fault in index_faults(data, index)]
    files = _listed(index, index_path, verified.faults)
    damaged: list[tuple[_File, str]] = []
    checks = progress(
        map_in_order(_check, files, workers=workers), what="files checked", total=len(files)
    )
    for file, (size, differs, wrong) in zip(files, checks, strict=True):
        verified.files += 1
        verified.bytes += size
        if differs and file.kind:
            damaged.append((file, wrong))
        elif wrong:
            verified.faults.append(file.fault(wrong))
    details = _details([file for file, _ in damaged])
    for (file, wrong), detail in zip(damaged, details, strict=False):
        verified.faults.append(file.fault(wrong, detail))
    return verified


def _number(value: Any) -> int:
    return value if isinstance(value, int) else -1


def _no_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON number")


def _read_index(path: Path) -> tuple[bytes, dict[str, Any]]:
    """The bytes of the index and what they say."""
    try:
        data = path.read_bytes()
        index = json.loads(data.decode(), parse_constant=_no_constant)
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}, expected the index.json of a corpus") from None
    except ValueError as error:
        raise UserError(
            f"{path}: not valid JSON ({error}), so what it lists cannot be checked; {_PACK}"
        ) from None
    if not isinstance(index, dict):
        raise UserError(f"{path}: a JSON {type(index).__name__}, expected an object; {_PACK}")
    version = _number(index.get("format_version"))
    if version > layout.FORMAT_VERSION and not index_faults(data, index):
        raise UserError(
            f"{path}: format version {version} is newer than {layout.FORMAT_VERSION}, the newest "
            "this code reads; update the code"
        )
    return data, index


def index_faults(data: bytes, index: dict[str, Any]) -> list[str]:
    """What is wrong with an index in itself: any changed bit of it is a fault.

    The checksum finds another value, and the comparison of the text one that means the same (such
    as 1e-05 as 1E-05, or a last digit beyond the precision).

    Args:
        data: The bytes of the file.
        index: What they say.
    """
    faults = []
    found = digest({key: value for key, value in index.items() if key != "checksum"})
    if "checksum" not in index:
        faults.append(
            "it has no key `checksum`, expected the digest of all else in it: it was made before "
            "indexes had one, or is damaged; its files are compared with what it says"
        )
    elif index["checksum"] != found:
        faults.append(
            f"the digest of what it says is {found}, its checksum is {index['checksum']}: it was "
            "changed since; its files are compared with what it says now"
        )
    elif json_text(index).encode(errors="replace") != data:
        faults.append("its text is not how pack writes what it says, expected the same bytes")
    return faults + _disagreements(index)


def _disagreements(index: dict[str, Any]) -> list[str]:
    """Where the parts of an index contradict each other."""
    try:
        selection = index.get("selection")
        counted = [selection] if selection else index["shards"]
        count, content = sum(row["count"] for row in counted), content_digest(index)
    except (KeyError, TypeError, AttributeError) as error:
        return [f"its keys `shards` or `selection` are not as they must be ({error!r})"]
    faults = []
    if index.get("count") != count:
        faults.append(f"its count is {index.get('count')}, expected {count}, as its files have")
    if index.get("content") != content:
        faults.append(f"its content is {index.get('content')}, expected {content}")
    return faults


def _listed(index: dict[str, Any], path: Path, faults: list[str]) -> list[_File]:
    """The files of an index; rows that cannot be understood are added to the faults."""
    kind, shards, selection = (index.get(key) for key in ("kind", "shards", "selection"))
    rows = [(row, str(kind)) for row in (shards if isinstance(shards, list) else [])]
    rows += [(selection, "")] if selection else []
    files = []
    for row, kind_of_row in rows:
        try:
            file = _File(
                path=path.parent / row["file"], kind=kind_of_row, sha256=row["sha256"],
                count=row["count"], bytes=row.get("bytes"),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError):
            faults.append(f"{path}: {row!r} lacks file, sha256 or count; {_PACK}")
        else:
            files.append(file)
    return files


def _check(file: _File) -> tuple[int, bool, str]:
    """Bytes of a file, whether they differ from those listed, and what is wrong (or nothing)."""
    try:
        if not file.path.is_file():
            return 0, False, f"no such file, expected one with {file.count} samples"
        size = file.path.stat().st_size
        found = file_sha256(file.path)
    except OSError as error:
        return 0, False, f"cannot be read ({error.strerror}), expected {file.count} samples"
    if found != file.sha256:
        wrong = f"sha256 is {found}, expected {file.sha256}"
        if file.bytes not in (None, size):
            wrong = f"{size} bytes, expected {file.bytes}; {wrong}"
        return size, True, wrong
    return size, False, _wrong_inside(file, size)


def _wrong_inside(file: _File, size: int) -> str:
    """What an undamaged file has that the index says otherwise, or nothing."""
    try:
        if file.kind:
            shard = Shard(file.path)
            kind, count = shard.kind, len(shard)
            shard.close()
        else:
            kind, count = "", len(read_selection(file.path))
    except UserError as error:
        return _plain(error, file.path)
    if kind != file.kind:
        return f"holds {kind}, expected {file.kind}"
    if count != file.count:
        return f"{count} samples, expected {file.count}"
    if file.bytes not in (None, size):
        return f"{size} bytes, expected {file.bytes}"
    return ""


def _plain(error: Exception, path: Path) -> str:
    """An error's text without the path and without its own advice."""
    return str(error).removeprefix(f"{path}: ").partition("; ")[0]


def _details(files: Sequence[_File]) -> Iterator[str]:
    """What is damaged inside of each shard; nothing more where that process is killed."""
    try:
        yield from map_in_processes(look_into, files, workers=min(1, len(files)), crashed=_crashed)
    except UserError as error:
        log.warning("the damaged shards are not looked into further: %s", error)
    yield from repeat("not looked into")


def _crashed(file: _File) -> str:
    return "the HDF5 library crashes on it"


def look_into(file: _File) -> str:
    """Which samples of a damaged shard do not match their crc32.

    Args:
        file: The shard, as the index lists it.
    """
    shard = Shard(file.path)
    try:
        held, read = len(shard), shard.image if shard.kind == layout.IMAGES else shard.counts
    except Exception as error:  # what is damaged may raise anything, here and below
        return f"it cannot be opened as a shard: {_plain(error, file.path)}"
    most = file.path.stat().st_size // _LEAST_BYTES  # should damage make the number enormous
    bad = [row for row in range(min(held, most)) if not _intact(read, row)]
    found = f"{held} samples, expected {file.count}; " if held != file.count else ""
    if not bad:
        return f"{found}all samples match their crc32: the damage is in the labels, keys or layout"
    try:
        keys = shard.keys
        shown = [f"{row} ({keys[row]})" for row in bad[:_SHOWN]]
    except Exception:
        shown = [str(row) for row in bad[:_SHOWN]]
    more = ", …" if len(bad) > _SHOWN else ""
    return f"{found}{len(bad)} of {held} samples do not match their crc32: {', '.join(shown)}{more}"


def _intact(read: Any, row: int) -> bool:
    try:
        read(row)
    except Exception:
        return False
    return True
