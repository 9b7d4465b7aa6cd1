"""The items of a dataset on their way to its manifest: on disk, so that a million take no memory.

They are kept in a temporary SQLite database, which has no name and ends with its process. It grows
to some 250 bytes an item in the folder for temporary files (TMPDIR).
"""

import json
import sqlite3
import sys
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, overload

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item
from workflow_scripts.fetch.splits import SIDES, place, sides_by_place

_COLUMNS = "key, path, sha256, bytes, label, split, labels, remote"
_TABLE = (
    "CREATE TABLE items (key TEXT, path TEXT, sha256 BLOB, bytes INTEGER, label TEXT, split TEXT, "
    "labels TEXT, remote TEXT)"
)
_CACHE_KIB = 32 * 1024
_ROWS = 1000  # added at a time

Row = tuple[str, str, bytes | None, int, str | None, str | None, str | None, str | None]


@dataclass(frozen=True, kw_only=True)
class Totals:
    """Sums over a listing; an item of several labels counts with each.

    Attributes:
        bytes: Of all items.
        classes: Names, sorted.
        class_counts: Items of each class by split, `none` standing for no split and no class.
        duplicates: Items whose bytes another item has too.
        duplicates_across_splits: How many of them have their copy in another split.
    """

    bytes: int
    classes: list[str]
    class_counts: dict[str, dict[str, int]]
    duplicates: int
    duplicates_across_splits: int


class Listing(Sequence[Item]):
    """Items in the order in which they were added."""

    def __init__(self, items: Iterable[Item] = ()) -> None:
        # isolation_level: no commits, since nothing here outlives the process.
        self._db = sqlite3.connect("", isolation_level=None)
        self._db.executescript(
            "PRAGMA journal_mode = OFF; PRAGMA synchronous = OFF; "
            f"PRAGMA cache_size = -{_CACHE_KIB}; {_TABLE}; BEGIN;"
        )
        self._count, self._last, self._sorted = 0, "", True
        self._waiting: list[Row] = []
        for item in items:
            self.add(item)

    def add(self, item: Item) -> None:
        """Append an item."""
        self.add_row(
            item.key,
            item.path,
            None if item.sha256 is None else bytes.fromhex(item.sha256),
            item.bytes,
            (item.split, item.label, item.labels),
            remote=None if item.remote is None else json.dumps(item.remote),
        )

    def add_row(
        self,
        key: str,
        path: str,
        sha256: bytes | None,
        size: int,
        told: tuple[str | None, str | None, Sequence[str] | None],
        *,
        remote: str | None = None,
    ) -> None:
        """Append an item by its parts; `told` is its split, its label and its labels."""
        self._sorted &= key > self._last
        self._last = key
        split, label, labels = told
        names = None if labels is None else json.dumps(labels)
        self._waiting.append((key, path, sha256, size, label, split, names, remote))
        self._count += 1
        if len(self._waiting) == _ROWS:
            self._flush()

    def _flush(self) -> None:
        try:
            self._db.executemany("INSERT INTO items VALUES (?,?,?,?,?,?,?,?)", self._waiting)
        except sqlite3.OperationalError as error:
            raise UserError(
                f"the folder for temporary files (TMPDIR) does not take a list of {self._count:,} "
                f"files ({error}); make room there, or name another one, and start again"
            ) from None
        self._waiting.clear()

    def _rows(self, query: str, *values: Any) -> Iterator[Any]:
        self._flush()
        return self._db.execute(query, values)

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Item]:
        return map(_item, self._rows(f"SELECT {_COLUMNS} FROM items ORDER BY rowid"))

    @overload
    def __getitem__(self, index: int) -> Item: ...
    @overload
    def __getitem__(self, index: slice) -> list[Item]: ...
    def __getitem__(self, index: int | slice) -> Item | list[Item]:
        places = range(self._count)[index]
        if isinstance(places, range):
            return [self[place] for place in places]
        row = next(self._rows(f"SELECT {_COLUMNS} FROM items WHERE rowid = ?", places + 1))
        return _item(row)

    def by_key(self) -> Iterator[Item]:
        """The items sorted by key."""
        order = "rowid" if self._sorted else "key"
        return map(_item, self._rows(f"SELECT {_COLUMNS} FROM items ORDER BY {order}"))

    def paths(self) -> Iterator[str]:
        """The path of every item."""
        return (path for (path,) in self._rows("SELECT path FROM items"))

    def split_by_fraction(self, fractions: dict[str, float], *, seed: int) -> None:
        """Give every item the split that `splits.split_by_fraction` gives it, class by class.

        Raises:
            UserError: The fractions sum to more than 1.
        """
        places, labels = bytearray(), []
        for content, label in self._rows("SELECT sha256, label FROM items ORDER BY rowid"):
            places += place(content.hex(), seed)
            labels.append(label if label is None else sys.intern(label))
        sides = sides_by_place(places, labels, fractions)
        names = ((SIDES[side], row) for row, side in enumerate(map(int, sides), 1))
        self._db.executemany("UPDATE items SET split = ? WHERE rowid = ?", names)

    def totals(self) -> Totals:
        """Counts over all items."""
        (size,) = next(self._rows("SELECT coalesce(sum(bytes), 0) FROM items"))
        classes: set[str] = set()
        counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
        for split, label, labels, count in self._rows(
            "SELECT split, label, labels, count(*) FROM items GROUP BY split, label, labels"
        ):
            names = ([] if label is None else [label]) if labels is None else json.loads(labels)
            classes.update(names)
            for name in names or [label or "none"]:
                counts[split or "none"][name] += count
        copies, across = next(
            self._rows(
                "SELECT coalesce(sum(copies), 0), coalesce(sum(copies * (splits > 1)), 0) FROM "
                "(SELECT count(*) AS copies, count(DISTINCT coalesce(split, '')) AS splits "
                "FROM items WHERE sha256 IS NOT NULL GROUP BY sha256 HAVING copies > 1)"
            )
        )
        return Totals(
            bytes=size, classes=sorted(classes),
            class_counts={split: dict(sorted(found.items())) for split, found in counts.items()},
            duplicates=copies, duplicates_across_splits=across,
        )  # fmt: skip


def _item(row: Row) -> Item:
    key, path, sha256, size, label, split, labels, remote = row
    return Item(
        key=key,
        path=path,
        sha256=None if sha256 is None else sha256.hex(),
        bytes=size,
        label=label,
        split=split,
        labels=None if labels is None else tuple(json.loads(labels)),
        remote=None if remote is None else json.loads(remote),
    )
