"""Images that a table lists, each with its label, or with several, and its split."""

import csv
import sys
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any, TypedDict

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import SPLITS
from workflow_scripts.stored import address_in

PATH, LABEL, LABELS, SPLIT = "path", "label", "labels", "split"
JOINS = ";"  # between several labels


class Told(TypedDict):
    """What a row says of its image."""

    label: str | None
    labels: tuple[str, ...] | None
    split: str | None


def read_list(table: Path, *, dataset: str, obtain: str) -> dict[str, Told]:
    """What a table says of each image, by its key; a million rows take some 400 MB.

    Args:
        table: A CSV with a header: `path`, `label` or `labels`, and perhaps `split`.
        dataset: Name in the config, for messages.
        obtain: Where the data can be had.

    Returns:
        By the path of each image with `/`, in the table's order. An empty label is none.

    Raises:
        UserError: No table; another header; a row with another number of cells, no
            path, one outside the folder or one that was there before, or no such split.
    """
    if not table.is_file():
        raise UserError(
            f"dataset {dataset}: {table} does not exist.\n{obtain}\n"
            f"Put the data there, or set datasets.{dataset}.list to where it is."
        )
    try:
        with table.open(encoding="utf-8-sig", newline="") as file:
            return _read(csv.reader(file, strict=True), table)
    except UnicodeDecodeError as error:
        raise UserError(f"{table}: not UTF-8 ({error.reason}); save it as UTF-8 text") from None


def _read(reader: Any, table: Path) -> dict[str, Told]:
    found: dict[str, Told] = {}
    rows = _rows(reader, table)
    header = next(rows, [])
    place = _columns(header, table)
    for cells in rows:
        where = f"{table}: line {reader.line_num}"
        if len(cells) != len(header):
            raise UserError(f"{where} has {len(cells)} cells, the header {len(header)}")
        key = _key(cells[place[PATH]], where)
        if key in found:
            raise UserError(
                f"{where}: {key!r} stands in an earlier line too; an image has one row (several "
                f"labels: a column `labels`, separated by `{JOINS}`)"
            )
        found[key] = _told(cells, place, where)
    return found


def _rows(reader: Any, table: Path) -> Iterator[list[str]]:
    """Rows that are not empty."""
    try:
        for cells in reader:
            if cells:
                yield cells
    except csv.Error as error:
        raise UserError(f"{table}: line {reader.line_num} is not CSV ({error})") from None


def _columns(header: list[str], table: Path) -> dict[str, int]:
    """Places of the columns that are read."""
    known = [name for name in header if name in (PATH, LABEL, LABELS, SPLIT)]
    if PATH not in known or (LABEL in known) == (LABELS in known) or len({*known}) < len(known):
        raise UserError(
            f"{table}: line 1 is {','.join(header)[:80]!r}; expected a header with the columns "
            f"{PATH} and {LABEL} (or {LABELS}: several, separated by `{JOINS}`), perhaps {SPLIT}, "
            "each once"
        )
    return {name: header.index(name) for name in known}


def _key(text: str, where: str) -> str:
    """A path relative to the folder, in one form."""
    path = PurePosixPath(text)
    if address_in(text) is not None:
        raise UserError(
            f"{where}: path is {text!r}, which reads as the address of a member; rename it"
        )
    if not text or path.is_absolute() or ".." in path.parts or path == PurePosixPath("."):
        raise UserError(
            f"{where}: path is {text!r}; expected one below the dataset's folder, relative to it "
            "and without `..`"
        )
    return path.as_posix()


def _told(cells: list[str], place: dict[str, int], where: str) -> Told:
    split = cells[place[SPLIT]].strip() if SPLIT in place else ""
    if split and split not in SPLITS:
        raise UserError(f"{where}: split is {split!r}; expected {', '.join(SPLITS)} or empty")
    label, labels = None, None
    # A few names, a million times: each is kept once.
    if LABEL in place:
        label = sys.intern(cells[place[LABEL]].strip()) or None
    else:
        names = {name.strip() for name in cells[place[LABELS]].split(JOINS)} - {""}
        labels = tuple(map(sys.intern, sorted(names)))
    return Told(label=label, labels=labels, split=sys.intern(split) or None)
