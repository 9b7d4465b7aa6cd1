"""Dead detectors: which lines are called so, and what fills them."""

import numpy as np
import pytest
from modis_day import filled_by_loop
from synthetic_granule import counts_of, name_of, swath, write

from workflow_scripts.modis import faults
from workflow_scripts.modis.detectors import dead_detectors, dead_lines, interpolate
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import tie_fields, write_granule

SHAPE = (40, 52)
BANDS = ("6", "7", "29", "31")


def stack(counts):
    return np.stack([counts[name] for name in BANDS])


def found(counts):
    return dead_detectors(dead_lines(stack(counts)), BANDS)


@pytest.fixture
def sound():
    return {name: plane for name, plane in counts_of().items() if name in BANDS}


@pytest.mark.parametrize("value", [65531, 65535, 65528])
def test_a_line_of_every_scan_without_a_value_is_a_dead_detector(sound, value):
    detectors = {"6": list(faults.AQUA_BAND_6_DEAD), "29": [0], "31": [9]}
    dead = faults.dead_detectors(sound, detectors, value=value)
    assert found(dead) == detectors
    lines = dead_lines(stack(dead))
    assert lines.shape == (4, 40)
    for row, name in enumerate(BANDS):
        expected = [line for line in range(40) if line % 10 in detectors.get(name, [])]
        assert np.flatnonzero(lines[row]).tolist() == expected


def test_the_counts_that_mark_a_dead_detector_may_change_along_its_lines(sound):
    dead = faults.dead_detectors(sound, {"7": [4]}, value=65531)
    for place, value in (((14, slice(0, 30)), 65535), ((24, slice(None)), 65528)):
        dead = faults.reserve(dead, place, value=value, bands=["7"])
    assert found(dead) == {"7": [4]}


@pytest.mark.parametrize(
    "spoil",
    [
        lambda c: c,
        lambda c: faults.saturated(c, slice(3, None, 10), bands=["6"]),  # bright, but alive
        lambda c: faults.reserve(c, slice(10, 20), value=65535, bands=["6"]),  # one bad scan
        lambda c: faults.reserve(c, slice(13, 14), value=65531, bands=["6"]),  # one bad line
        lambda c: faults.reserve(c, slice(3, 33, 10), value=65531, bands=["6"]),  # all but one
        lambda c: faults.reserve(c, np.s_[3::10, :30], value=65531, bands=["6"]),  # a part of all
        lambda c: faults.missing_scans(c, [0, 3]),
        lambda c: faults.missing_scans(c, [0, 1, 2, 3]),
        faults.night,
    ],
    ids=["sound", "saturated", "scan", "line", "all but one", "part", "missing", "empty", "night"],
)
def test_what_is_lost_otherwise_is_no_dead_detector(sound, spoil):
    spoilt = spoil(sound)
    assert found(spoilt) == {}
    assert not dead_lines(stack(spoilt)).any()


@pytest.mark.parametrize("value", [65535, 65534])
def test_scans_that_are_missing_altogether_hide_no_dead_detector(sound, value):
    dead = faults.dead_detectors(sound, {"6": [2, 7], "29": [5]})
    spoilt = faults.reserve(dead, slice(10, 20), value=value)
    assert found(spoilt) == {"6": [2, 7], "29": [5]}
    # Nothing can be interpolated in the missing scan: its lines are not called dead.
    assert np.flatnonzero(dead_lines(stack(spoilt))[0]).tolist() == [2, 7, 22, 27, 32, 37]


def test_the_dead_detectors_of_one_band_do_not_hang_on_another(sound):
    dead = faults.dead_detectors(faults.night(sound), {"31": [1]})
    assert found(dead) == {"31": [1]}


def test_a_dataset_reports_them_by_band(tmp_path):
    counts = faults.dead_detectors(
        counts_of(), {"6": faults.AQUA_BAND_6_DEAD, "27": [3], "36": [0, 9]}
    )
    path = write(tmp_path, counts, platform="Aqua")
    dataset = read_granule(path, ["6", "27", "31", "36"])
    found = {
        band: np.flatnonzero(dataset["dead_detector"].sel(band=band)).tolist()
        for band in dataset["band"].values.tolist()
    }
    assert {band: detectors for band, detectors in found.items() if detectors} == {
        "6": list(faults.AQUA_BAND_6_DEAD), "27": [3], "36": [0, 9],
    }  # fmt: skip
    reason = dataset["reason"].sel(band="27").values
    meanings = dataset["reason"].attrs["flag_meanings"].split(", ")
    assert {meanings[code] for code in np.unique(reason[3::10])} == {"dead detector"}
    assert np.isnan(dataset["radiance"].sel(band="27").values[3::10]).all()  # nobody filled them
    dark = tmp_path / name_of(product="021KM")
    write_granule(dark, faults.night(counts_of()), **tie_fields(swath(night=True)))
    assert not read_granule(dark, ["6", "31"])["dead_detector"].any()


@pytest.mark.parametrize("seed", range(12))
def test_interpolation_is_that_of_a_plain_loop(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 32768, (30, 17)).astype(np.uint16)
    dead = rng.random(30) < rng.uniform(0.1, 0.9)  # edges and several in a row among them
    counts[dead] = 65531
    holes = rng.random(counts.shape) < 0.3
    counts[holes] = rng.choice([65535, 65533, 65501, 65502], holes.sum())
    expected = filled_by_loop(counts, dead)
    found_counts = counts.copy()
    interpolate(found_counts, dead)
    np.testing.assert_array_equal(found_counts, expected)
    np.testing.assert_array_equal(found_counts[~dead], counts[~dead])


def test_filled_lines_lie_on_the_straight_between_their_neighbours():
    counts = np.full((10, 3), 65531, np.uint16)
    counts[2], counts[6] = (100, 65535, 65533), (200, 400, 65535)
    dead = np.ones(10, bool)
    dead[[2, 6]] = False
    interpolate(counts, dead)
    assert counts[:, 0].tolist() == [100, 100, 100, 125, 150, 175, 200, 200, 200, 200]
    assert counts[dead, 1].tolist() == [65531] * 2 + [400] * 6  # above them there is no value
    assert counts[dead, 2].tolist() == [65531] * 8


def test_without_a_live_line_nothing_is_filled():
    counts = np.full((10, 5), 65531, np.uint16)
    interpolate(counts, np.ones(10, bool))
    assert (counts == 65531).all()


def test_pixels_that_a_dead_line_holds_after_all_are_left_alone():
    counts = np.full((10, 20), 1000, np.uint16)
    counts[4] = 65531
    counts[4, 3:5] = 5000, 65533
    interpolate(counts, np.arange(10) == 4)
    assert counts[4, :6].tolist() == [1000, 1000, 1000, 5000, 65533, 1000]


def test_a_granule_with_hardly_a_scan_tells_nothing_of_its_detectors():
    counts = np.full((1, 60, 20), 65535, np.uint16)
    counts[0, 20:25] = 1000  # one scan, half of it lost
    assert not dead_lines(counts).any()
    counts[0, [30, 31, 32, 33, 34, 40, 41, 42, 43, 44]] = 1000
    assert np.flatnonzero(dead_lines(counts)[0]).tolist() == [
        *range(25, 30), *range(35, 40), *range(45, 50),
    ]  # fmt: skip
