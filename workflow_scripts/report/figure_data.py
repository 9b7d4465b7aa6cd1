"""One `Table` for everything that is shown: the data behind a figure, a table of the page.

A table is written as CSV for programs, in full precision, and by `table_forms` as Markdown and
LaTeX for people. pandas' writers serve neither: a column of whole numbers with one missing becomes
one of floats, `to_markdown` needs another package and escapes no pipe, and `Styler.to_latex`
escapes the ten special characters of ASCII and no sign beyond it.
"""

import csv
import io
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.files import write_text

Value = str | int | float | None

SYNTHETIC = "synthetic"  # the column that says whether a row comes from generated data
NONE = "–"  # what stands in readable forms where there is no value

# What spreadsheets take for a formula at the beginning of a cell, with the full-width forms.
_FORMULA = re.compile(r"'*[=+\-@\t\r\n＝＋－＠]")


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Attributes:
        name: What it holds; names are unique in a table.
        unit: Of its numbers: `%`, `images/s`, `J`; empty for pure numbers and text.
        spec: How numbers are written for people, as `format` takes it: `.1f`. Empty: whole numbers
            with thousands apart, others with four digits.
        spread: Whether it is the spread of the column before it; forms for people write both as
            `a ± b`.
        detail: Whether only the CSV has it: digests, what most readers pass over.
        absent: What forms for people write where there is no value: `not measured`.
    """

    name: str
    unit: str = ""
    spec: str = ""
    spread: bool = False
    detail: bool = False
    absent: str = NONE

    @property
    def header(self) -> str:
        """`speed (images/s)`: the name with its unit."""
        return f"{self.name} ({self.unit})" if self.unit else self.name

    def shown(self, value: Value) -> str:
        """A value as people read it, with a true minus sign."""
        if value is None:
            return self.absent
        if isinstance(value, str):
            return value
        if self.spec:
            text = format(value, self.spec)
        elif isinstance(value, int) or (math.isfinite(value) and abs(value) >= 1000):
            text = f"{value:,.0f}"
        else:
            text = f"{value:.4g}"
        return text.replace("-", "−")


@dataclass(frozen=True, kw_only=True)
class Table:
    """Rows of plain values under named columns.

    Numbers of numpy become Python's, a float that is no number None, True and False `yes` and `no`.

    Attributes:
        name: Name of its files, without an ending.
        title: What it shows, a line for people.
        columns: As `Column`s, or names of columns without a unit.
        rows: As many values each as there are columns.
        synthetic: Whether any of it comes from generated data. Where rows differ in that, a column
            named `synthetic` says of which it is true.
        note: What a reader has to know beside it: source, what differs.

    Raises:
        ValueError: Two columns have one name, or a row has not one plain value for each.
    """

    name: str
    title: str
    columns: Sequence[Column | str]
    rows: Sequence[Sequence[Any]]
    synthetic: bool
    note: str = ""

    def __post_init__(self) -> None:
        columns = tuple(Column(one) if isinstance(one, str) else one for one in self.columns)
        names = [column.name for column in columns]
        if len(set(names)) < len(names):
            raise ValueError(f"table {self.name}: two columns have one name: {names}")
        rows = tuple(tuple(_plain(value) for value in row) for row in self.rows)
        for row in rows:
            if len(row) != len(columns):
                raise ValueError(f"table {self.name}: {len(row)} values under {names}: {row}")
        object.__setattr__(self, "columns", columns)
        object.__setattr__(self, "rows", rows)

    @property
    def heads(self) -> tuple[Column, ...]:
        """The columns, all of them as such."""
        return tuple(self.columns)  # type: ignore[arg-type]

    @property
    def names(self) -> list[str]:
        """Names of the columns."""
        return [column.name for column in self.heads]

    def column(self, name: str) -> list[Value]:
        """All values of a column."""
        place = self.names.index(name)
        return [row[place] for row in self.rows]

    def as_data(self) -> dict[str, Any]:
        """The table for a JSON file; an infinite number, which JSON has none of, as text."""
        return {
            "name": self.name,
            "title": self.title,
            "columns": [{"name": one.name, "unit": one.unit} for one in self.heads],
            "rows": [
                [str(v) if isinstance(v, float) and math.isinf(v) else v for v in row]
                for row in self.rows
            ],
            "synthetic": self.synthetic,
            "note": self.note,
        }


def _plain(value: Any) -> Value:
    """A plain value of what numpy and Python have.

    Raises:
        ValueError: It is neither text, a number nor None.
    """
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float) and math.isnan(value):
        return None
    if value is None or isinstance(value, str | int | float):
        return value
    raise ValueError(f"no plain value for a table: {value!r}")


def guarded(value: Value) -> Value:
    """A value that no spreadsheet takes for a formula.

    Texts come from names of files and classes, which anybody may have chosen. One that begins like
    a formula gets an apostrophe in front, and another one if it has some already: taking one away
    gives the text back. Numbers are numbers and stay as they are.
    """
    return "'" + value if isinstance(value, str) and _FORMULA.match(value) else value


def csv_text(table: Table) -> str:
    """The table as CSV: a line of headers, full precision, an empty field for what is missing.

    Texts are in quotes, whatever they hold: the csv module leaves a lone carriage return bare. The
    last column says whether the rows come from generated data, so that no copy of them loses it; a
    table with such a column of its own keeps that.
    """
    own = SYNTHETIC in table.names
    mark = () if own else ("yes" if table.synthetic else "no",)
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n", quoting=csv.QUOTE_NONNUMERIC)
    headers = [column.header for column in table.heads]
    writer.writerow([guarded(one) for one in (headers if own else [*headers, SYNTHETIC])])
    writer.writerows([[guarded(value) for value in (*row, *mark)] for row in table.rows])
    # Half a surrogate pair, which names of files may hold, has no form in UTF-8.
    return text.getvalue().encode("utf-8", "replace").decode("utf-8")


def write_csv(table: Table, folder: Path) -> Path:
    """Write `<folder>/<name>.csv`, UTF-8, the same bytes for the same table."""
    path = folder / f"{table.name}.csv"
    write_text(path, csv_text(table))
    return path
