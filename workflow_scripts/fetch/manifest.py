"""The manifest: one canonical JSON line an item, sorted by key."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path

from workflow_scripts.digests import canonical
from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of a dataset.

    Attributes:
        key: The file's path inside the dataset, with `/`: its name everywhere downstream.
        path: Where it lies, relative to the working folder when below it.
        sha256: Of its bytes; None of a file that is still to be downloaded.
        bytes: Its size.
        label: Name of its class, or None.
        split: `train`, `val`, `test`, or None.
        labels: Names of its classes, sorted, where images may have several; then `label` is None.
            A line of other datasets has no such key.
        remote: Where a file comes from that is downloaded when it is needed: `url`, relative to
            the address of its source, and `md5` or None. A line of other files has no such key.
    """

    key: str
    path: str
    sha256: str | None
    bytes: int
    label: str | None = None
    split: str | None = None
    labels: tuple[str, ...] | None = None
    remote: dict[str, str | None] | None = None


_SEVERAL, _REMOTE = "labels", "remote"
_NOT_ALWAYS = {_SEVERAL, _REMOTE}
_KEYS = {field.name for field in fields(Item)} - _NOT_ALWAYS


def portable_path(path: Path) -> str:
    """The path as a manifest keeps it: relative when below the working folder, else absolute.

    Links are kept as they are, so that `data/raw/ucm` may point to another disk.
    """
    full, here = path.absolute(), Path.cwd()
    return (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()


def write_manifest(path: Path, items: Iterable[Item]) -> None:
    """Write a manifest atomically, sorted by key."""
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in sorted(items, key=lambda item: item.key):
            row = asdict(item)
            for name in _NOT_ALWAYS:
                if row[name] is None:
                    del row[name]
            file.write(canonical(row) + "\n")


def read_manifest(path: Path) -> Iterator[Item]:
    """Yield a manifest's items one by one.

    Raises:
        UserError: The manifest is missing or a line of it is not an item.
    """
    try:
        file = path.open(encoding="utf-8")
    except FileNotFoundError:
        raise UserError(f"{path}: no such manifest; run fetch for this dataset first") from None
    with file:
        for number, line in enumerate(file, 1):
            try:
                row = json.loads(line)
            except ValueError:
                row = None
            if not isinstance(row, dict) or row.keys() - _NOT_ALWAYS != _KEYS:
                raise UserError(
                    f"{path}: line {number} is {line[:80]!r}, expected a JSON object with the "
                    f"keys {', '.join(sorted(_KEYS))}; run fetch for this dataset again"
                )
            if row.get(_SEVERAL) is not None:
                row[_SEVERAL] = tuple(row[_SEVERAL])
            yield Item(**row)
