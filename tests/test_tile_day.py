"""A day of granules, some of them broken or foreign: what is set aside, what fails the day."""

import json
import re
import shutil

import numpy as np
import pytest
from modis_day import (
    RECIPE,
    SHAPE,
    list_day,
    name,
    planes,
    spoilt,
    swath,
    tile,
    write,
    write_mask,
    write_place,
)

from workflow_scripts.errors import UserError
from workflow_scripts.modis import faults
from workflow_scripts.tile.day import tile_day

CLEAR = np.full(SHAPE, 3, np.uint8)


def reasons(body):
    return {row["key"]: row["reason"] for row in body["granules"] if "reason" in row}


def test_the_summary_counts_what_the_day_holds(tmp_path):
    dead = faults.dead_detectors(planes(5), {"6": [3]})
    cloudy = faults.dead_detectors(planes(10), {"6": [3, 8], "31": [0]})
    cloudy["31"][21, 20] = 65533  # one chip
    hidden = np.full(SHAPE, 255, np.uint8)
    hidden[:, :16] = 0  # the first of four columns is cloudy, the others undetermined
    paths = [
        write(tmp_path, 5, counts=dead),
        write(tmp_path, 10, counts=cloudy),
        write_mask(tmp_path, 10, hidden),
        write_place(tmp_path, 10),
        write(tmp_path, 15),
        write_mask(tmp_path, 15, CLEAR),
        write(tmp_path, 20),
        write_place(tmp_path, 25),  # no granule of its time
    ]
    paths[6].write_bytes(b"")
    body, shard = tile(tmp_path, paths)
    assert body["granules"][:3] == [
        {"key": name(5), "chips": 12, "companions": [], "dead_detectors": {"6": [3]}},
        {"key": name(10), "chips": 11, "companions": ["MOD03", "MOD35_L2"],
         "dead_detectors": {"6": [3, 8], "31": [0]}},
        {"key": name(15), "chips": 12, "companions": ["MOD35_L2"], "dead_detectors": {}},
    ]  # fmt: skip
    assert [row["key"] for row in body["granules"]] == [name(m) for m in (5, 10, 15, 20)]
    counted = {key: body[key] for key in body if key.startswith(("chips", "granules_", "dead"))}
    assert counted == {
        "granules_read": 3, "granules_set_aside": 1, "chips_kept": 35,
        "chips_dropped": {"saturated": 1}, "chips_by_platform": {"Terra": 35},
        "chips_without_mask": 12 + 8, "chips_night": 0,
        # Detector 3 or 8 is in every stretch of 16 lines.
        "chips_with_filled_lines": 12 + 11,
        "dead_detectors": {"31": {"0": 1}, "6": {"3": 2, "8": 1}},
    }  # fmt: skip
    known = {key: body[key] for key in ("dataset", "date", "platform", "synthetic", "bands")}
    assert known == {key: RECIPE[key] for key in known}
    assert body["shard"]["bytes"] == shard.path.stat().st_size
    assert int(sum(shard.filled(i).any() for i in range(35))) == 23
    json.dumps(body, allow_nan=False)


@pytest.mark.parametrize("seed", range(4))
def test_kept_and_dropped_chips_add_up_to_all_whole_chips(tmp_path, seed):
    rng = np.random.default_rng(seed)
    paths = []
    for minute in (5, 10):
        counts = planes(minute)
        for band in counts:
            hit = rng.random(SHAPE) < 0.004
            counts[band][hit] = rng.choice([65535, 65533, 65528, 40000], hit.sum())
        uncertainty = {"6": np.where(rng.random(SHAPE) < 0.001, 15, 0).astype(np.uint8)}
        paths.append(write(tmp_path, minute, counts=counts, uncertainty=uncertainty))
        state = rng.choice([0, 3], (5, 7)).repeat(10, axis=0).repeat(10, axis=1)
        paths.append(write_mask(tmp_path, minute, state.astype(np.uint8)))
    body, _ = tile(tmp_path, paths, size=10, stride=8, min_valid=0.99, min_cloud=0.4)
    assert body["chips_kept"] + sum(body["chips_dropped"].values()) == 2 * 6 * 8
    assert {"too few clouds", "fill"} <= set(body["chips_dropped"])
    assert body["chips_kept"] == sum(row["chips"] for row in body["granules"]) > 0


def test_broken_granules_are_set_aside_with_their_reason(tmp_path):
    paths = [write(tmp_path, minute) for minute in (5, 10, 15, 20)]
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    paths[2].write_text("<html>Service unavailable</html>")
    body, shard = tile(tmp_path, paths)
    assert (body["granules_read"], body["granules_set_aside"]) == (2, 2)
    assert set(reasons(body)) == {name(10), name(15)}
    assert "truncated or damaged" in reasons(body)[name(10)]
    assert "not an HDF4 file" in reasons(body)[name(15)]
    assert {key.split(":")[0] for key in shard.keys} == {name(5), name(20)}
    assert str(tmp_path) not in json.dumps(body)


def test_a_granule_whose_companion_is_broken_or_does_not_fit_is_set_aside(tmp_path):
    paths = [write(tmp_path, minute) for minute in (5, 10, 15, 20, 25)]
    broken = write_mask(tmp_path, 10, CLEAR)
    broken.write_bytes(broken.read_bytes()[:3000])
    small = write_mask(tmp_path, 15, CLEAR[:40])
    twice = [
        write_mask(tmp_path, 20, CLEAR),
        tmp_path / name(20, product="35_L2", production="9" * 13),
    ]
    shutil.copy(*twice)
    renamed = tmp_path / name(25, product="35_L2")
    shutil.copy(twice[0], renamed)
    body, shard = tile(tmp_path, [*paths, broken, small, *twice, renamed], max_broken_granules=0.8)
    found = reasons(body)
    assert set(found) == {name(10), name(15), name(20), name(25)}
    assert found[name(10)].startswith(name(10, product="35_L2"))
    assert re.search(r"Cloud_Mask is .*40, 70\).*\(50, 70\)", found[name(15)])
    assert "two companions of one product" in found[name(20)]
    assert "its metadata say it begins at 2026-01-01 00:20, its name" in found[name(25)]
    assert str(tmp_path) not in json.dumps(body)
    assert len(shard) == 12


def test_what_is_no_granule_of_the_dataset_is_set_aside_after_the_others(tmp_path):
    paths = [
        tmp_path / "cloudy day.hdf",
        write(tmp_path, 5, platform="Aqua"),
        write(tmp_path, 5),
        write(tmp_path, 10),
        tmp_path / name(10, production="2026002000000"),
        tmp_path / name(10).replace("A2026001", "A2026002"),
    ]
    for path in (paths[0], *paths[4:]):
        shutil.copy(paths[3], path)
    body, shard = tile(tmp_path, paths, max_broken_granules=0.7)
    assert [row["key"] for row in body["granules"][:2]] == [name(5), name(10)]
    found = reasons(body)
    assert set(found) == {path.name for path in (*paths[:2], *paths[4:])}
    assert found["cloudy day.hdf"].startswith("cloudy day.hdf: not the name of a MODIS granule")
    assert found[name(5, platform="Aqua")] == "a granule of Aqua; the dataset is of Terra"
    assert found[paths[4].name] == "a second granule of that time"
    assert found[paths[5].name] == "begins at 2026-01-02T00:10:00Z; the day is 2026-01-01"
    assert str(tmp_path) not in json.dumps(body)
    assert body["chips_by_platform"] == {"Terra": 24}
    assert len(set(shard.keys)) == 24


def test_too_many_broken_granules_fail_the_day_and_leave_what_was_there(tmp_path):
    paths = [write(tmp_path, minute) for minute in (5, 10, 15, 20)]
    _, shard = tile(tmp_path, paths)
    before = shard.path.read_bytes()
    for path in paths[:3]:
        path.write_bytes(path.read_bytes()[:5000])
    message = rf"3 of 4 granules are broken.*max_broken_granules = 0.5.*the first is {name(5)}"
    with pytest.raises(UserError, match=message):
        tile(tmp_path, paths)
    assert shard.path.read_bytes() == before
    shard.path.unlink()
    with pytest.raises(UserError, match=message):
        tile(tmp_path, paths)
    assert list(shard.path.parent.iterdir()) == []
    body, _ = tile(tmp_path, paths, max_broken_granules=0.75)
    assert (body["granules_set_aside"], body["chips_kept"]) == (3, 12)


def test_a_file_changed_or_gone_since_the_manifest_stops_the_day(tmp_path):
    paths = [write(tmp_path, 5), write_mask(tmp_path, 5, CLEAR)]
    chips = tmp_path / "2026-01-01.h5"
    manifest = list_day(tmp_path, paths)
    kept = paths[1].read_bytes()
    for change in (
        lambda: write(tmp_path, 5, counts={"31": spoilt(65535)}),
        lambda: write_mask(tmp_path, 5, np.zeros(SHAPE, np.uint8)),
    ):
        change()
        with pytest.raises(UserError, match=r"data changed since.*run fetch"):
            tile_day(RECIPE, manifest, chips)
        write(tmp_path, 5)
    paths[1].unlink()
    with pytest.raises(UserError, match=r"35_L2.*missing; run fetch"):
        tile_day(RECIPE, manifest, chips)
    paths[1].write_bytes(kept)
    paths[0].unlink()
    with pytest.raises(UserError, match=r"021KM.*missing; run fetch"):
        tile_day(RECIPE, manifest, chips)
    assert not chips.exists()


def test_an_empty_day_is_an_error_and_a_day_without_a_good_chip_is_not(tmp_path):
    with pytest.raises(UserError, match="empty day"):
        tile(tmp_path, [])
    with pytest.raises(UserError, match="empty day"):
        tile(tmp_path, [write_place(tmp_path, 5)])
    path = write(tmp_path, 5, counts={"31": spoilt(65535, np.s_[:])})
    body, shard = tile(tmp_path, [path])
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {"fill": 12})
    assert len(shard) == 0
    assert shard.bands == ["31", "6"]
    body, _ = tile(tmp_path, [path], size=64)
    assert (body["chips_kept"], body["chips_dropped"]) == (0, {})


def test_any_number_of_workers_gives_the_same_bytes(tmp_path):
    paths = [write(tmp_path, minute, geometry=swath(minute)) for minute in (5, 10, 15, 20)]
    paths += [write_mask(tmp_path, minute, CLEAR) for minute in (5, 10, 15)]
    paths[1].write_bytes(paths[1].read_bytes()[:5000])
    found = []
    for workers in (0, 1, 2):
        body, shard = tile(tmp_path, paths, workers=workers)
        found.append((body, shard.path.read_bytes()))
    assert found[0] == found[1] == found[2]
    assert found[0][0]["granules_set_aside"] == 1
