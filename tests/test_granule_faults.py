"""Faults put into synthetic granules, their noise, and whole granules for benchmarks."""

import re

import numpy as np
import pytest
from synthetic_granule import TIME, attributes, counts_of, name_of, read, swath, write

from workflow_scripts.fetch.samples.cloud_scene import texture_scene
from workflow_scripts.fetch.samples.full_granule import write_full_granule
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import BANDS
from workflow_scripts.modis.detector_noise import measure, uncertainty_indexes
from workflow_scripts.modis.granule_writer import tie_fields, write_granule
from workflow_scripts.modis.l1b_calibration import calibration, uncertainty_scale


def test_faults_spoil_what_they_say_and_leave_their_input_alone():
    sound = counts_of()
    before = {name: plane.copy() for name, plane in sound.items()}
    lost = faults.missing_scans(sound, [1])
    assert all((plane[10:20] == 65535).all() for plane in lost.values())
    assert all((plane[:10] < 32768).all() and (plane[20:] < 32768).all() for plane in lost.values())
    dead = faults.dead_detectors(sound, {"29": (3, 7)})
    silent = (dead["29"] == 65531).all(axis=1)
    assert np.flatnonzero(silent).tolist() == [3, 7, 13, 17, 23, 27, 33, 37]
    assert all((dead[name] == sound[name]).all() for name in BANDS if name != "29")
    dark = faults.night(sound)
    for name, band in BANDS.items():
        assert (dark[name] == 65535).all() != band.emissive
    indexes = uncertainty_indexes(sound)
    spoilt = faults.uncertain(indexes, np.s_[2:4, 5:9], bands=("6",))
    assert ((spoilt["6"] == 15).sum(), (spoilt["7"] == 15).sum()) == (8, 0)
    assert all((sound[name] == before[name]).all() for name in BANDS)


def test_a_granule_of_the_night_says_so(tmp_path):
    counts = faults.night(counts_of())
    path = tmp_path / name_of()
    write_granule(path, counts, **tie_fields(swath(night=True)))
    found = attributes(path)
    assert found["Number of Night mode scans"] == 4
    assert re.search(r'DAYNIGHTFLAG\s+NUM_VAL\s+= 1\s+VALUE\s+= "Night"', found["CoreMetadata.0"])
    assert (read(path, "EV_1KM_RefSB")[0] == 65535).all()
    assert read(path, "SolarZenith")[0].min() > 9000


def test_a_truncated_file_has_the_share_asked_for(tmp_path):
    path = write(tmp_path, counts_of())
    whole = path.read_bytes()
    faults.truncate(path, 0.25)
    assert path.read_bytes() == whole[: len(whole) // 4]


def test_measured_counts_have_the_noise_and_the_uncertainty_of_their_band():
    radiance = 9.5
    counts = measure(
        lambda name: np.full((100, 100), radiance), lambda name: np.full((100, 100), 0.05),
        np.random.default_rng(0),
    )  # fmt: skip
    scale, offset = calibration("31", "radiance")
    values = (counts["31"].astype(float) - offset) * scale
    assert values.mean() == pytest.approx(radiance, rel=1e-4)
    # 0.6 of the specified 0.05 K, of which one is 0.137 W m⁻² sr⁻¹ µm⁻¹ at 300 K and 11.01 µm.
    assert values.std() == pytest.approx(0.6 * 0.05 * 0.137, rel=0.05)
    counts["31"][0, :2] = 65535, 65533
    indexes = uncertainty_indexes(counts)["31"]
    assert indexes[0, :2].tolist() == [255, 15]
    specified, factor = uncertainty_scale("31")
    percent = specified * np.exp(indexes[1:].astype(float) / factor)
    assert (percent >= specified).all()
    assert (percent < 2 * specified).all()


@pytest.mark.parametrize("platform", ["Terra", "Aqua"])
def test_full_granules_are_deterministic_and_named_by_platform_and_time(tmp_path, platform):
    texture = np.random.default_rng(0).random((70, 30, 3))
    options = {"platform": platform, "time": TIME, "rng_seed": 3, "shape": (40, 60)}
    first = write_full_granule(tmp_path / "a", **options, texture=texture, companions=True)
    second = write_full_granule(tmp_path / "b", **options, texture=texture, companions=True)
    prefix = "MOD" if platform == "Terra" else "MYD"
    assert [path.name.split(".")[0] for path in first] == [
        prefix + product for product in ("021KM", "03", "35_L2", "06_L2")
    ]
    assert len({path.name.split(".", 1)[1] for path in first}) == 1
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
    other = write_full_granule(tmp_path / "c", **{**options, "rng_seed": 4})
    assert len(other) == 1
    assert other[0].read_bytes() != first[0].read_bytes()
    dead = np.flatnonzero(attributes(first[0])["Dead Detector List"])
    # Aqua's band 6: two of its 20 detectors a line of 1 km.
    lines = sorted(set((dead - 140) // 2))
    assert lines == (list(faults.AQUA_BAND_6_DEAD) if platform == "Aqua" else [])


def test_clouds_of_a_texture_lie_where_it_is_bright():
    texture = np.zeros((60, 90))
    texture[:, 45:] = 1.0
    scene = texture_scene(np.random.default_rng(0), texture, (180, 60))  # turned and mirrored
    assert (scene.thickness[:45] == 0).all()
    assert (scene.thickness[45:135] > 50).all()
    assert (scene.thickness[135:] == 0).all()
