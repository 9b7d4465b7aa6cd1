"""The synthetic MODIS day: deterministic, plausible, spoilt a little, and with its companions."""

import numpy as np
import pytest
from pyhdf.SD import SD

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.samples.cloud_scene import (
    CLOUDY_THICKNESS,
    cloud_state,
    fractal,
    make_scene,
)
from workflow_scripts.fetch.samples.sample_modis import write_sample_day
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import BANDS, REASONS
from workflow_scripts.modis.geolocation import pixel_positions
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.l1b import read_counts
from workflow_scripts.modis.products import parse_name

SMALL = {"date": "2026-01-01", "granules": 4, "lines": 160, "pixels": 180, "seed": 0}
SOLSTICES = ("2026-06-21", "2026-12-21")


def granules_of(paths):
    return [path for path in paths if "021KM" in path.name]


def stored(path, name):
    file = SD(str(path))
    found = np.asarray(file.select(name).get())
    file.end()
    return found


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    return write_sample_day(tmp_path_factory.mktemp("day"), SMALL)


@pytest.fixture(scope="module")
def day(written):
    return granules_of(written)


@pytest.fixture(scope="module")
def aqua(tmp_path_factory):
    return write_sample_day(tmp_path_factory.mktemp("aqua"), {**SMALL, "platform": "Aqua"})


def values(path, bands, quantity):
    return read_granule(path, bands, quantity=quantity)[quantity].values


def test_granules_are_named_as_real_ones_in_the_order_of_their_times(day):
    names = [parse_name(path) for path in day]
    assert [name.time for name in names] == sorted({name.time for name in names})
    assert {f"{name.time:%Y-%m-%d}" for name in names} == {"2026-01-01"}
    assert {name.platform for name in names} == {"Terra"}
    assert day == sorted(day)


def test_every_granule_has_the_companions_of_its_time(written):
    names = [parse_name(path) for path in written]
    assert [name.product for name in names] == ["021KM", "03", "35_L2"] * 4
    for first in range(0, len(names), 3):
        assert len({(name.time, name.production) for name in names[first : first + 3]}) == 1
    assert len({path.parent for path in written}) == 1


def test_the_cloud_mask_agrees_with_the_granule_and_all_is_water_by_day(written):
    for granule, mask in zip(written[::3], written[2::3], strict=True):
        byte = stored(mask, "Cloud_Mask")[0].view(np.uint8)
        assert (byte & 1 == 1).all()
        assert (byte >> 6 == 0).all()
        assert (byte >> 3 & 1 == 1).all()
        cloudy, clear = byte >> 1 & 3 == 0, byte >> 1 & 3 == 3
        assert 0.1 < cloudy.mean() < 0.9
        bright = values(granule, ["1"], "reflectance")[0]
        assert np.nanmean(bright[cloudy]) > np.nanmean(bright[clear]) + 0.1
        warm = values(granule, ["31"], "brightness_temperature")[0]
        assert np.nanmean(warm[cloudy]) < np.nanmean(warm[clear]) - 4


def test_cloudy_means_an_optical_thickness_above_the_stated_one():
    scene = make_scene(np.random.default_rng(0), (100, 120))
    cloudy = cloud_state(scene) == 0
    np.testing.assert_array_equal(cloudy, scene.thickness > CLOUDY_THICKNESS)
    np.testing.assert_array_equal(cloud_state(scene) == 3, scene.thickness == 0)


@pytest.mark.parametrize("platform", ["Terra", "Aqua"])
@pytest.mark.parametrize("date", SOLSTICES)
def test_the_sun_is_up_in_any_season(tmp_path, platform, date):
    recipe = {**SMALL, "lines": 100, "pixels": 100, "date": date, "platform": platform}
    for path in write_sample_day(tmp_path, {**recipe, "granules": 8})[1::3]:
        zenith = stored(path, "SolarZenith") / 100.0
        assert zenith.min() > 5
        assert zenith.max() < 80


def test_a_day_of_aqua_is_named_so_and_has_few_detectors_in_band_6(aqua, day):
    assert {parse_name(path).platform for path in aqua} == {"Aqua"}
    for path in granules_of(aqua):
        reason = read_counts(path, ["6", "7"]).reason
        dead = [(reason[0, line::10] != 0).all() for line in range(10)]
        assert np.flatnonzero(dead).tolist() == list(faults.AQUA_BAND_6_DEAD)
        assert not (reason[1] != 0).all(axis=1).any()
    for path in day:
        assert not (read_counts(path, ["6"]).reason[0] != 0).all(axis=1).any()


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_or_date_others(
    written, day, tmp_path
):
    again = write_sample_day(tmp_path / "again", {**SMALL, "platform": "Terra"})
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in written]
    one = {**SMALL, "granules": 1}
    for change in ({"seed": 1}, {"date": "2026-01-02"}):
        other = write_sample_day(tmp_path / str(change), {**one, **change})
        assert (read_counts(other[0], ["31"]).counts != read_counts(day[0], ["31"]).counts).any()


def test_a_day_of_fewer_granules_begins_with_the_same_one(day, tmp_path):
    first = write_sample_day(tmp_path, {**SMALL, "granules": 1})
    assert first[0].read_bytes() == day[0].read_bytes()


def test_every_band_has_plausible_values(day):
    for path in day:
        emissive = [name for name, band in BANDS.items() if band.emissive]
        reflective = [name for name, band in BANDS.items() if not band.emissive]
        warm = values(path, emissive, "brightness_temperature")
        assert 180 < np.nanmin(warm) < np.nanmax(warm) < 335
        assert np.isfinite(warm).mean() > 0.97
        bright = values(path, reflective, "reflectance")
        assert -0.02 < np.nanmin(bright) < np.nanmax(bright) < 1.1
        assert all(np.isfinite(plane).any() for plane in bright)
        assert all(np.nanstd(plane) > 0 for plane in [*warm, *bright])


def test_clouds_are_bright_and_cold_over_a_dark_warm_sea(day):
    for path in day:
        bright = values(path, ["1"], "reflectance")[0]
        warm = values(path, ["31"], "brightness_temperature")[0]
        known = np.isfinite(bright) & np.isfinite(warm)
        sea, cloud = known & (bright < 0.06), known & (bright > 0.4)
        assert sea.mean() > 0.1
        assert cloud.mean() > 0.05
        assert warm[sea].mean() > warm[cloud].mean() + 4
        assert np.corrcoef(bright[known], warm[known])[0, 1] < -0.6


def test_defects_of_real_granules_are_there_but_few(day):
    found = set()
    for path in day:
        reason = read_counts(path, ["6", "7", "20", "28", "29", "31"]).reason
        codes, counts = np.unique(reason[reason > 0], return_counts=True)
        found |= {REASONS[code] for code in codes}
        assert counts.sum() < 0.05 * reason.size
    assert found == {"fill", "saturated", "dead detector"}


def test_neighbouring_pixels_lie_one_kilometre_apart(day):
    for path in day:
        stored = read_counts(path, ["6"])
        rows, columns = np.array([50, 50, 51]), np.array([70, 71, 70])
        lat, lon = np.radians(
            pixel_positions(stored.latitude, stored.longitude, rows=rows, columns=columns)
        )
        points = np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)])
        steps = 6371 * np.linalg.norm(points[:, 1:] - points[:, :1], axis=0)
        np.testing.assert_allclose(steps, 1.0, rtol=0.01)


def test_fractal_noise_has_unit_variance_and_the_slope_asked_for():
    noise = fractal(np.random.default_rng(0), (256, 256), slope=2.0)
    assert noise.mean() == pytest.approx(0, abs=1e-12)
    assert noise.std() == pytest.approx(1)
    power = np.abs(np.fft.fft2(noise)) ** 2
    waves = np.hypot(*np.meshgrid(*[np.fft.fftfreq(256) * 256] * 2))
    low = power[(waves > 9) & (waves < 11)].mean()
    high = power[(waves > 45) & (waves < 55)].mean()
    assert np.log(low / high) / np.log(5) == pytest.approx(4.0, abs=0.3)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"lines": 165}, "multiple of 10"),
        ({"pixels": 20}, "at least 100"),
        ({"granules": 0}, "granules is 0"),
        ({"granules": 289}, "granules is 289"),
        ({"date": "1.1.2026"}, "date is '1.1.2026'"),
        ({"platform": "Envisat"}, "platform is 'Envisat'; expected Terra or Aqua"),
    ],
)
def test_recipes_that_make_no_granule_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        write_sample_day(tmp_path, {**SMALL, **change})
