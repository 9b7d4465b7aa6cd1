"""Rows and chips: the join equals a brute-force one over all pairs, in any order of the rows."""

import numpy as np
import pytest

from workflow_scripts.pack.label_rows import LabelRows, joined
from workflow_scripts.pack.matching import Chips, candidates, great_circle_km, one_to_one

RADIUS = 6371.0088
DAY = 1_041_379_200.0  # 2003-01-01, seconds since 1970


def chips_of(seed, *, count=60, centre=(10.0, 20.0), spread=1.0):
    rng = np.random.default_rng(seed)
    return Chips(
        time=DAY + 300.0 * rng.integers(0, 4, count), platform=rng.integers(0, 2, count, np.uint8),
        latitude=np.clip(centre[0] + rng.uniform(-spread, spread, count), -90, 90),
        longitude=(centre[1] + rng.uniform(-spread, spread, count) + 180) % 360 - 180,
    )  # fmt: skip


def rows_of(seed, *, count=80, centre=(10.0, 20.0), spread=1.0):
    rng = np.random.default_rng(1000 + seed)
    chips = chips_of(seed + 500, count=count, centre=centre, spread=spread)
    return joined(
        [
            LabelRows(
                time=chips.time + rng.integers(-200, 200, count), platform=chips.platform,
                latitude=chips.latitude, longitude=chips.longitude % 360,
                label=rng.integers(0, 42, count).astype(np.int16),
            )
        ]
    )  # fmt: skip


def take(table, which):
    return type(table)(**{name: getattr(table, name)[which] for name in table.__dataclass_fields__})


def brute_force(rows, chips, *, max_km, max_seconds):
    """{chip: row} by looking at every pair, and for each row how far it came (0 to 3)."""
    a = np.radians(rows.latitude)[:, None]
    b = np.radians(chips.latitude)[None]
    turn = np.radians(rows.longitude[:, None] - chips.longitude[None])
    half = np.sin((a - b) / 2) ** 2 + np.cos(a) * np.cos(b) * np.sin(turn / 2) ** 2
    km = 2 * RADIUS * np.arcsin(np.sqrt(half))
    seconds = np.abs(rows.time[:, None] - chips.time[None])
    in_time = (rows.platform[:, None] == chips.platform[None]) & (seconds <= max_seconds)
    near = in_time & (km <= max_km)
    content = [tuple(getattr(rows, name)[r] for name in
               ("time", "platform", "latitude", "longitude", "label"))
               for r in range(len(rows))]  # fmt: skip
    pairs = sorted((km[r, c], seconds[r, c], content[r], c, r) for r, c in np.argwhere(near))
    found, taken = {}, set()
    for *_, chip, row in pairs:
        if chip not in found and row not in taken:
            found[chip] = row
            taken.add(row)
    reached = in_time.any(1).astype(int) + near.any(1)
    return found, reached + np.isin(np.arange(len(rows)), list(taken))


def join(rows, chips, **tolerances):
    in_time, pairs = candidates(rows, chips, **tolerances)
    chosen = one_to_one(pairs, rows=len(rows), chips=len(chips.time))
    reached = in_time.astype(int) + np.isin(np.arange(len(rows)), pairs.row)
    reached += np.isin(np.arange(len(rows)), chosen.row)
    return dict(zip(chosen.chip.tolist(), chosen.row.tolist(), strict=True)), reached, chosen


@pytest.mark.parametrize("centre", [(10.0, 20.0), (-5.0, 180.0), (89.6, 0.0), (0.0, 0.0)])
@pytest.mark.parametrize("seed", range(4))
def test_the_join_is_that_of_all_pairs(seed, centre):
    rows, chips = rows_of(seed, centre=centre), chips_of(seed, centre=centre)
    tolerances = {"max_km": 25.0, "max_seconds": 120.0}
    found, reached, chosen = join(rows, chips, **tolerances)
    expected, expected_reach = brute_force(rows, chips, **tolerances)
    assert found == expected
    np.testing.assert_array_equal(reached, expected_reach)
    assert set(reached.tolist()) == {0, 1, 2, 3}  # every way to fail is in the example
    assert (np.diff(chosen.chip) > 0).all()
    assert len(set(chosen.row.tolist())) == len(chosen)


def test_shuffled_rows_give_the_same_join():
    rows, chips = rows_of(0), chips_of(0)
    rows = take(rows, np.r_[np.arange(len(rows)), 3, 7, 7])  # with rows that stand there twice
    tolerances = {"max_km": 25.0, "max_seconds": 120.0}
    expected = None
    for seed in range(5):
        order = np.random.default_rng(seed).permutation(len(rows))
        mixed = joined([take(rows, order[:30]), take(rows, order[30:])])
        _, _, chosen = join(mixed, chips, **tolerances)
        found = [(int(c), mixed.label[r], mixed.time[r], mixed.latitude[r])
                 for c, r in zip(chosen.chip, chosen.row, strict=True)]  # fmt: skip
        expected = expected or found
        assert found == expected
    assert len(expected) > 5


def at(latitude, longitude=0.0, *, time=DAY, platform=0, label=1):
    """One row, at so many degrees."""
    return LabelRows(
        time=np.array([time]), platform=np.array([platform], np.uint8),
        latitude=np.array([latitude], float), longitude=np.array([longitude], float),
        label=np.array([label], np.int16),
    )  # fmt: skip


def chips_at(*latitudes, time=DAY):
    count = len(latitudes)
    return Chips(
        time=np.full(count, time), platform=np.zeros(count, np.uint8),
        latitude=np.array(latitudes, float), longitude=np.zeros(count),
    )  # fmt: skip


KM = 180 / np.pi / RADIUS  # degrees along a meridian
NEAR = {"max_km": 5.0, "max_seconds": 150.0}


def test_tolerances_are_inclusive_and_sharp():
    chips = chips_at(0.0)
    assert join(at(4.999 * KM), chips, **NEAR)[0] == {0: 0}
    assert join(at(5.001 * KM), chips, **NEAR)[0] == {}
    for gap, found in ((150.0, {0: 0}), (-150.0, {0: 0}), (150.5, {}), (-151.0, {})):
        assert join(at(0.0, time=DAY + gap), chips, **NEAR)[0] == found
    assert join(at(0.0, platform=1), chips, **NEAR)[0] == {}


def test_the_nearest_row_wins_and_the_other_takes_what_is_left():
    chips = chips_at(0.0, 4 * KM)
    rows = joined([at(1.5 * KM, label=1), at(0.5 * KM, label=2)])
    found, _, _ = join(rows, chips, **NEAR)
    assert {chip: rows.label[row] for chip, row in found.items()} == {0: 2, 1: 1}
    alone, reached, _ = join(rows, chips_at(0.0), **NEAR)
    assert [rows.label[row] for row in alone.values()] == [2]
    assert sorted(reached.tolist()) == [2, 3]


def test_at_equal_distance_time_decides_then_what_the_row_says():
    later = joined([at(KM, time=DAY + 60, label=1), at(-KM, time=DAY + 30, label=2)])
    found, _, _ = join(later, chips_at(0.0), **NEAR)
    assert [later.label[row] for row in found.values()] == [2]
    twins = joined([at(KM, label=9), at(KM, label=4)])
    found, _, _ = join(twins, chips_at(0.0), **NEAR)
    assert [twins.label[row] for row in found.values()] == [4]


def test_rows_without_a_position_match_nothing():
    in_time, pairs = candidates(at(np.nan), chips_at(0.0), **NEAR)
    assert in_time.tolist() == [True]
    assert len(pairs) == 0


@pytest.mark.parametrize(
    ("place", "other", "km"),
    [
        ((0, 0), (0, 90), np.pi / 2 * RADIUS),
        ((90, 10), (-90, 100), np.pi * RADIUS),
        ((0, 179.5), (0, -179.5), np.radians(1) * RADIUS),
        ((60, 0), (60, 360), 0.0),
        ((0, 0), (0, 1e-7), np.radians(1e-7) * RADIUS),
    ],
)
def test_great_circles(place, other, km):
    found = great_circle_km(*(np.array([float(value)]) for value in (*place, *other)))
    np.testing.assert_allclose(found, km, rtol=1e-9, atol=1e-9)
