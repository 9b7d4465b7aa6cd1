"""Splits by fraction: shares, copies, stability, and what is refused."""

import hashlib
from collections import Counter

import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.splits import split_by_fraction

SHARES = {"train": 0.7, "val": 0.1, "test": 0.2}


def content(name):
    return hashlib.sha256(str(name).encode()).hexdigest()


def items(count, label="river"):
    return [(content(f"{label}{number}"), label) for number in range(count)]


def test_every_class_has_the_fractions():
    both = items(100) + items(50, "forest")
    counts = Counter(
        zip([label for _, label in both], split_by_fraction(both, SHARES, seed=0), strict=True)
    )
    assert counts == {
        ("river", "train"): 70, ("river", "val"): 10, ("river", "test"): 20,
        ("forest", "train"): 35, ("forest", "val"): 5, ("forest", "test"): 10,
    }  # fmt: skip


def test_what_the_fractions_leave_over_has_no_split():
    splits = Counter(split_by_fraction(items(100), {"train": 0.2, "test": 0.5}, seed=0))
    assert splits == {"train": 20, "test": 50, None: 30}


def test_thirds_that_sum_to_one_leave_nothing_over():
    shares = {"train": 0.7, "val": 0.2, "test": 0.1}  # 0.7 + 0.2 + 0.1 > 1 in floating point
    assert None not in split_by_fraction(items(10), shares, seed=0)


@pytest.mark.parametrize("seed", range(20))
def test_copies_share_a_split_also_across_classes(seed):
    many = items(20) + items(20, "forest")
    copies = [(sha, "river") for sha, _ in items(6, "forest")] + items(6)
    splits = split_by_fraction(many + copies, {"train": 0.5, "test": 0.5}, seed=seed)
    by_content = {}
    for (sha, _), split in zip(many + copies, splits, strict=True):
        by_content.setdefault(sha, set()).add(split)
    assert all(len(found) == 1 for found in by_content.values())


def test_the_order_of_the_files_does_not_matter_and_the_seed_does():
    forward = items(60)
    there = dict(zip(forward, split_by_fraction(forward, SHARES, seed=0), strict=True))
    back = dict(zip(forward[::-1], split_by_fraction(forward[::-1], SHARES, seed=0), strict=True))
    other = dict(zip(forward, split_by_fraction(forward, SHARES, seed=1), strict=True))
    assert there == back
    assert there != other


def test_an_added_image_moves_at_most_one_other_by_cut():
    before = items(100)
    old = split_by_fraction(before, SHARES, seed=0)
    for extra in range(10):
        new = split_by_fraction([*before, (content(f"new{extra}"), "river")], SHARES, seed=0)
        assert sum(a != b for a, b in zip(old, new, strict=False)) <= 2  # there are two cuts


@pytest.mark.parametrize("shares", [{"train": 0.8, "test": 0.3}, {"train": 1.2, "test": -0.2}])
def test_impossible_fractions_are_refused(shares):
    with pytest.raises(UserError, match=r"sum to 1"):
        split_by_fraction(items(10), shares, seed=0)
