"""From found files to items with checksums, and the summary of a dataset."""

import hashlib
from collections import Counter, defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.fetch.manifest import Item, portable_path
from workflow_scripts.logs import log, progress
from workflow_scripts.threads import map_in_order

SetAside = dict[str, str]


def _checksum(path: Path, *, empty: bool) -> tuple[str, int] | str:
    """(sha256, bytes) of a file, or the reason why it is set aside."""
    try:
        with path.open("rb") as file:
            checksum = hashlib.file_digest(file, "sha256").hexdigest()
            size = file.tell()
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return (checksum, size) if size or empty else "empty file (0 bytes)"


def take_inventory(
    files: Sequence[tuple[str, Path]], *, workers: int | None = None, empty: bool = False
) -> tuple[list[Item], list[SetAside]]:
    """Read every file once.

    Args:
        files: (key, path) of each.
        workers: Threads that read and hash.
        empty: Whether empty files are items too (else they are set aside).

    Returns:
        The items, without label and split, and the files set aside as {"key", "reason"}, both in
        the order given.
    """
    items, set_aside = [], []
    sums = map_in_order(lambda file: _checksum(file[1], empty=empty), files, workers=workers)
    for (key, path), found in zip(
        files, progress(sums, what="checksums", total=len(files)), strict=True
    ):
        readable = key.encode("utf-8", "backslashreplace").decode()
        if readable != key:
            found = "file name is not UTF-8; rename it"
        if isinstance(found, str):
            set_aside.append({"key": readable, "reason": found})
            log.warning("%s set aside: %s", readable, found)
            continue
        items.append(Item(key=key, path=portable_path(path), sha256=found[0], bytes=found[1]))
    return items, set_aside


def summary(
    items: Sequence[Item],
    set_aside: Sequence[SetAside],
    *,
    dataset: str,
    synthetic: bool,
    source: str,
) -> dict[str, Any]:
    """What a dataset's manifest holds, for the log and the report.

    Returns:
        Counts and names; an image of several labels counts with each. `duplicates` is the number
        of items whose bytes another item has too, `duplicates_across_splits` how many of them have
        their copy in another split.
    """
    counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    splits_by_content: defaultdict[str, set[str | None]] = defaultdict(set)
    copies = Counter(item.sha256 for item in items)
    for item in items:
        counts[item.split or "none"].update(item.labels or [item.label or "none"])
        splits_by_content[item.sha256].add(item.split)
    return {
        "dataset": dataset,
        "synthetic": synthetic,
        "source": source,
        "items": len(items),
        "bytes": sum(item.bytes for item in items),
        "classes": sorted({name for item in items for name in _names(item)}),
        "class_counts": {split: dict(sorted(classes.items())) for split, classes in counts.items()},
        "duplicates": sum(copies[item.sha256] > 1 for item in items),
        "duplicates_across_splits": sum(len(splits_by_content[i.sha256]) > 1 for i in items),
        "set_aside": list(set_aside),
    }


def _names(item: Item) -> tuple[str, ...]:
    if item.labels is not None:
        return item.labels
    return () if item.label is None else (item.label,)
