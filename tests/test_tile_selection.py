"""Which chips are kept: valid pixels, clouds and water, dead detectors, day and night."""

import numpy as np
import pytest
from modis_day import (
    SHAPE,
    filled_by_loop,
    planes,
    swath,
    tile,
    write,
    write_mask,
    write_place,
)

from workflow_scripts.modis import faults
from workflow_scripts.modis.cloud_writer import UNDETERMINED
from workflow_scripts.tile.chips import drop_reason, share

CLOUDY, CLEAR, LAND, WATER = 0, 3, 3, 0
AQUA = {"platform": "Aqua"}


def test_min_valid_is_a_share_of_pixels_and_the_commonest_reason_counts():
    counts = np.full((2, 10, 10), 9000, np.uint16)
    counts[0, 0, :4] = 65533
    counts[1, 0, 2:5] = 65535  # two pixels lack both bands: five pixels in all
    assert drop_reason(counts, min_valid=0.95) is None
    assert drop_reason(counts, min_valid=0.951) == "saturated"  # 4 of one against 3
    assert drop_reason(np.full_like(counts, 32767), min_valid=1.0) is None
    assert drop_reason(np.full_like(counts, 32768), min_valid=0.1) == "out of range"
    assert drop_reason(counts, min_valid=0.0) is None


@pytest.mark.parametrize("valid", range(101))
def test_min_valid_is_inclusive_to_the_pixel(valid):
    counts = np.full(100, 65535, np.uint16)
    counts[:valid] = 9000
    counts = counts.reshape(1, 10, 10)
    assert drop_reason(counts, min_valid=valid / 100) is None
    if valid < 100:
        assert drop_reason(counts, min_valid=(valid + 1) / 100) == "fill"


def test_pixels_of_bad_uncertainty_have_no_value_and_tell_so(tmp_path):
    indexes = np.zeros(SHAPE, np.uint8)
    indexes[40, 60], indexes[3, 3] = 15, 14
    path = write(tmp_path, 5, uncertainty={"6": indexes})
    body, _ = tile(tmp_path, [path])
    assert body["chips_dropped"] == {"uncertain": 1}
    _, shard = tile(tmp_path, [path], min_valid=0.9)
    found = np.stack([shard.counts(index)[1] for index in range(12)])
    assert np.argwhere(found > 32767).tolist() == [[11, 8, 12]]
    assert found[11, 8, 12] == 65501
    assert np.isnan(shard.physical(11)[1, 8, 12])


def numbered(values, size=10):
    """A plane of 5 × 7 chips, the k-th of which has `values[k]` ones."""
    plane = np.zeros(SHAPE, np.uint8)
    for number, ones in enumerate(values):
        row, column = divmod(number, SHAPE[1] // size)
        chip = np.arange(size * size).reshape(size, size) < ones
        plane[row * size : row * size + size, column * size : column * size + size] = chip
    return plane


def test_min_cloud_is_a_share_that_must_be_exceeded(tmp_path):
    clouds = numbered(range(13, 48))  # 13 to 47 of a hundred pixels
    state = np.where(clouds, CLOUDY, CLEAR).astype(np.uint8)
    paths = [write(tmp_path, 5), write_mask(tmp_path, 5, state)]
    body, shard = tile(tmp_path, paths, size=10, stride=10, min_cloud=0.3)
    found = shard.fields()["cloud_share"]
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, np.arange(31, 48) / 100, rtol=1e-6)
    assert body["chips_dropped"] == {"too few clouds": 18}
    body, _ = tile(tmp_path, paths, size=10, stride=10, min_cloud=None)
    assert (body["chips_kept"], body["chips_dropped"]) == (35, {})


def test_min_water_is_a_share_that_must_be_exceeded(tmp_path):
    land = numbered([*range(10)] * 3 + [0, 1, 2, 1, 0])
    surface = np.where(land, LAND, WATER).astype(np.uint8)
    state = np.full(SHAPE, CLOUDY, np.uint8)
    paths = [write(tmp_path, 5), write_mask(tmp_path, 5, state, surface=surface)]
    body, shard = tile(tmp_path, paths, size=10, stride=10, min_water=0.99)
    assert shard.fields()["water_share"].tolist() == [1.0] * 5
    assert body["chips_dropped"] == {"not enough water": 30}
    # Both asked for: a chip that fails both counts once, for its clouds.
    clear = write_mask(tmp_path, 5, np.full(SHAPE, CLEAR, np.uint8), surface=surface)
    body, _ = tile(tmp_path, [paths[0], clear], size=10, stride=10, min_water=0.99, min_cloud=0.3)
    assert body["chips_dropped"] == {"too few clouds": 35}


def test_shares_are_of_determined_pixels_and_unknown_below_half_of_them():
    mask = np.full(100, 255, np.uint8)
    mask[:50] = 0
    mask[:20] = 1
    assert share(mask.reshape(10, 10)) == 20 / 50
    mask[49] = 255
    assert np.isnan(share(mask.reshape(10, 10)))
    assert np.isnan(share(None))
    assert share(np.zeros((3, 3), np.uint8)) == 0.0


def test_chips_of_unknown_clouds_are_kept_and_counted(tmp_path):
    state = np.full(SHAPE, CLEAR, np.uint8)
    state[:16, :16] = UNDETERMINED
    state[16:24, 16:32] = UNDETERMINED  # half of a chip: known to be clear
    state[16:25, 32:48] = UNDETERMINED  # more than half of one
    paths = [write(tmp_path, 5), write_mask(tmp_path, 5, state), write(tmp_path, 10)]
    choice = {"min_cloud": 0.3, "min_water": 0.99}
    body, shard = tile(tmp_path, paths, **choice)
    assert body["chips_dropped"] == {"too few clouds": 10}
    assert (body["chips_kept"], body["chips_without_mask"]) == (14, 14)
    fields = shard.fields()
    assert np.isnan(fields["cloud_share"]).all()
    assert np.isnan(fields["water_share"]).all()
    kept = [(r, c) for r, c in zip(fields["row"][:2], fields["column"][:2], strict=True)]
    assert kept == [(0, 0), (16, 32)]
    # The water of MOD03 is known even where there is no mask of clouds.
    land = np.ones(SHAPE, np.uint8)
    body, shard = tile(tmp_path, [paths[2], write_place(tmp_path, 10, land_sea=land)], **choice)
    assert body["chips_dropped"] == {"not enough water": 12}


def aqua(folder, *, detectors=None, minute=5):
    counts = faults.dead_detectors(
        planes(minute), detectors or {"6": faults.AQUA_BAND_6_DEAD}, value=65531
    )
    return write(folder, minute, counts=counts, platform="Aqua"), counts


def test_aqua_keeps_its_chips_with_lines_filled_and_flagged(tmp_path):
    path, counts = aqua(tmp_path)
    body, shard = tile(tmp_path, [path], **AQUA)
    assert (body["chips_kept"], body["chips_dropped"]) == (12, {})
    assert body["chips_by_platform"] == {"Aqua": 12}
    assert body["chips_with_filled_lines"] == 12
    dead = np.isin(np.arange(SHAPE[0]) % 10, faults.AQUA_BAND_6_DEAD)
    assert body["dead_detectors"] == {"6": {str(d): 1 for d in faults.AQUA_BAND_6_DEAD}}
    expected = {"31": counts["31"], "6": filled_by_loop(counts["6"], dead)}
    fields = shard.fields()
    for index, (row, column) in enumerate(zip(fields["row"], fields["column"], strict=True)):
        chip = shard.counts(index)
        for number, band in enumerate(("31", "6")):
            window = expected[band][row : row + 16, column : column + 16]
            np.testing.assert_array_equal(chip[number], window)
        np.testing.assert_array_equal(shard.filled(index)[1], dead[row : row + 16])
        assert not shard.filled(index)[0].any()
        assert np.isfinite(shard.physical(index)).all()


def test_a_filled_line_without_neighbours_has_no_value(tmp_path):
    counts = faults.dead_detectors(planes(5), {"6": [3]})
    counts["6"][12:15, 20] = 65533, 65531, 65533
    path = write(tmp_path, 5, counts=counts, platform="Aqua")
    body, _ = tile(tmp_path, [path], **AQUA)
    assert body["chips_dropped"] == {"saturated": 1}
    _, shard = tile(tmp_path, [path], min_valid=0.9, **AQUA)
    chip = shard.counts(shard.keys.index(f"{path.name}:0:16"))[1]
    assert chip[12:15, 4].tolist() == [65533, 65531, 65533]


def test_drop_chip_treats_dead_lines_as_any_missing_pixel(tmp_path):
    path, counts = aqua(tmp_path)
    body, _ = tile(tmp_path, [path], dead_detectors="drop_chip", **AQUA)
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {"dead detector": 12})
    assert body["dead_detectors"] == {"6": {str(d): 1 for d in faults.AQUA_BAND_6_DEAD}}
    body, shard = tile(tmp_path, [path], dead_detectors="drop_chip", min_valid=0.3, **AQUA)
    assert (body["chips_kept"], body["chips_with_filled_lines"]) == (12, 0)
    np.testing.assert_array_equal(shard.counts(0)[1], counts["6"][:16, :16])
    assert not any(shard.filled(index).any() for index in range(12))


def test_exclude_band_leaves_the_band_of_that_granule_out(tmp_path):
    path, counts = aqua(tmp_path)
    whole = write(tmp_path, 10, platform="Aqua")
    choice = {"dead_detectors": "exclude_band", **AQUA}
    body, shard = tile(tmp_path, [path, whole], **choice)
    assert (body["chips_kept"], body["chips_with_filled_lines"]) == (24, 0)
    for index in range(24):
        first = index < 12
        assert (shard.counts(index)[1] == 65531).all() == first
        assert np.isnan(shard.physical(index)[1]).all() == first
        assert np.isfinite(shard.physical(index)[0]).all()
    np.testing.assert_array_equal(shard.counts(0)[0], counts["31"][:16, :16])
    # The other bands must have their values all the same; without one there is no chip.
    counts["31"][0, 0] = 65533
    path = write(tmp_path, 5, counts=counts, platform="Aqua")
    body, _ = tile(tmp_path, [path], **choice)
    assert body["chips_dropped"] == {"saturated": 1}
    body, _ = tile(tmp_path, [path], bands=["6"], **choice)
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {"dead detector": 12})


def dark(folder, **options):
    path = write(folder, 5, counts=faults.night(planes(5)), **options)
    return [path]


def test_chips_of_the_night_are_dropped_or_kept_with_what_there_is(tmp_path):
    paths = dark(tmp_path, geometry=swath(5, night=True))
    body, _ = tile(tmp_path, paths)
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {"night": 12})
    body, shard = tile(tmp_path, paths, night="keep_missing")
    assert (body["chips_kept"], body["chips_night"], body["chips_dropped"]) == (12, 12, {})
    assert shard.fields()["night"].all()
    assert (shard.fields()["solar_zenith"] > 90).all()
    for index in range(12):
        assert (shard.counts(index)[1] == 65535).all()
        assert np.isfinite(shard.physical(index)[0]).all()
    assert body["dead_detectors"] == {}
    # Without a reflective band the night is like the day; with nothing else there is no chip.
    body, _ = tile(tmp_path, paths, bands=["31"])
    assert (body["chips_kept"], body["chips_night"]) == (12, 12)
    body, _ = tile(tmp_path, paths, bands=["6"], night="keep_missing")
    assert body["chips_dropped"] == {"night": 12}


def test_the_emissive_bands_of_the_night_must_have_their_values(tmp_path):
    counts = faults.night(planes(5))
    counts["31"][0, 0] = 65533
    path = write(tmp_path, 5, counts=counts, geometry=swath(5, night=True))
    body, _ = tile(tmp_path, [path], night="keep_missing")
    assert (body["chips_kept"], body["chips_dropped"]) == (11, {"saturated": 1})


def test_night_begins_above_the_zenith_angle_asked_for(tmp_path):
    paths = [write(tmp_path, 5, geometry=swath(5)), write_place(tmp_path, 5)]
    _, shard = tile(tmp_path, paths)
    angles = shard.fields()["solar_zenith"]
    assert not shard.fields()["night"].any()
    limit = float(np.sort(angles)[6])
    darker = int((angles > limit).sum())
    assert 0 < darker < 6
    body, shard = tile(tmp_path, paths, night_zenith=limit)
    assert body["chips_dropped"] == {"night": darker}
    assert shard.fields()["solar_zenith"].max() <= np.float32(limit)
    body, _ = tile(tmp_path, paths, night_zenith=limit, night="keep_missing")
    assert (body["chips_kept"], body["chips_night"]) == (12, darker)


def test_a_day_without_any_reflective_value_by_daylight_is_not_night(tmp_path):
    body, _ = tile(tmp_path, dark(tmp_path, geometry=swath(5)))
    assert body["chips_dropped"] == {"fill": 12}
