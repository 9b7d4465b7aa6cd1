"""The synthetic MODIS day: deterministic, plausible, and spoilt a little."""

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sample_modis import fractal, write_sample_day
from workflow_scripts.modis.bands import BANDS, REASONS
from workflow_scripts.modis.geolocation import pixel_positions
from workflow_scripts.modis.l1b import parse_name, read_counts, read_granule

SMALL = {"date": "2026-01-01", "granules": 4, "lines": 160, "pixels": 180, "seed": 0}


@pytest.fixture(scope="module")
def day(tmp_path_factory):
    return write_sample_day(tmp_path_factory.mktemp("day"), SMALL)


def values(path, bands, quantity):
    return read_granule(path, bands, quantity=quantity)[quantity].values


def test_granules_are_named_as_real_ones_in_the_order_of_their_times(day):
    names = [parse_name(path) for path in day]
    assert [name.time for name in names] == sorted({name.time for name in names})
    assert {f"{name.time:%Y-%m-%d}" for name in names} == {"2026-01-01"}
    assert {name.platform for name in names} == {"Terra"}
    assert day == sorted(day)


def test_the_same_recipe_gives_the_same_bytes_and_another_seed_or_date_others(day, tmp_path):
    again = write_sample_day(tmp_path / "again", SMALL)
    assert [path.read_bytes() for path in again] == [path.read_bytes() for path in day]
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
    ],
)
def test_recipes_that_make_no_granule_are_refused(tmp_path, change, message):
    with pytest.raises(UserError, match=message):
        write_sample_day(tmp_path, {**SMALL, **change})
