"""The table of a benchmark's splits: written by the stage, read by all that judge encoders."""

import csv
import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.digests import canonical, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic, read_json
from workflow_scripts.shards.layout import SPLIT_NAMES as SIDES
from workflow_scripts.split.items import JOINS

FIXED = ("key", "sha256", "label")  # columns before those of the splits
_PLACE = {"": -1} | {name: number for number, name in enumerate(SIDES)}


def split_digest(keys: Sequence[str], sides: Sequence[str], labels: Sequence[str]) -> str:
    """What is trained and judged on: the digest of [key, side, label], sorted, of all with a side.

    Equals `digests.digest` of that list, without holding its text. Items without a side do not
    count: a new file beside a published list leaves its split what it is.
    """
    rows = [number for number, side in enumerate(sides) if side]
    total = hashlib.sha256(b"[")
    before = ""
    for row in sorted(rows, key=keys.__getitem__):
        total.update((before + canonical([keys[row], sides[row], labels[row]])).encode())
        before = ","
    total.update(b"]")
    return total.hexdigest()


def write_table(
    path: Path,
    keys: Sequence[str],
    contents: Sequence[str],
    labels: Sequence[str],
    splits: Mapping[str, Sequence[str]],
) -> None:
    """Write a table atomically.

    Args:
        path: The CSV.
        keys: Name of each item.
        contents: sha256 of each.
        labels: Class of each, or several joined by `;`.
        splits: Side of each (or an empty text), by the name of the split.
    """
    with atomic(path) as temporary, temporary.open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow([*FIXED, *splits])
        writer.writerows(zip(keys, contents, labels, *splits.values(), strict=True))


def read_rows(path: Path) -> Iterator[tuple[int, list[str]]]:
    """Yield (line number, cells) of a CSV's rows, the header first; empty lines are left out.

    Raises:
        UserError: No such file, it is not UTF-8, or not CSV.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file, strict=True)
            for cells in reader:
                if cells:
                    yield reader.line_num, cells
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}") from None
    except UnicodeDecodeError as error:
        raise UserError(f"{path}: not UTF-8 ({error.reason}); save it as UTF-8 text") from None
    except csv.Error as error:
        raise UserError(f"{path}: line {reader.line_num} is not CSV ({error})") from None


@dataclass(frozen=True, kw_only=True)
class SplitTable:
    """A benchmark's splits.

    Attributes:
        path: The CSV.
        dataset: Whose items these are.
        keys: Name of each item, as in the manifest.
        contents: sha256 of each.
        labels: Class of each, or several joined by `;`; empty where it has none.
        classes: Names, sorted.
        multi_label: Whether items have several labels.
        names: Of the splits.
        sides: (items,) int8 of each split: place in `train, val, test`, −1 for none.
        digests: Of each split.
    """

    path: Path
    dataset: str
    keys: list[str]
    contents: list[str]
    labels: list[str]
    classes: list[str]
    multi_label: bool
    names: list[str]
    sides: dict[str, NDArray[np.int8]]
    digests: dict[str, str]

    def side(self, name: str) -> NDArray[np.int8]:
        """(items,) place of each item's side in `train, val, test`; −1 where it stands on none.

        Raises:
            UserError: There is no such split.
        """
        return self.sides[self._known(name)]

    def digest(self, name: str) -> str:
        """The digest of a split.

        Raises:
            UserError: There is no such split.
        """
        return self.digests[self._known(name)]

    def _known(self, name: str) -> str:
        if name not in self.sides:
            raise UserError(f"{self.path}: no split {name!r}, it has {', '.join(self.names)}")
        return name

    def label_numbers(self) -> NDArray[np.int32]:
        """(items,) places of classes in `classes`, −1 for none; only of items with one label."""
        place = {"": -1} | {name: number for number, name in enumerate(self.classes)}
        return np.array([place[label] for label in self.labels], np.int32)

    def label_matrix(self) -> NDArray[np.bool_]:
        """(items, classes) whether an item has a label."""
        place = {name: number for number, name in enumerate(self.classes)}
        found = np.zeros((len(self.labels), len(self.classes)), bool)
        for row, text in enumerate(self.labels):
            names = text.split(JOINS) if self.multi_label else [text]
            found[row, [place[name] for name in names if text]] = True
        return found


def read_splits(path: Path) -> SplitTable:
    """A benchmark's splits from the CSV that the stage wrote and the JSON beside it.

    Raises:
        UserError: One is missing or damaged, or they are not of each other.
    """
    body = read_json(path.with_suffix(".json"))
    if not path.is_file():
        raise UserError(f"{path}: no such file; make the benchmark's splits first")
    if file_sha256(path) != body["table"]["sha256"]:
        raise UserError(
            f"{path}: its checksum is not the one in {path.with_suffix('.json')}; it was edited or "
            "copied alone: make the splits again"
        )
    names = [row["name"] for row in body["splits"]]
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    if header != [*FIXED, *names]:
        raise UserError(f"{path}: its columns are {header}, expected {[*FIXED, *names]}")
    keys: list[str] = []
    contents: list[str] = []
    labels: list[str] = []
    known: dict[str, str] = {}
    sides: list[bytearray] = [bytearray() for _ in names]
    for _, (key, content, label, *cells) in rows:
        keys.append(key)
        contents.append(content)
        labels.append(known.setdefault(label, label))
        for column, cell in zip(sides, cells, strict=True):
            column.append(_PLACE[cell] & 0xFF)
    return SplitTable(
        path=path,
        dataset=body["dataset"],
        keys=keys,
        contents=contents,
        labels=labels,
        classes=body["classes"],
        multi_label=body["multi_label"],
        names=names,
        sides={
            name: np.frombuffer(bytes(column), np.int8)
            for name, column in zip(names, sides, strict=True)
        },
        digests={row["name"]: row["digest"] for row in body["splits"]},
    )


def judged_items(path: Path) -> Iterator[tuple[str, str]]:
    """Yield (key, sha256) of each item that is a test item of some split of a table.

    Raises:
        UserError: The table is missing or is not one.
    """
    rows = read_rows(path)
    _, header = next(rows, (0, []))
    if tuple(header[: len(FIXED)]) != FIXED:
        raise UserError(f"{path}: its columns are {header}, expected {', '.join(FIXED)} first")
    for _, (key, content, _, *cells) in rows:
        if "test" in cells:
            yield key, content
