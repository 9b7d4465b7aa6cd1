"""Granules with their companions: positions of MOD03, masks of MOD35 and MOD06."""

import numpy as np
import pytest
from synthetic_granule import SHAPE, TIME, counts_of, name_of, swath, write

from workflow_scripts.modis import cloud_writer
from workflow_scripts.modis.cloud_writer import UNDETERMINED, write_cloud_mask, write_cloud_product
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.companions import read_companions
from workflow_scripts.modis.geolocation import whole_positions
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import tie_fields, write_granule
from workflow_scripts.modis.products import parse_name

UNKNOWN = 255


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A granule (day, 10° N) and its MOD03, with a different code of the surface everywhere."""
    place = tmp_path_factory.mktemp("granule")
    write(place, counts_of())
    rng = np.random.default_rng(1)
    ground = rng.choice([0, 1, 2, 3, 4, 5, 6, 7, 221], SHAPE).astype(np.uint8)
    write_geolocation(place / name_of(product="03"), swath(), land_sea=ground)
    np.save(place / "ground.npy", ground)
    return place


def states(seed=0):
    rng = np.random.default_rng(seed)
    return (
        rng.choice([0, 1, 2, 3, UNDETERMINED], SHAPE).astype(np.uint8),
        rng.integers(0, 4, SHAPE).astype(np.uint8),
    )


def mask_35(folder, seed=0):
    state, surface = states(seed)
    path = folder / name_of(product="35_L2")
    write_cloud_mask(path, state, geometry=swath(), surface=surface)
    return path


def mask_06(folder, seed=0):
    state, surface = states(seed)
    path = folder / name_of(product="06_L2")
    filled = np.ones(SHAPE)
    write_cloud_product(
        path, state, geometry=swath(), surface=surface, thickness=filled, radius=filled,
        pressure=filled,
    )  # fmt: skip
    return path


def expected_codes(seed):
    state, surface = states(seed)
    known = state != UNDETERMINED
    return np.where(known, state == 0, UNKNOWN), np.where(known, surface == 0, UNKNOWN)


def test_a_dataset_with_all_companions_has_dimensions_names_and_units(folder, tmp_path):
    companions = [folder / name_of(product="03"), mask_35(tmp_path), mask_06(tmp_path)]
    for quantity, units in (("radiance", "W m-2 sr-1 µm-1"), ("brightness_temperature", "K")):
        data = read_granule(
            folder / name_of(), ["31", "20"], quantity=quantity, companions=companions
        )
        assert data[quantity].dims == data["reason"].dims == ("band", "y", "x")
        assert dict(data.sizes) == {"detector": 10, "band": 2, "y": SHAPE[0], "x": SHAPE[1]}
        assert (data[quantity].dtype, data["reason"].dtype) == (np.float32, np.uint8)
        assert data[quantity].attrs["units"] == units
    for name in ("latitude", "longitude", "solar_zenith", "cloudy", "water"):
        assert data[name].dims == ("y", "x")
    assert {name: data[name].attrs["units"] for name in ("latitude", "longitude")} == {
        "latitude": "degrees_north", "longitude": "degrees_east",
    }  # fmt: skip
    assert data["solar_zenith"].attrs["units"] == "degrees"
    assert data["cloudy"].attrs["flag_values"] == [0, 1, 255]
    assert data["band"].values.tolist() == ["31", "20"]
    assert data["central_wavelength"].values.tolist() == [11.03, 3.75]
    assert data["central_wavelength"].attrs["units"] == "µm"
    assert data["time"].values == np.datetime64(TIME.replace(tzinfo=None))
    attributes = dict(data.attrs)
    assert attributes == {
        "platform": "Terra", "collection": "061", "granule": name_of(),
        "quantity": "brightness_temperature", "companions": "MOD03, MOD35_L2",
    }  # fmt: skip


def test_positions_and_the_sun_are_those_of_mod03_where_it_is(folder):
    view = swath().view(range(SHAPE[0]), range(SHAPE[1]))
    exact = read_granule(folder / name_of(), ["31"], companions=[folder / name_of(product="03")])
    np.testing.assert_array_equal(exact["latitude"], view.latitude.astype(np.float32))
    np.testing.assert_array_equal(exact["longitude"], view.longitude.astype(np.float32))
    np.testing.assert_allclose(exact["solar_zenith"], view.solar_zenith, atol=0.00501)
    about = read_granule(folder / name_of(), ["31"])
    ties = tie_fields(swath())
    latitude, longitude = whole_positions(
        ties["latitude"].astype(np.float32), ties["longitude"].astype(np.float32), SHAPE
    )
    np.testing.assert_array_equal(about["latitude"], latitude)
    np.testing.assert_array_equal(about["longitude"], longitude)
    assert (about["latitude"].values != exact["latitude"].values).any()
    np.testing.assert_allclose(about["latitude"], exact["latitude"], atol=1e-3)
    np.testing.assert_allclose(about["solar_zenith"], view.solar_zenith, atol=0.02)


def test_an_unknown_angle_of_the_sun_spoils_only_the_pixels_around_it(tmp_path):
    ties, path = tie_fields(swath()), tmp_path / name_of()
    ties["angles"]["SolarZenith"][1, 4] = -32767
    write_granule(path, counts_of(), **ties)
    data = read_granule(path, ["31"])
    rows, columns = np.indices(SHAPE)
    around = (rows < 10) & (rows != 2) & (columns > 17) & (columns < 27)
    np.testing.assert_array_equal(np.isnan(data["solar_zenith"]), around)
    assert np.isfinite(data["latitude"]).all()


@pytest.mark.parametrize("make", [mask_35, mask_06])
def test_masks_are_decoded_and_unknown_where_undetermined(folder, tmp_path, make):
    mask = make(tmp_path)
    data = read_granule(folder / name_of(), ["31"], companions=[mask])
    cloudy, water = expected_codes(0)
    np.testing.assert_array_equal(data["cloudy"], cloudy)
    np.testing.assert_array_equal(data["water"], water)
    assert data.attrs["companions"] == parse_name(mask).short_name


@pytest.mark.parametrize("make", [mask_35, mask_06])
def test_every_byte_of_a_mask_means_what_its_bits_say(tmp_path, monkeypatch, make):
    every = np.resize(np.arange(256, dtype=np.uint8), SHAPE).view(np.int8)
    monkeypatch.setattr(cloud_writer, "cloud_byte", lambda *_, **__: every)
    found = read_companions([make(tmp_path)], parse_name(name_of()), shape=SHAPE)
    for byte, cloudy, water in zip(
        every.view(np.uint8).ravel().tolist(), found.cloudy.ravel(), found.water.ravel(),
        strict=True,
    ):  # fmt: skip
        bits = f"{byte:08b}"[::-1]
        if bits[0] == "0":
            assert (cloudy, water) == (UNKNOWN, UNKNOWN)
        else:
            assert cloudy == (bits[1:3] == "00")
            assert water == (bits[6:8] == "00")


def test_mod35_goes_before_mod06_in_any_order(folder, tmp_path):
    first, second = mask_35(tmp_path, seed=1), mask_06(tmp_path, seed=2)
    for companions in ([first, second], [second, first]):
        data = read_granule(folder / name_of(), ["31"], companions=companions)
        np.testing.assert_array_equal(data["cloudy"], expected_codes(1)[0])
        assert data.attrs["companions"] == "MOD35_L2"
    assert (expected_codes(1)[0] != expected_codes(2)[0]).any()


def test_the_surface_of_mod03_counts_only_without_a_mask(folder, tmp_path):
    geolocation = folder / name_of(product="03")
    ground = np.load(folder / "ground.npy")
    data = read_granule(folder / name_of(), ["31"], companions=[geolocation])
    expected = np.select([ground == 221, np.isin(ground, [0, 3, 5, 6, 7])], [UNKNOWN, 1], 0)
    np.testing.assert_array_equal(data["water"], expected)
    assert "cloudy" not in data
    for companions in ([geolocation, mask_06(tmp_path)], [mask_06(tmp_path), geolocation]):
        data = read_granule(folder / name_of(), ["31"], companions=companions)
        np.testing.assert_array_equal(data["water"], expected_codes(0)[1])
    bare = read_granule(folder / name_of(), ["31"])
    assert {"cloudy", "water"}.isdisjoint(bare)


def test_unknown_positions_of_mod03_are_unknown(folder, tmp_path, monkeypatch):
    path = tmp_path / name_of(product="03")
    whole = swath().view(range(SHAPE[0]), range(SHAPE[1]))
    whole.latitude[3, 5], whole.longitude[3, 5] = -999.0, -999.0
    whole.solar_zenith[3, 5] = np.nan
    monkeypatch.setattr(type(swath()), "view", lambda *_: whole)
    write_geolocation(path, swath())
    monkeypatch.undo()
    data = read_granule(folder / name_of(), ["31"], companions=[path])
    for name in ("latitude", "longitude", "solar_zenith"):
        assert np.argwhere(np.isnan(data[name].values)).tolist() == [[3, 5]]
