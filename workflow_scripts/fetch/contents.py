"""What a dataset consists of: files of folders, members of archives and single files, as one list.

Members of zip and uncompressed tar files are listed where they lie; archives that cannot be read in
place are unpacked first, once.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import chain
from pathlib import Path
from typing import Any

from workflow_scripts.archives.listed import SetAside
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import ARCHIVE_SUFFIXES, FoundFile, files_below, names_below

_TOLD = 12  # folders in a message
_DEEP = 3  # levels of them


@dataclass(frozen=True, kw_only=True)
class Part:
    """A folder, an archive or a single file of a dataset.

    Attributes:
        name: What it is called in messages; of a single file its key.
        path: Where it lies.
        is_archive: Whether its members count, and not the file itself.
        sha256: Of an archive, if it is known.
    """

    name: str
    path: Path
    is_archive: bool = False
    sha256: str | None = None


@dataclass(kw_only=True)
class Reading:
    """How the parts of a dataset are read.

    Attributes:
        dataset: Its name in the config.
        suffixes: What the names of its files end in, small; an empty one takes all.
        root: Folder inside the parts below which keys begin; empty: the top.
        unpacked: Folder for archives that are not read in place; None: there is none.
        parquet: Columns of parquet files, `image` and `label`.
        set_aside: Members that cannot be used, as {"key", "reason"}; grows while files are listed.
    """

    dataset: str
    suffixes: tuple[str, ...]
    root: str = ""
    unpacked: Path | None = None
    parquet: dict[str, Any] | None = None
    set_aside: list[dict[str, str]] = field(default_factory=list)

    def wanted(self, name: str) -> bool:
        """Whether a file of that name is one of the dataset."""
        return name.lower().endswith(self.suffixes)


def looks_like_archive(name: str, *, tables: bool) -> bool:
    """Whether a file of that name is an archive.

    Args:
        name: Its name.
        tables: Whether parquet files are the dataset's tables, and no archives.
    """
    suffixes = tuple(one for one in ARCHIVE_SUFFIXES if not (tables and one == ".parquet"))
    return name.lower().endswith(suffixes)


def contents(parts: Sequence[Part], reading: Reading) -> Iterator[FoundFile]:
    """The files of a dataset: of a folder in the order of keys, of an archive as they lie there.

    Raises:
        UserError: There is none; two parts have a file of the same key; an archive cannot be used.
    """
    found = _each_once(parts, reading) if len(parts) > 1 else _of_part(parts[0], reading)
    first = next(found, None)
    if first is None:
        raise UserError(_nothing(parts, reading))
    return chain([first], found)


def _each_once(parts: Sequence[Part], reading: Reading) -> Iterator[FoundFile]:
    names: dict[str, str] = {}
    for part in parts:
        for file in _of_part(part, reading):
            if file.key in names:
                raise UserError(
                    f"dataset {reading.dataset}: {file.key} is in {names[file.key]} and in "
                    f"{part.name}; a file of a dataset has a key of its own: make two datasets of "
                    "them, or take it out of one"
                )
            names[file.key] = part.name
            yield file


def _of_part(part: Part, reading: Reading) -> Iterator[FoundFile]:
    """Files of one part by their keys."""
    if part.path.is_dir():
        return files_below(part.path / reading.root, reading.wanted)
    if not part.is_archive:
        return _single(part, reading)
    # Here: most datasets are folders, and NumPy and pyarrow double the start of their fetch.
    from workflow_scripts.archives.members import in_place

    if in_place(part.path):
        return _members(part, reading)
    return files_below(_unpacked(part, reading) / reading.root, reading.wanted)


def _single(part: Part, reading: Reading) -> Iterator[FoundFile]:
    key = _below(part.name, reading.root)
    if key and reading.wanted(key):
        seen = part.path.stat()
        yield FoundFile(key=key, path=str(part.path), bytes=seen.st_size, mtime_ns=seen.st_mtime_ns)


def _members(part: Part, reading: Reading) -> Iterator[FoundFile]:
    from workflow_scripts.archives.members import members

    mtime_ns = part.path.stat().st_mtime_ns
    for member in members(part.path):
        if isinstance(member, SetAside):
            _set_aside(part, member, reading)
            continue
        key = _below(member.key, reading.root)
        if key and reading.wanted(key):
            yield FoundFile(key, member.address, member.bytes, mtime_ns, member.crc32)


def _unpacked(part: Part, reading: Reading) -> Path:
    """The folder of an archive that is not read in place; filled if that was not done."""
    from workflow_scripts.archives.parquet_rows import Columns
    from workflow_scripts.archives.unpack import unpack

    if reading.unpacked is None:
        raise UserError(
            f"dataset {reading.dataset}: {part.path} is not read where it lies, and there is no "
            "folder to unpack it into; give --raw, or unpack it by hand and set "
            f"datasets.{reading.dataset}.path to the folder"
        )
    done = unpack(
        part.path, reading.unpacked / part.name, columns=Columns(**(reading.parquet or {})),
        sha256=part.sha256,
    )  # fmt: skip
    for member in done.set_aside:
        _set_aside(part, member, reading)
    return done.folder


def _set_aside(part: Part, member: SetAside, reading: Reading) -> None:
    reading.set_aside.append({"key": f"{part.name}: {member.key}", "reason": member.reason})


def _below(name: str, root: str) -> str | None:
    """A name relative to the root; None for one outside."""
    if not root:
        return name
    return name.removeprefix(f"{root}/") if name.startswith(f"{root}/") else None


def keys(parts: Sequence[Part], reading: Reading) -> Iterator[str]:
    """Keys of the files, found again; of folders without asking for each file's state."""
    bare = replace(reading, set_aside=[])
    for part in parts:
        if part.path.is_dir():
            for key, _ in names_below(part.path / reading.root, reading.wanted):
                yield key
        else:
            for file in _of_part(part, bare):
                yield file.key


def _nothing(parts: Sequence[Part], reading: Reading) -> str:
    """What is wrong where no file was found."""
    names = ", ".join(str(part.path) for part in parts[:_TOLD])
    kinds = ", ".join(filter(None, reading.suffixes)) or "any file"
    where = f" below the folder {reading.root!r} in it" if reading.root else ""
    seen = f"dataset {reading.dataset}: {names} holds nothing of the dataset ({kinds}){where}"
    there = sorted({folder for part in parts for folder in _folders(part, reading)})
    if not reading.root or not there:
        return f"{seen}."
    more = f" and {len(there) - _TOLD} more" if len(there) > _TOLD else ""
    return (
        f"{seen}; the folders there are {', '.join(there[:_TOLD])}{more}: set "
        f"datasets.{reading.dataset}.root to the one that holds the classes"
    )


def _folders(part: Part, reading: Reading) -> Iterator[str]:
    """Folders that hold something of the dataset, not too deep."""
    for key in keys([part], replace(reading, root="")):
        above = key.split("/")[:-1]
        for depth in range(1, min(len(above), _DEEP) + 1):
            yield "/".join(above[:depth])
