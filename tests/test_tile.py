"""The tile stage: which chips a day gives, what they hold, and what happens to broken granules."""

import json
import os
import random
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
import pytest
import xarray
from modis_day import (
    RECIPE,
    SHAPE,
    list_day,
    name,
    spoilt,
    swath,
    tile,
    write,
    write_mask,
    write_place,
)

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.modis.geolocation import pixel_positions
from workflow_scripts.modis.l1b import read_counts
from workflow_scripts.modis.l1b_calibration import calibration
from workflow_scripts.tile.chips import corners

ROOT = Path(__file__).resolve().parent.parent
MIDNIGHT = 1767225600  # 2026-01-01T00:00:00Z: 20454 days of 86400 s


def test_corners_are_those_of_whole_chips():
    assert list(corners((50, 70), size=20, stride=15)) == [
        (row, column) for row in (0, 15, 30) for column in (0, 15, 30, 45)
    ]
    assert list(corners((20, 20), size=20, stride=5)) == [(0, 0)]
    assert list(corners((19, 20), size=20, stride=5)) == []


@pytest.mark.parametrize("seed", range(30))
def test_chips_of_any_size_and_stride_are_those_a_search_finds(seed):
    rng = random.Random(seed)
    lines, pixels = rng.randint(1, 40), rng.randint(1, 40)
    size, stride = rng.randint(1, 25), rng.randint(1, 25)
    found = [
        (row, column)
        for row in range(lines)
        for column in range(pixels)
        if row % stride == 0 and column % stride == 0
        if row + size <= lines and column + size <= pixels
    ]
    assert list(corners((lines, pixels), size=size, stride=stride)) == found


@pytest.mark.parametrize(("size", "stride"), [(16, 16), (23, 9), (7, 30)])
def test_a_day_gives_every_whole_chip_with_its_counts_unchanged(tmp_path, size, stride):
    paths = [write(tmp_path, 5), write(tmp_path, 10)]
    body, shard = tile(tmp_path, paths, size=size, stride=stride)
    number = len(list(corners(SHAPE, size=size, stride=stride)))
    assert body["chips_kept"] == len(shard) == body["shard"]["count"] == 2 * number > 0
    assert body["granules"] == [
        {"key": path.name, "chips": number, "companions": [], "dead_detectors": {}}
        for path in paths
    ]
    assert (body["granules_read"], body["granules_set_aside"]) == (2, 0)
    assert body["chips_dropped"] == {}
    stored = {path.name: read_counts(path, RECIPE["bands"]).counts for path in paths}
    fields = shard.fields()
    for index, key in enumerate(shard.keys):
        granule, row, column = key.rsplit(":", 2)
        assert (granule, int(row), int(column)) == (
            fields["granule"][index], fields["row"][index], fields["column"][index],
        )  # fmt: skip
        window = np.s_[:, int(row) : int(row) + size, int(column) : int(column) + size]
        np.testing.assert_array_equal(shard.counts(index), stored[granule][window])
    assert len(set(shard.keys)) == len(shard)


def test_chips_carry_scale_and_offset_of_each_band_and_the_quantity(tmp_path):
    paths = [write(tmp_path, 5)]
    _, shard = tile(tmp_path, paths)
    assert shard.bands == ["31", "6"]
    for row, band in enumerate(shard.bands):
        scale, offset = calibration(band, "radiance")
        expected = (shard.counts(3)[row].astype(np.float64) - offset) * scale
        np.testing.assert_allclose(shard.physical(3)[row], expected, rtol=1e-7)
    _, bright = tile(tmp_path, paths, bands=["6"], quantity="reflectance")
    scale, offset = calibration("6", "reflectance")
    expected = (bright.counts(0)[0].astype(np.float64) - offset) * scale
    np.testing.assert_allclose(bright.physical(0)[0], expected, rtol=1e-7)
    assert (bright.quantity, bright.units) == ("reflectance", "1")
    _, raw = tile(tmp_path, paths, quantity="counts")
    np.testing.assert_array_equal(raw.physical(0), raw.counts(0).astype(np.float32))


def test_chips_know_where_and_when_they_were_seen(tmp_path):
    path = write(tmp_path, 5)
    _, shard = tile(tmp_path, [path])
    fields, stored = shard.fields(), read_counts(path, ["6"])
    places = [(8, 8), (0, 0), (0, 15), (15, 15), (15, 0)]  # the centre, then clockwise
    for number, (down, right) in enumerate(places):
        latitude, longitude = pixel_positions(
            stored.latitude, stored.longitude,
            rows=fields["row"] + down, columns=fields["column"] + right,
        )  # fmt: skip
        for column, expected in (("latitude", latitude), ("longitude", longitude)):
            found = fields[column] if number == 0 else fields[f"corner_{column}"][:, number - 1]
            np.testing.assert_array_equal(found, expected)
            assert found.dtype == np.float64
    # Its centre is line 24, pixel 24; tie points are 5 pixels apart, from line and pixel 2 on.
    at = shard.keys.index(f"{path.name}:16:16")
    assert fields["latitude"][at] == pytest.approx(10 - 0.045 * (24 - 2) / 5, abs=1e-4)
    assert fields["longitude"][at] == pytest.approx(20 + 0.045 * (24 - 2) / 5, abs=1e-4)
    assert fields["time"].dtype == np.int64
    assert set(fields["time"]) == {MIDNIGHT + 5 * 60}
    assert set(fields["platform"]) == {"Terra"}
    assert np.isnan(fields["solar_zenith"]).all()  # the granule tells nothing of the sun
    assert not fields["night"].any()


def test_positions_and_the_sun_are_those_of_mod03_where_it_is(tmp_path):
    paths = [write(tmp_path, 5), write_place(tmp_path, 5)]
    body, shard = tile(tmp_path, paths)
    assert body["granules"][0]["companions"] == ["MOD03"]
    view, fields = swath(5).view(range(SHAPE[0]), range(SHAPE[1])), shard.fields()
    rows, columns = fields["row"] + 8, fields["column"] + 8
    # To the float32 and the hundredth of a degree that MOD03 holds.
    np.testing.assert_array_equal(fields["latitude"], view.latitude[rows, columns].astype("f4"))
    np.testing.assert_array_equal(
        fields["corner_longitude"][:, 2], view.longitude[rows + 7, columns + 7].astype("f4")
    )
    np.testing.assert_allclose(
        fields["solar_zenith"], view.solar_zenith[rows, columns], atol=0.00501
    )
    assert (fields["water_share"] == 1).all()
    assert np.isnan(fields["cloud_share"]).all()
    assert body["chips_without_mask"] == 12


def test_chips_with_missing_pixels_are_dropped_and_counted_by_reason(tmp_path):
    filled = spoilt(65535, np.s_[0, 0], np.s_[0:2, 20])  # chips (0, 0) and (0, 16)
    hot = spoilt(65533, np.s_[20, 20])  # chip (16, 16)
    # (32, 0), (32, 16), (32, 32); line 49 is in none
    dead = spoilt(65531, np.s_[33, 0:40], np.s_[49, :])
    paths = [
        write(tmp_path, 5, counts={"31": filled}),
        write(tmp_path, 10, counts={"6": hot}),
        write(tmp_path, 15, counts={"6": dead}),
    ]
    body, shard = tile(tmp_path, paths)
    assert body["chips_dropped"] == {"dead detector": 3, "fill": 2, "saturated": 1}
    assert [row["chips"] for row in body["granules"]] == [10, 11, 9]
    assert body["chips_kept"] + sum(body["chips_dropped"].values()) == 3 * 12
    dropped = {f"{name(5)}:0:0", f"{name(5)}:0:16", f"{name(10)}:16:16", f"{name(15)}:32:32"}
    assert not dropped & set(shard.keys)
    assert f"{name(15)}:32:48" in shard.keys


def test_chips_without_a_position_are_dropped(tmp_path):
    rows, columns = np.indices((10, 14))
    latitude = np.where(rows < 2, np.nan, 10.0)  # the first scan: lines 0 to 9
    path = write(tmp_path, 5, latitude=latitude, longitude=20 + 0.045 * columns)
    body, _ = tile(tmp_path, [path])
    assert body["chips_dropped"] == {"no position": 4}  # centres at line 8


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["6", "99"]}, "no MODIS band '99'"),
        ({"bands": ["6", "6"]}, "more than once"),
        ({"quantity": "brightness_temperature", "bands": ["31"]}, "not linear"),
        ({"quantity": "reflectance"}, "band 31 has no reflectance"),
        ({"size": 0}, "size is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"min_valid": 1.5}, "min_valid is 1.5"),
        ({"min_cloud": -0.1}, "min_cloud is -0.1"),
        ({"min_water": 99}, "min_water is 99"),
        ({"dead_detectors": "ignore"}, "dead_detectors is 'ignore'; expected interpolate_lines or"),
        ({"night": "keep"}, "night is 'keep'; expected drop_chip or keep_missing"),
    ],
)
def test_recipes_no_granule_could_satisfy_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        tile(tmp_path, [write(tmp_path, 5)], **change)


def test_a_day_opens_with_h5py_as_the_specification_says(tmp_path):
    state = np.zeros(SHAPE, np.uint8)
    tile(tmp_path, [write(tmp_path, 5), write_mask(tmp_path, 5, state)])
    with h5py.File(tmp_path / "chips/2026-01-01.h5") as file:
        assert dict(file.attrs) | {"classes": [], "bands": [], "split_names": []} == {
            "format": "orbweaver-shard", "format_version": 2, "kind": "chips", "classes": [],
            "split_names": [], "bands": [], "dataset": "granules", "date": "2026-01-01",
            "quantity": "radiance", "units": "W m-2 sr-1 µm-1", "synthetic": "true",
        }  # fmt: skip
        assert list(file.attrs["bands"]) == ["31", "6"]
        types = {key: (column.dtype, column.shape) for key, column in file.items()}
        assert types["counts"] == (np.uint16, (12, 2, 16, 16))
        assert types["scale"] == types["offset"] == (np.float64, (12, 2))
        assert types["filled"] == (np.uint8, (12, 2, 16))
        assert types["corner_latitude"] == types["corner_longitude"] == (np.float64, (12, 4))
        assert types["cloud_share"] == types["water_share"] == (np.float32, (12,))
        assert types["night"] == (np.uint8, (12,))
        text = file["keys"][0].decode(), file["granule"][0].decode(), file["platform"][0].decode()
        assert text == (f"{name(5)}:0:0", name(5), "Terra")
        for key in ("counts", "latitude", "time", "corner_latitude"):
            assert file[key].chunks is None
            assert file[key].dims[0][0] == file["chip"]
        written = (file["counts"][3] - file["offset"][3][:, None, None]).astype(float)
    assert np.isfinite(written).all()


def test_a_day_opens_with_xarray(tmp_path):
    paths = [write(tmp_path, 5), write(tmp_path, 10)]
    _, shard = tile(tmp_path, paths)
    expected = shard.physical(20)
    with xarray.open_dataset(shard.path) as day:
        assert dict(day.sizes) == {"chip": 24, "band": 2, "y": 16, "x": 16, "corner": 4}
        assert day["counts"].dims == ("chip", "band", "y", "x")
        assert day["filled"].dims == ("chip", "band", "y")
        assert day["corner_latitude"].dims == ("chip", "corner")
        assert day["band"].values.tolist() == ["31", "6"]
        assert day["corner"].values.tolist()[0] == "upper left"
        assert set(day["time"].values) == {
            np.datetime64("2026-01-01T00:05"), np.datetime64("2026-01-01T00:10"),
        }  # fmt: skip
        assert day["latitude"].attrs["units"] == "degrees_north"
        physical = (day["counts"] - day["offset"]) * day["scale"]
        assert physical.dims == ("chip", "band", "y", "x")
        np.testing.assert_allclose(physical[20], expected, rtol=1e-6)


def run_stage(folder, manifest, **change):
    recipe = json.dumps({**RECIPE, **change})
    options = ["--recipe", recipe, "--manifest", manifest, "--chips", folder / "2026-01-01.h5"]
    return subprocess.run(
        [sys.executable, "-m", "workflow_scripts.tile", *map(str, options)],
        capture_output=True, text=True, check=False, cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
    )  # fmt: skip


def test_two_runs_of_the_program_give_the_same_bytes(tmp_path):
    paths = [write(tmp_path, 5), write(tmp_path, 10, counts={"6": spoilt(65533, np.s_[5, 5])})]
    manifest = list_day(tmp_path, paths)
    results = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        done = run_stage(folder, manifest)
        assert done.returncode == 0, done.stderr
        assert "2 granules, 0 set aside, 23 chips kept, 1 dropped" in done.stderr
        assert (folder / "2026-01-01.provenance.json").is_file()
        results.append([(folder / f"2026-01-01.{end}").read_bytes() for end in ("h5", "json")])
    assert results[0] == results[1]
    result = json.loads(results[0][1])
    assert result["shard"]["sha256"] == file_sha256(tmp_path / "first/2026-01-01.h5")
    assert result["digests"]["inputs"] == {"manifest": file_sha256(manifest)}
    assert (result["stage"], result["date"]) == ("tile", "2026-01-01")


def test_the_program_ends_with_the_reason_and_no_traceback(tmp_path):
    done = run_stage(tmp_path, list_day(tmp_path, []))
    assert done.returncode == 1
    assert "an empty day" in done.stderr
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.h5"))
