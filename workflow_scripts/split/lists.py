"""Splits that are kept as files: tables of keys and sides, or plain lists of one side each.

A table is a CSV with the columns `key` and `split`, or one that the stage itself wrote. A plain
list is a text file with a key or a file name a line, as torchgeo has them for UC Merced
(`uc_merced-train.txt`: `agricultural00.tif`).
"""

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.split.items import Items
from workflow_scripts.split.table import FIXED, SIDES, read_rows

ListFile = str
_AMBIGUOUS = -1


def list_files(spec: dict[str, Any]) -> list[ListFile]:
    """Paths of all files that the splits of a benchmark are read from, each once."""
    found: list[ListFile] = []
    for entry in spec["files"] if spec["by"] == "lists" else ():
        found += [entry] if isinstance(entry, str) else [entry[s] for s in SIDES if entry.get(s)]
    return list(dict.fromkeys(found))


class Finder:
    """Finds the item that a line of a list means.

    That is the item of that key; else the only one whose key differs in the suffix alone (lists
    of UC Merced name `.tif` files, copies of it hold `.jpg`); else, for a bare file name, the only
    one of that name, with or without suffix.
    """

    def __init__(self, items: Items) -> None:
        self.manifest = items.manifest
        self.loose = 0  # how many were found by less than their key
        self._keys = items.keys
        self._exact = {key: row for row, key in enumerate(items.keys)}
        self._by: list[dict[str, int]] | None = None  # made when the first key is not exact

    def find(self, text: str, where: str) -> int:
        """The row of an item.

        Raises:
            UserError: There is none, or more than one.
        """
        row = self._exact.get(text)
        if row is not None:
            return row
        bare = "/" not in text
        stems, names, bare_stems = self._others()
        for known, key in ((stems, _stem(text)), (names, text), (bare_stems, _stem(text))):
            if known is stems or bare:
                row = known.get(key)
                if row == _AMBIGUOUS:
                    raise UserError(
                        f"{where}: {text!r} is the name of several images of {self.manifest}; "
                        "write their whole keys, such as " + repr(self._keys[0])
                    )
                if row is not None:
                    self.loose += 1
                    return row
        raise UserError(
            f"{where}: {text!r} is no image of {self.manifest} ({len(self._keys)} of them, such as "
            f"{self._keys[0]!r}); correct the list, or take the line out"
        )

    def _others(self) -> list[dict[str, int]]:
        if self._by is None:
            self._by = [{}, {}, {}]
            for row, key in enumerate(self._keys):
                name = PurePosixPath(key).name
                for known, text in zip(self._by, (_stem(key), name, _stem(name)), strict=True):
                    known[text] = _AMBIGUOUS if text in known else row
        return self._by


def _stem(key: str) -> str:
    return os.path.splitext(key)[0]


@dataclass
class Sides:
    """One split while it is read.

    Attributes:
        name: Of the split.
        how: The file or files it is from.
        sides: Side of each item.
        told: Where the side of an item was read, by its row.
    """

    name: str
    how: dict[str, Any]
    sides: list[str]
    told: dict[int, str] = field(default_factory=dict)

    def put(self, row: int, side: str, where: str, key: str) -> None:
        """Say on which side an item stands.

        Raises:
            UserError: It was said before.
        """
        if row in self.told:
            other = self.sides[row]
            twice = f"stands twice for {side}" if other == side else f"is for {side} and {other}"
            raise UserError(
                f"{where}: {key!r} {twice}, see {self.told[row]}; an image stands once in a split"
            )
        self.told[row] = where
        self.sides[row] = side


def read_lists(items: Items, files: Sequence[str | dict[str, Any]]) -> list[Sides]:
    """The splits of some files.

    Args:
        items: The images of the dataset.
        files: Each the path of a CSV, or paths of plain lists by `train`, `val` and `test`.

    Raises:
        UserError: A file is missing or has another form, an image is not of the dataset or stands
            twice, or two splits have one name.
    """
    finder = Finder(items)
    found: list[Sides] = []
    for entry in files:
        if isinstance(entry, str):
            found += _read_table(Path(entry), items, finder)
        else:
            found.append(_read_plain(entry, items, finder))
    names = [one.name for one in found]
    for name in names:
        if names.count(name) > 1 or name in FIXED:
            why = "two files give a split" if names.count(name) > 1 else "a split may not be"
            raise UserError(f"split.files: {why} called {name!r}; rename a file")
    if finder.loose:
        log.info("%d images were found by file name, or with another suffix", finder.loose)
    return found


def _read_table(path: Path, items: Items, finder: Finder) -> list[Sides]:
    """The split of a CSV of keys and sides, or those of a table that this stage wrote."""
    rows = read_rows(path)
    line, header = next(rows, (1, []))
    own = tuple(header[: len(FIXED)]) == FIXED
    columns = header[len(FIXED) :] if own else [name for name in header if name == "split"]
    if "key" not in header or not columns or len(set(header)) < len(header):
        raise UserError(
            f"{path}: line {line} is {','.join(header)[:80]!r}; expected a header with the columns "
            "key and split, each once (key: as in the manifest, split: train, val, test or empty), "
            "or a table made by the stage split"
        )
    at = header.index("key")
    places = [(header.index(name), _empty(name if own else path.stem, path, items))
              for name in columns]  # fmt: skip
    for line, cells in rows:
        where = f"{path}: line {line}"
        if len(cells) != len(header):
            raise UserError(f"{where} has {len(cells)} cells, the header {len(header)}")
        sides = [(cells[place], split) for place, split in places if cells[place]]
        row = finder.find(cells[at], where) if sides else 0
        for side, split in sides:
            if side not in SIDES:
                raise UserError(f"{where}: split is {side!r}; expected train, val, test or empty")
            split.put(row, side, where, cells[at])
    return [split for _, split in places]


def _empty(name: str, path: Path, items: Items) -> Sides:
    return Sides(name, {"file": str(path)}, [""] * len(items.keys))


def _read_plain(entry: dict[str, Any], items: Items, finder: Finder) -> Sides:
    """The split of a list of each side."""
    paths = {side: Path(entry[side]) for side in SIDES if entry.get(side)}
    if not {"train", "test"} <= set(paths):
        raise UserError(
            f"split.files: an entry of plain lists has {', '.join(paths) or 'nothing'}; expected "
            "train and test, and val if there is one"
        )
    how = {side: str(path) for side, path in paths.items()}
    split = Sides(_common_name(paths), how, [""] * len(items.keys))
    for side, path in paths.items():
        for line, text in _lines(path):
            where = f"{path}: line {line}"
            split.put(finder.find(text, where), side, where, text)
    return split


def _common_name(paths: dict[str, Path]) -> str:
    """What the lists of one split are called but for their sides: `uc_merced-train` → `uc_merced`.

    Lists called `train` and `test` are named after their folder.
    """
    names = {path.stem.replace(side, "").strip("-_. ") for side, path in paths.items()}
    if len(names) > 1:
        return paths["train"].stem
    return names.pop() or paths["train"].parent.name or "lists"


def _lines(path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of the lines of a text file that are not empty."""
    try:
        with path.open(encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if text := line.strip():
                    yield number, text
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8 text") from None
