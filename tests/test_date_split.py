"""Whole days are split, lastingly, and neighbours over midnight do not stand on two sides."""

import datetime

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.pack.date_split import split_days, split_of_chips

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def days(count, first=datetime.date(2003, 1, 1)):
    return [(first + datetime.timedelta(number)).isoformat() for number in range(count)]


def seconds(day, clock):
    return np.datetime64(f"{day}T{clock}", "s").astype(np.int64).astype(float)


@pytest.mark.parametrize("count", [10, 37, 365])
def test_shares_are_of_days(count):
    found = split_days(days(count), SHARES, seed=0)
    assert list(found) == days(count)
    for name, share in SHARES.items():
        assert abs(list(found.values()).count(name) - share * count) <= 1


def test_shares_below_one_leave_days_over():
    found = split_days(days(20), {"train": 0.5, "test": 0.25}, seed=0)
    names = list(found.values())
    assert [names.count(name) for name in ("train", "test", None)] == [10, 5, 5]


def test_a_day_more_moves_few_others_and_their_order_none():
    listed = days(100)
    before = split_days(listed, SHARES, seed=3)
    assert split_days(listed[::-1], SHARES, seed=3) == before
    after = split_days([*listed, "2010-06-01"], SHARES, seed=3)
    assert sum(before[day] != after[day] for day in listed) <= 2  # one at each cut
    assert split_days(listed, SHARES, seed=4) != before


@pytest.mark.parametrize(
    ("count", "shares", "words"),
    [
        (2, {"train": 0.8, "test": 0.2}, "2 days have .* test would have none. 3 days or more"),
        (1, {"train": 0.5, "test": 0.5}, "test would have none. 2 days or more"),
        (3, {"train": 0.8, "val": 0.1, "test": 0.1}, "test would have none. 8 days or more"),
        (5, {"train": 0.98, "test": 0.02}, "26 days or more"),
    ],
)
def test_too_few_days_are_refused_with_the_number_needed(count, shares, words):
    with pytest.raises(UserError, match=words):
        split_days(days(count), shares, seed=0)
    needed = int(words.split(" days or more")[0].split()[-1])
    split_days(days(needed), shares, seed=0)
    with pytest.raises(UserError):
        split_days(days(needed - 1), shares, seed=0)


def test_no_day_is_in_two_splits():
    listed = days(50)
    rng = np.random.default_rng(0)
    stamps = [
        seconds(day, f"{rng.integers(24):02d}:{5 * rng.integers(12):02d}:00")
        for day in listed
        for _ in range(20)
    ]
    times = np.array([*stamps, *(seconds(day, "23:55:00") for day in listed)])
    split_of_day = split_days(listed, SHARES, seed=1)
    found, left_out = split_of_chips(times, split_of_day)
    sides = {}
    for time, split in zip(times, found, strict=True):
        if split >= 0:
            sides.setdefault(time // 86400, set()).add(int(split))
    assert len(sides) == 50
    assert all(len(one) == 1 for one in sides.values())
    assert left_out == (found < 0).sum() > 0


def test_neighbours_over_midnight_do_not_stand_on_two_sides():
    split_of_day = {
        "2003-01-01": "train", "2003-01-02": "test", "2003-01-03": "test", "2003-01-04": None,
    }  # fmt: skip
    times = [
        seconds("2003-01-01", "23:50:00"), seconds("2003-01-01", "23:55:00"),
        seconds("2003-01-01", "23:57:30"), seconds("2003-01-02", "00:00:00"),
        seconds("2003-01-02", "23:55:00"), seconds("2003-01-03", "23:55:00"),
        seconds("2003-01-04", "12:00:00"),
    ]  # fmt: skip
    found, left_out = split_of_chips(np.array(times), split_of_day)
    assert found.tolist() == [0, -1, -1, 2, 2, 2, -1]
    assert left_out == 2
