"""The catalogue on a terminal: a table of all entries, or one entry whole."""

import difflib
import textwrap
from collections.abc import Mapping

from workflow_scripts.catalogue.entries import Entry
from workflow_scripts.catalogue.words import (
    NOT_STATED,
    command,
    config_lines,
    counts,
    entry_origin,
    files,
    how,
    instructions,
    marks,
    short_size,
    size,
    unusable,
)
from workflow_scripts.errors import UserError

_WIDTH = 100
_HEAD = ("name", "size", "had by", "licence", "what it holds")


def table(known: Mapping[str, Entry]) -> str:
    """A line an entry."""
    rows = [_HEAD] + [
        (name, short_size(entry), how(entry.source), entry.licence or NOT_STATED, entry.what)
        for name, entry in known.items()
    ]
    widths = [max(len(row[column]) for row in rows) for column in range(len(_HEAD) - 1)]
    lines = ["  ".join([*map(str.ljust, row, widths), row[-1]]) for row in rows]
    return "\n".join([*lines, "", "python -m workflow_scripts.fetch --list NAME shows one whole."])


def whole(name: str, known: Mapping[str, Entry]) -> str:
    """All of an entry, how to use it, and what to do by hand.

    Raises:
        UserError: There is no such entry.
    """
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"the catalogue has no entry {name!r}{hint}; it has {', '.join(known)}")
    entry = known[name]
    lines = [f"{name}: {entry.title}", *_field("", entry.what)]
    lines += _field("version", entry.version)
    lines += _field("size", size(entry))
    lines += _field("licence", entry.licence or NOT_STATED)
    lines += _field("cite", entry.citation)
    lines += _field("see", entry.homepage)
    lines += _field("source", entry_origin(entry))
    for file in files(entry.source):
        lines += _field("file", file.name)
        lines += [f"            {mark}" for mark in marks(file)]
    for name_of_line, line in zip(("expected", "classes"), counts(entry.expected), strict=False):
        lines += _field(name_of_line, line)
    lines += _field("layout", _layout(entry))
    lines += _field("notes", entry.notes)
    if by_hand := instructions(name, entry):
        lines += ["", "By hand:", textwrap.indent(by_hand, "  ")]
    if why := unusable(entry):
        lines += ["", why]
    if not (shown := config_lines(name, entry)):
        return "\n".join(lines)
    config = textwrap.indent("\n".join(shown), "  ")
    return "\n".join([*lines, "", "In my.yaml:", config, "", "Then:", f"  {command(name, entry)}"])


def _layout(entry: Entry) -> str:
    """Which reader takes it, and where in the files it finds images and classes."""
    if entry.parquet:
        columns = entry.parquet
        label = f", classes of column {columns.label}" if columns.label else ""
        return f"{entry.kind}; parquet, images of column {columns.image}{label}"
    return f"{entry.kind}; below {entry.root}" if entry.root else entry.kind


def _field(name: str, text: str) -> list[str]:
    """A named value, wrapped, its lines under each other; nothing if there is no value."""
    return textwrap.wrap(
        text, _WIDTH, initial_indent=f"  {name:<10}", subsequent_indent=" " * 12,
        break_long_words=False, break_on_hyphens=False,
    )  # fmt: skip
