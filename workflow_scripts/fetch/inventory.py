"""From found files to items with checksums, and the summary of a dataset."""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.fetch.hashing import Content, Hashed, hash_files
from workflow_scripts.fetch.listing import Listing
from workflow_scripts.fetch.manifest import Item
from workflow_scripts.fetch.seen import Seen
from workflow_scripts.logs import log, progress

SetAside = dict[str, str]
Told = tuple[str | None, str | None, Sequence[str] | None]  # split, label, labels

MOST_LISTED = 2000  # files set aside that a summary names
_MOST_WARNINGS = 100
_OTHER = "other reasons"


class SetAsides(list[SetAside]):
    """The first files set aside, as {"key", "reason"}; `reasons` counts all of them."""

    def __init__(self, rows: Iterable[SetAside] = ()) -> None:
        super().__init__()
        self.reasons: Counter[str] = Counter()
        for row in rows:
            self.add(row["key"], row["reason"])

    @property
    def total(self) -> int:
        """How many there are."""
        return self.reasons.total()

    def add(self, key: str, reason: str) -> None:
        """Count a file, and keep it if it is among the first."""
        known = reason in self.reasons or len(self.reasons) < MOST_LISTED
        self.reasons[reason if known else _OTHER] += 1
        if len(self) < MOST_LISTED:
            self.append({"key": key, "reason": reason})


def _nothing_told(key: str) -> Told:
    return None, None, None


def take_inventory(
    files: Iterable[FoundFile],
    *,
    workers: int | None = None,
    empty: bool = False,
    told: Callable[[str], Told] = _nothing_told,
    seen: Path | None = None,
    total: int | Callable[[], int] | None = None,
) -> tuple[Listing, SetAsides]:
    """Read every file once, or not at all if it was seen before; few are in memory at a time.

    Args:
        files: Taken one by one; members of an archive in the order in which they lie there.
        workers: Threads, then processes, that read and hash.
        empty: Whether empty files are items too (else they are set aside).
        told: Split, label and labels of an item, by its key.
        seen: The file of what was seen before; None reads everything.
        total: How many files there are, or what counts them, for the log.

    Returns:
        The items and the files set aside, both in the order given.

    Raises:
        UserError: No room for the list or for what was seen, or a process was killed twice.
    """
    items, set_aside = Listing(), SetAsides()
    with Seen(seen) if seen is not None else nullcontext() as cache:
        known = _unknown if cache is None else cache.known
        found = hash_files(_portable(files), known, workers=workers)
        for one in progress(found, what="checksums", total=total):
            file, content = one.file, one.content
            reason = _why_aside(one, empty=empty)
            if reason is None and not isinstance(content, str):
                items.add_row(file.key, file.path, *content, told(file.key))
                if cache is not None:
                    cache.add(one)
                continue
            readable = file.key.encode("utf-8", "backslashreplace").decode()
            set_aside.add(readable, str(reason))
            if set_aside.total <= _MOST_WARNINGS:
                log.warning("%s set aside: %s", readable, reason)
        if cache is not None:
            cache.keep_only(items.paths())
    if set_aside.total > _MOST_WARNINGS:
        log.warning("%d files set aside; the first %d are told", set_aside.total, _MOST_WARNINGS)
    return items, set_aside


def _unknown(files: Sequence[FoundFile]) -> list[Content | None]:
    """What is known of files when nothing was seen before."""
    return [None] * len(files)


def _portable(files: Iterable[FoundFile]) -> Iterator[FoundFile]:
    """The files with their paths as `manifest.portable_path` keeps them, and much faster.

    Found paths are joined from a normal path and names: a beginning is taken off, nothing else.
    """
    here = str(Path.cwd()).rstrip("/") + "/"
    for file in files:
        for below in (here, "./"):
            if file.path.startswith(below):
                file = file._replace(path=file.path[len(below) :])
        yield file


def _why_aside(one: Hashed, *, empty: bool) -> str | None:
    key = one.file.key
    if not key.isascii() and key.encode("utf-8", "replace").decode() != key:
        return "file name is not UTF-8; rename it"
    if isinstance(one.content, str):
        return one.content
    return None if one.content[1] or empty else "empty file (0 bytes)"


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
        their copy in another split. `set_aside` names the first files only where there are more
        than `MOST_LISTED`; then `set_aside_reasons` counts all.
    """
    items = items if isinstance(items, Listing) else Listing(items)
    set_aside = set_aside if isinstance(set_aside, SetAsides) else SetAsides(set_aside)
    body = {
        "dataset": dataset,
        "synthetic": synthetic,
        "source": source,
        "items": len(items),
        **asdict(items.totals()),
        "set_aside": list(set_aside),
    }
    if set_aside.total > len(set_aside):
        body["set_aside_reasons"] = dict(set_aside.reasons)
    return body
