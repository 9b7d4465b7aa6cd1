"""The tile stage: which chips a day gives, what they hold, and what happens to broken granules."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.modis.bands import REASONS
from workflow_scripts.modis.geolocation import pixel_positions, tie_shape
from workflow_scripts.modis.granule_writer import calibration, write_granule
from workflow_scripts.modis.l1b import read_counts
from workflow_scripts.shards.reader import Shard
from workflow_scripts.tile.chips import corners, drop_reason
from workflow_scripts.tile.day import tile_day

ROOT = Path(__file__).resolve().parent.parent
SHAPE = (50, 70)
RECIPE = {
    "dataset": "sample-modis",
    "date": "2026-01-01",
    "synthetic": True,
    "bands": ["31", "6"],
    "size": 16,
    "stride": 16,
    "max_missing": 0.0,
    "quantity": "radiance",
    "max_broken_granules": 0.5,
}


def name(minute):
    return f"MOD021KM.A2026001.00{minute:02d}.061.2026001000000.hdf"


def write(folder, minute, *, counts=None, **options):
    rng = np.random.default_rng(minute)
    planes = {band: rng.integers(3000, 32768, SHAPE).astype(np.uint16) for band in ("6", "31")}
    rows, columns = np.indices(tie_shape(*SHAPE))
    path = folder / name(minute)
    write_granule(
        path,
        {**planes, **(counts or {})},
        **{"latitude": 10 - 0.045 * rows, "longitude": 20 + 0.045 * columns, **options},
    )
    return path


def list_day(folder, paths, *, date="2026-01-01"):
    manifest = folder / f"{date}.jsonl"
    write_manifest(
        manifest,
        [
            Item(key=path.name, path=str(path), sha256=file_sha256(path), bytes=path.stat().st_size)
            for path in paths
        ],
    )
    return manifest


def spoilt(value, *where):
    plane = np.full(SHAPE, 9000, np.uint16)
    for window in where:
        plane[window] = value
    return plane


def tile(folder, paths, **change):
    chips = folder / "chips" / "2026-01-01.h5"
    return tile_day({**RECIPE, **change}, list_day(folder, paths), chips), Shard(chips)


def test_corners_are_those_of_whole_chips():
    assert list(corners((50, 70), size=20, stride=15)) == [
        (row, column) for row in (0, 15, 30) for column in (0, 15, 30, 45)
    ]
    assert list(corners((20, 20), size=20, stride=5)) == [(0, 0)]
    assert list(corners((19, 20), size=20, stride=5)) == []


def test_a_day_gives_every_whole_chip_with_its_counts_unchanged(tmp_path):
    paths = [write(tmp_path, 5), write(tmp_path, 10)]
    body, shard = tile(tmp_path, paths)
    assert body["chips_kept"] == len(shard) == body["shard"]["count"] == 2 * 3 * 4
    assert body["granules"] == [{"key": path.name, "chips": 12} for path in paths]
    assert (body["granules_read"], body["granules_set_aside"]) == (2, 0)
    assert body["chips_dropped"] == {}
    stored = {path.name: read_counts(path, RECIPE["bands"]).counts for path in paths}
    fields = shard.fields()
    for index, key in enumerate(shard.keys):
        granule, row, column = key.rsplit(":", 2)
        assert (granule, int(row), int(column)) == (
            fields["granule"][index], fields["row"][index], fields["column"][index],
        )  # fmt: skip
        window = stored[granule][:, int(row) : int(row) + 16, int(column) : int(column) + 16]
        np.testing.assert_array_equal(shard.counts(index), window)
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
    _, raw = tile(tmp_path, paths, quantity="counts")
    np.testing.assert_array_equal(raw.physical(0), raw.counts(0).astype(np.float32))


def test_chips_know_where_and_when_their_centre_was_seen(tmp_path):
    path = write(tmp_path, 5)
    _, shard = tile(tmp_path, [path])
    fields, stored = shard.fields(), read_counts(path, ["6"])
    latitude, longitude = pixel_positions(
        stored.latitude, stored.longitude, rows=fields["row"] + 8, columns=fields["column"] + 8
    )
    np.testing.assert_array_equal(fields["latitude"], latitude)
    np.testing.assert_array_equal(fields["longitude"], longitude)
    # Its centre is line 24, pixel 24; tie points are 5 pixels apart, from line and pixel 2 on.
    at = shard.keys.index(f"{path.name}:16:16")
    assert fields["latitude"][at] == pytest.approx(10 - 0.045 * (24 - 2) / 5, abs=1e-4)
    assert fields["longitude"][at] == pytest.approx(20 + 0.045 * (24 - 2) / 5, abs=1e-4)
    assert set(fields["time"]) == {"2026-01-01T00:05:00Z"}
    assert set(fields["platform"]) == {"Terra"}


def test_chips_with_missing_pixels_are_dropped_and_counted_by_reason(tmp_path):
    filled = spoilt(65535, np.s_[0, 0], np.s_[0:2, 20])  # chips (0, 0) and (0, 16)
    hot = spoilt(65533, np.s_[20, 20])  # chip (16, 16)
    dead = spoilt(
        65531, np.s_[33, 0:40], np.s_[49, :]
    )  # (32, 0), (32, 16), (32, 32); line 49: none
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


def test_max_missing_is_a_share_of_pixels_and_inclusive():
    reason = np.zeros((2, 10, 10), np.uint8)
    fill, hot = REASONS.index("fill"), REASONS.index("saturated")
    reason[0, 0, :4] = hot
    reason[1, 0, 2:5] = fill  # two pixels lack both bands: five pixels in all
    assert drop_reason(reason, max_missing=0.05) is None
    assert drop_reason(reason, max_missing=0.049) == "saturated"  # 4 of one against 3
    assert drop_reason(np.zeros_like(reason), max_missing=0.0) is None


def test_uncertain_pixels_count_as_missing(tmp_path):
    indexes = np.zeros(SHAPE, np.uint8)
    indexes[40, 60] = 15
    body, _ = tile(tmp_path, [write(tmp_path, 5, uncertainty={"6": indexes})])
    assert body["chips_dropped"] == {"uncertain": 1}


def test_chips_without_a_position_are_dropped(tmp_path):
    rows, columns = np.indices(tie_shape(*SHAPE))
    latitude = np.where(rows < 2, np.nan, 10.0)  # the first scan: lines 0 to 9
    path = write(tmp_path, 5, latitude=latitude, longitude=20 + 0.045 * columns)
    body, _ = tile(tmp_path, [path])
    assert body["chips_dropped"] == {"no position": 4}  # centres at line 8


def test_broken_granules_are_set_aside_with_their_reason(tmp_path):
    paths = [write(tmp_path, minute) for minute in (5, 10, 15, 20)]
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    paths[2].write_text("<html>Service unavailable</html>")
    body, shard = tile(tmp_path, paths)
    assert (body["granules_read"], body["granules_set_aside"]) == (2, 2)
    rows = {row["key"]: row for row in body["granules"]}
    assert "truncated or damaged" in rows[name(10)]["reason"]
    assert "not an HDF4 file" in rows[name(15)]["reason"]
    assert "reason" not in rows[name(5)]
    assert {key.split(":")[0] for key in shard.keys} == {name(5), name(20)}
    assert str(tmp_path) not in json.dumps(body)


def test_too_many_broken_granules_fail_the_day_and_leave_no_shard(tmp_path):
    paths = [write(tmp_path, minute) for minute in (5, 10, 15, 20)]
    for path in paths[:3]:
        path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(UserError, match=r"3 of 4 granules are broken.*max_broken_granules = 0.5"):
        tile(tmp_path, paths)
    assert not (tmp_path / "chips/2026-01-01.h5").exists()
    body, _ = tile(tmp_path, paths, max_broken_granules=0.75)
    assert body["granules_set_aside"] == 3


def test_a_granule_changed_or_gone_since_the_manifest_stops_the_day(tmp_path):
    path = write(tmp_path, 5)
    manifest = list_day(tmp_path, [path])
    write(tmp_path, 5, counts={"31": spoilt(65535)})
    with pytest.raises(UserError, match=r"data changed since.*run fetch"):
        tile_day(RECIPE, manifest, tmp_path / "2026-01-01.h5")
    path.unlink()
    with pytest.raises(UserError, match=r"missing; run fetch"):
        tile_day(RECIPE, manifest, tmp_path / "2026-01-01.h5")


def test_an_empty_day_is_an_error_and_a_day_without_a_good_chip_is_not(tmp_path):
    with pytest.raises(UserError, match="empty day"):
        tile(tmp_path, [])
    path = write(tmp_path, 5, counts={"31": spoilt(65535, np.s_[:])})
    body, shard = tile(tmp_path, [path])
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {"fill": 12})
    assert len(shard) == 0
    assert shard.bands == ["31", "6"]
    body, _ = tile(tmp_path, [path], size=64)
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {})


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"bands": ["6", "99"]}, "no MODIS band '99'"),
        ({"bands": ["6", "6"]}, "more than once"),
        ({"quantity": "brightness_temperature", "bands": ["31"]}, "not linear"),
        ({"quantity": "reflectance"}, "band 31 has no reflectance"),
        ({"size": 0}, "size is 0"),
        ({"stride": 0}, "stride is 0"),
        ({"max_missing": 1.5}, "max_missing is 1.5"),
    ],
)
def test_recipes_no_granule_could_satisfy_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        tile(tmp_path, [write(tmp_path, 5)], **change)


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
