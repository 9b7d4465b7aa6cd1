"""The manifest: one canonical JSON line an item, sorted by key."""

import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypedDict

from workflow_scripts.digests import canonical
from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic


class RemoteFile(TypedDict):
    """Where a file that is not here can be had, and its MD5 if its source tells one."""

    url: str
    md5: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One file of a dataset, or one member of an archive.

    Attributes:
        key: The file's path inside the dataset, with `/`: its name everywhere downstream.
        path: Where it lies, relative to the working folder when below it; of a member, the address
            that `workflow_scripts.stored` understands.
        sha256: Of its bytes; None where it is not here yet (a granule that its source lists).
        bytes: Its size.
        label: Name of its class, or None.
        split: `train`, `val`, `test`, or None.
        labels: Names of its classes, sorted, where images may have several; then `label` is None.
            A line of other datasets has no such key.
        remote: Where a file that is not here yet can be had; else the line has no such key.
    """

    key: str
    path: str
    sha256: str | None
    bytes: int
    label: str | None = None
    split: str | None = None
    labels: tuple[str, ...] | None = None
    remote: RemoteFile | None = None


_SOMETIMES = ("labels", "remote")
_KEYS = {field.name for field in fields(Item)} - {*_SOMETIMES}
_encode = json.JSONEncoder(ensure_ascii=False).encode


def portable_path(path: Path) -> str:
    """The path as a manifest keeps it: relative when below the working folder, else absolute.

    Links are kept as they are, so that `data/raw/ucm` may point to another disk. A member's address
    behind the name of its archive stays.
    """
    full, here = path.absolute(), Path.cwd()
    return (full.relative_to(here) if full.is_relative_to(here) else full).as_posix()


def write_manifest(path: Path, items: Iterable[Item]) -> None:
    """Write a manifest atomically, sorted by key; the items are held in memory to be sorted."""
    write_ordered(path, sorted(items, key=lambda item: item.key))


def write_ordered(path: Path, items: Iterable[Item]) -> None:
    """Write a manifest atomically, item by item.

    Raises:
        UserError: Two items have one key.
        ValueError: The items are not sorted by key.
    """
    before: str | None = None
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8") as file:
        for item in items:
            if before is not None and item.key <= before:
                if item.key < before:
                    raise ValueError(f"{item.key!r} comes after {before!r}")
                raise UserError(
                    f"{item.path}: a second file of the name {item.key!r}; rename one of the two, "
                    "or take it out of the dataset"
                )
            before = item.key
            file.write(line_of(item) + "\n")


def line_of(item: Item) -> str:
    """An item as a line of a manifest, without the line feed: what `canonical` gives."""
    # Member by member in the order of the names: `canonical` takes four times as long.
    labels = "" if item.labels is None else f'"labels":{canonical(item.labels)},'
    remote = "" if item.remote is None else f'"remote":{canonical(item.remote)},'
    return (
        f'{{"bytes":{item.bytes},"key":{_encode(item.key)},"label":{_text(item.label)},{labels}'
        f'"path":{_encode(item.path)},{remote}"sha256":{_text(item.sha256)},'
        f'"split":{_text(item.split)}}}'
    )


def _text(value: str | None) -> str:
    return "null" if value is None else _encode(value)


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
            if not _is_item(row):
                raise UserError(
                    f"{path}: line {number} is {line[:80]!r}, expected a JSON object with the "
                    f"keys {', '.join(sorted(_KEYS))} (and perhaps {', '.join(_SOMETIMES)}); run "
                    "fetch for this dataset again"
                )
            if row.get("labels") is not None:
                row["labels"] = tuple(row["labels"])
            yield Item(**row)


def _is_item(row: Any) -> bool:
    if not isinstance(row, dict) or row.keys() - {*_SOMETIMES} != _KEYS:
        return False
    if not isinstance(row["sha256"], str | None):
        return False
    return "remote" not in row or _is_remote(row["remote"])


def _is_remote(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and value.keys() == RemoteFile.__annotations__.keys()
        and isinstance(value["url"], str)
        and isinstance(value["md5"], str | None)
    )


def sha256_here(item: Item, manifest: Path) -> str:
    """The checksum of an item that has to be here.

    Raises:
        UserError: Its source lists it, but it was never downloaded, so that nobody knows its bytes.
    """
    if item.sha256 is None:
        raise UserError(
            f"{manifest}: {item.key} is listed at its source and was not downloaded, so that it "
            "has no sha256; only granules of `kind: modis-l1b` may be so, and only `tile` gets them"
        )
    return item.sha256
