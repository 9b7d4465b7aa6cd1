"""What a dataset should hold, and what it held."""

import pytest

from workflow_scripts.catalogue.expected import differences, in_all_splits

TWO = {"airplane": 100, "beach": 100}


@pytest.mark.parametrize(
    "expected",
    [
        None,
        {},
        {"items": 200},
        {"classes": 2},
        {"per_class": 100},
        {"items": 200, "classes": 2, "per_class": dict(TWO)},
        {"items": None, "classes": None, "per_class": None},
    ],
)
def test_nothing_differs(expected):
    assert differences(expected, TWO, 200) == []


def test_totals_come_first():
    told = differences({"items": 200, "classes": 3, "per_class": 100}, {**TWO, "beach": 99}, 199)
    assert told == [
        "199 items, expected 200", "2 classes, expected 3", "class beach: 99 items, expected 100",
    ]  # fmt: skip


def test_classes_missing_and_new_are_named():
    told = differences({"per_class": {"airplane": 100, "dock": 7}}, TWO, 200)
    assert told == [
        "class beach: 100 items, but no such class is expected",
        "class dock: missing, expected 7 items",
    ]


def test_many_differences_end_with_a_count():
    found = {f"class{n:04}": 1 for n in range(2000)}
    told = differences({"items": 1, "per_class": 2}, found, 2000)
    assert len(told) == 11
    assert told[0] == "2,000 items, expected 1"
    assert told[-1] == "and 1,991 more differences"


def test_classes_are_counted_over_all_splits_and_no_class_is_none():
    counts = {"train": {"a": 3, "none": 1}, "test": {"a": 2, "b": 4}}
    assert in_all_splits(counts) == {"a": 5, "b": 4}
