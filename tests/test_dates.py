"""Lists of days as short text."""

import random
from datetime import date, timedelta

import pytest

from workflow_scripts.dates import compress, expand

START = date(2003, 12, 20)


@pytest.mark.parametrize(
    ("days", "text"),
    [
        ([], ""),
        (["2026-01-01"], "2026-01-01"),
        (["2026-01-02", "2026-01-01"], "2026-01-01/2026-01-02"),
        (["2026-01-03", "2026-01-01", "2026-01-03"], "2026-01-01,2026-01-03"),
        (["2024-02-28", "2024-02-29", "2024-03-01"], "2024-02-28/2024-03-01"),
        (["2023-02-28", "2023-03-01", "2023-12-31", "2024-01-01", "2024-01-03"],
         "2023-02-28/2023-03-01,2023-12-31/2024-01-01,2024-01-03"),
    ],
)  # fmt: skip
def test_neighbouring_days_become_ranges_with_both_ends_in(days, text):
    assert compress(days) == text
    assert expand(text) == sorted(set(days))


@pytest.mark.parametrize("seed", range(20))
def test_any_days_come_back_in_order_from_the_shortest_text(seed):
    rng = random.Random(seed)
    days = [(START + timedelta(n)).isoformat() for n in range(900) if rng.random() < rng.random()]
    text = compress(rng.sample(days, len(days)))
    assert expand(text) == days
    # No two ranges touch: the text has as few of them as there are stretches of days.
    known = set(days)
    before = [(date.fromisoformat(day) - timedelta(1)).isoformat() for day in days]
    assert len(text.split(",")) == sum(day not in known for day in before)


def test_twenty_years_are_one_range():
    days = [(date(2003, 1, 1) + timedelta(n)).isoformat() for n in range(7305)]
    assert compress(days) == "2003-01-01/2022-12-31"
    assert expand("2003-01-01/2022-12-31") == days


@pytest.mark.parametrize(
    "text",
    ["2026-02-30", "2026-01-01/", "yesterday", "2026-01-01/2026-13-01", "2026-01-02/2026-01-01"],
)
def test_text_that_is_no_list_of_days_is_refused(text):
    with pytest.raises(ValueError):
        expand(text)


def test_a_day_that_does_not_exist_cannot_be_listed():
    with pytest.raises(ValueError):
        compress(["2026-01-01", "2025-02-29"])
