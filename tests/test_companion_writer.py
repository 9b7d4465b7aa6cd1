"""The geometry of synthetic swaths and their companions: MOD03, MOD35_L2, MOD06_L2."""

import numpy as np
import pytest
from synthetic_granule import SHAPE, counts_of, name_of, read, swath, write

from workflow_scripts.modis.cloud_writer import (
    CLEAR,
    CLOUDY,
    LAND,
    UNDETERMINED,
    WATER,
    cloud_byte,
    write_cloud_mask,
    write_cloud_product,
)
from workflow_scripts.modis.companion_writer import write_geolocation


def chord_km(first, second):
    points = []
    for latitude, longitude in (first, second):
        lat, lon = np.radians(latitude), np.radians(longitude)
        points.append(np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)]))
    return 6371 * np.linalg.norm(points[0] - points[1], axis=0)


def test_pixels_are_one_kilometre_at_nadir_and_two_by_five_at_the_edge():
    geometry = swath(shape=(40, 1354))
    view = geometry.view(range(10, 20), range(1354))
    place = view.latitude, view.longitude
    across = chord_km([field[5, :-1] for field in place], [field[5, 1:] for field in place])
    along = chord_km([field[4] for field in place], [field[5] for field in place])
    assert across[676] == pytest.approx(1.0, abs=0.01)
    assert along[676] == pytest.approx(1.0, abs=0.01)
    assert across[0] == pytest.approx(4.8, abs=0.1)  # MODIS: 4.83 km
    assert along[0] == pytest.approx(2.0, abs=0.05)  # MODIS: 2.01 km
    swath_width = chord_km([field[5, 0] for field in place], [field[5, -1] for field in place])
    assert swath_width == pytest.approx(2330, rel=0.01)
    assert view.sensor_zenith[5, 0] == pytest.approx(65.3, abs=0.2)
    assert view.range_[5, 676] == pytest.approx(705e3, rel=1e-3)


@pytest.mark.parametrize(
    ("platform", "night", "hours", "southward"),
    [
        ("Terra", False, 10.5, True), ("Terra", True, 22.5, False), ("Aqua", False, 13.5, False),
        ("Aqua", True, 1.5, True),
    ],
)  # fmt: skip
def test_satellites_cross_the_equator_at_their_local_times(platform, night, hours, southward):
    geometry = swath(platform, latitude=0.0, night=night, shape=(200, 1354))
    view = geometry.view([0, 100, 199], [0, 677, 1353])
    local = (14 + (5 + 0.25) / 60 + view.longitude[1, 1] / 15) % 24
    assert local == pytest.approx(hours, abs=0.02)
    assert (view.latitude[0, 1] > view.latitude[2, 1]) == southward
    # By day Terra begins a line in the west, Aqua in the east.
    eastward = (view.longitude[1, 2] - view.longitude[1, 0] + 180) % 360 - 180
    assert (eastward > 0) == southward
    assert ((view.solar_zenith > 90) == night).all()


def test_the_sun_stands_where_spherical_trigonometry_says():
    view = swath(shape=(40, 1354), latitude=35.0).view([5, 35], [0, 400, 1353])
    # At the equinox the sun is over the equator, at 12 h of local time.
    hour = np.radians((14 + 5 / 60 - 12) * 15 + view.longitude)
    cosine = np.cos(np.radians(view.latitude)) * np.cos(hour)
    np.testing.assert_allclose(view.solar_zenith, np.degrees(np.arccos(cosine)), atol=0.6)
    towards_east = -np.sin(hour)
    assert (np.sign(view.solar_azimuth) == np.sign(towards_east)).all()


def test_mod03_holds_the_positions_that_the_granule_holds_every_five_kilometres(tmp_path):
    geometry = swath()
    path = tmp_path / name_of(product="03")
    write_geolocation(path, geometry)
    granule = write(tmp_path, counts_of())
    for name in ("Latitude", "Longitude", "SolarZenith", "SensorAzimuth", "Range", "Height"):
        fine, coarse = read(path, name)[0], read(granule, name)[0]
        assert fine.shape == SHAPE
        np.testing.assert_array_equal(fine[2::5, 2::5], coarse)
        assert read(path, name)[1]["_FillValue"] == read(granule, name)[1]["_FillValue"]
    assert set(np.unique(read(path, "Land/SeaMask")[0])) == {7}
    zenith, about = read(path, "SolarZenith")
    view = geometry.view(range(SHAPE[0]), range(SHAPE[1]))
    np.testing.assert_allclose(zenith * about["scale_factor"], view.solar_zenith, atol=0.0051)


def test_the_cloud_mask_has_the_bits_of_its_specification(tmp_path):
    rng = np.random.default_rng(0)
    state = rng.choice([0, 1, 2, 3, UNDETERMINED], SHAPE).astype(np.uint8)
    surface = rng.integers(0, 4, SHAPE).astype(np.uint8)
    path = tmp_path / name_of(product="35_L2")
    write_cloud_mask(path, state, geometry=swath(), surface=surface)
    stored, about = read(path, "Cloud_Mask")
    assert (stored.dtype, stored.shape) == (np.dtype(np.int8), (6, *SHAPE))
    assert about["long_name"] == "MODIS Cloud Mask and Spectral Test Results"
    bits = np.unpackbits(stored[0].view(np.uint8)[..., None], axis=-1, bitorder="little")
    known = state != UNDETERMINED
    np.testing.assert_array_equal(bits[..., 0] == 1, known)
    np.testing.assert_array_equal((bits[..., 1] + 2 * bits[..., 2])[known], state[known])
    np.testing.assert_array_equal((bits[..., 6] + 2 * bits[..., 7])[known], surface[known])
    assert (bits[..., 3][known] == 1).all()  # day
    assert not bits[~known].any()
    assert read(path, "Latitude")[0].shape == (8, 10)  # 52 pixels: ten whole cells
    # The bytes that the facts sheet names: cloudy over water, clear over land.
    assert cloud_byte(np.uint8([CLOUDY]), surface=WATER, day=True).view(np.uint8) == 0b00111001
    assert cloud_byte(np.uint8([CLEAR]), surface=LAND, day=False).view(np.uint8) == 0b11110111


def test_the_cloud_product_has_properties_where_it_is_cloudy(tmp_path):
    rng = np.random.default_rng(0)
    state = rng.choice([CLOUDY, CLEAR], SHAPE).astype(np.uint8)
    thickness, radius = rng.uniform(0, 120, SHAPE), rng.uniform(5, 40, SHAPE)
    pressure = rng.uniform(150, 1000, SHAPE)
    path = tmp_path / name_of(product="06_L2")
    write_cloud_product(
        path, state, geometry=swath(), thickness=thickness, radius=radius, pressure=pressure
    )
    mask = read(path, "Cloud_Mask_1km")[0]
    assert mask.shape == (*SHAPE, 2)
    expected = cloud_byte(state, surface=WATER, day=True)
    np.testing.assert_array_equal(mask[..., 0], expected)
    for name, values in (
        ("Cloud_Optical_Thickness", thickness), ("Cloud_Effective_Radius", radius),
        ("cloud_top_pressure_1km", pressure),
    ):  # fmt: skip
        stored, about = read(path, name)
        cloudy = state == CLOUDY
        assert (stored[~cloudy] == about["_FillValue"]).all()
        found = (stored - about["add_offset"]) * about["scale_factor"]
        np.testing.assert_allclose(found[cloudy], values[cloudy], atol=about["scale_factor"] / 1.99)
