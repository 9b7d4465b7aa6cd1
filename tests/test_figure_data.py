"""Tables: plain values in, the same values out of CSV, and no cell that is a formula."""

import csv
import io
import math

import numpy as np
import pandas
import pytest

from workflow_scripts.report.figure_data import Column, Table, csv_text, guarded, write_csv

TEXTS = ["plain", "a, b", 'say "so"', "two\nlines", "日本 ünï ± ² − µ", "a|b&c_d", "", "x\ty"]
FORMULAS = [
    "=1+1",
    "+1",
    "-cmd|' /C calc'!A0",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "＝1",
    "'=1",
    "''@x",
]


def table(**changed):
    plain = {
        "name": "one",
        "title": "One",
        "columns": ["who", Column("speed", "images/s"), Column("count")],
        "rows": [["a", 0.1, 3]],
        "synthetic": False,
    }
    return Table(**plain | changed)


def read(text):
    return list(csv.reader(io.StringIO(text, newline=""), strict=True))


@pytest.mark.parametrize("text", TEXTS + FORMULAS)
def test_texts_come_back_from_csv_and_none_is_a_formula(text):
    (_, row) = read(csv_text(table(rows=[[text, None, None]])))
    assert not row[0].startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))
    assert row[1:] == ["", "", "no"]
    assert row[0].removeprefix("'") == text if text in FORMULAS else row[0] == text


def test_guarding_twice_is_undone_twice():
    assert guarded(guarded("=1")) == "''=1"
    assert guarded("'quoted'") == "'quoted'"  # an apostrophe alone is no formula
    assert guarded(-1.5) == -1.5


def test_numbers_come_back_to_the_last_bit(tmp_path):
    numbers = [0.1, 1 / 3, -5.53, 1e-300, 6.02e23, math.pi, -0.0, float("inf")]
    path = write_csv(table(rows=[["x", n, 2**60 + k] for k, n in enumerate(numbers)]), tmp_path)
    found = pandas.read_csv(path)
    assert list(found.columns) == ["who", "speed (images/s)", "count", "synthetic"]
    assert found["speed (images/s)"].tolist() == numbers
    assert found["count"].tolist() == [2**60 + k for k in range(len(numbers))]
    assert [float(row[1]) for row in read(path.read_text())[1:]] == numbers


def test_a_missing_whole_number_turns_no_other_into_a_float():
    rows = read(csv_text(table(rows=[["a", None, 7], ["b", 1.0, None]])))
    assert [row[2] for row in rows[1:]] == ["7", ""]


def test_numpy_and_what_is_no_number_become_plain():
    made = table(rows=[[np.str_("a"), np.float32(0.5), np.int64(3)], [True, math.nan, np.bool_(0)]])
    assert made.rows == (("a", 0.5, 3), ("yes", None, "no"))
    assert [type(value) for value in made.rows[0]] == [str, float, int]
    assert made.column("speed") == [0.5, None]


@pytest.mark.parametrize(
    ("changed", "told"),
    [
        ({"rows": [["a", 1.0]]}, "2 values"),
        ({"rows": [["a", [1.0], 2]]}, "no plain value"),
        ({"columns": ["a", "a", "b"]}, "one name"),
    ],
)
def test_what_is_no_table_is_refused(changed, told):
    with pytest.raises(ValueError, match=told):
        table(**changed)


def test_rows_of_generated_data_say_so():
    assert [row[-1] for row in read(csv_text(table(synthetic=True)))] == ["synthetic", "yes"]
    own = table(columns=["who", "synthetic"], rows=[["a", True], ["b", False]], synthetic=True)
    assert read(csv_text(own)) == [["who", "synthetic"], ["a", "yes"], ["b", "no"]]


def test_names_that_are_no_unicode_are_written_all_the_same(tmp_path):
    path = write_csv(table(rows=[["bad\udcffname", 1.0, 1]]), tmp_path)
    assert "bad?name" in path.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("value", "spec", "shown"),
    [(None, "", "–"), ("=1", "", "=1"), (12345, "", "12,345"), (98765.4, "", "98,765"),
     (-0.012345, "", "−0.01235"), (56.789, ".1f", "56.8"), (2003, "d", "2003"),
     (float("inf"), "", "inf")],
)  # fmt: skip
def test_values_for_people(value, spec, shown):
    assert Column("x", spec=spec).shown(value) == shown


def test_data_for_json_are_plain():
    data = table(rows=[["a", float("-inf"), None]], note="so").as_data()
    assert data["rows"] == [["a", "-inf", None]]
    assert data["columns"][1] == {"name": "speed", "unit": "images/s"}
    assert (data["synthetic"], data["note"]) == (False, "so")
