"""MODIS L1B: reader and writer against closed forms in float64 and each other."""

import math
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BANDS, BRIGHTNESS, RESERVED_COUNTS, SDS_BANDS
from workflow_scripts.modis.calibration import brightness_temperature, planck_radiance
from workflow_scripts.modis.geolocation import pixel_positions, tie_shape
from workflow_scripts.modis.granule_writer import calibration, encode, write_granule
from workflow_scripts.modis.hdf4 import open_hdf4
from workflow_scripts.modis.l1b import parse_name, read_counts, read_granule

NAME = "MOD021KM.A2026001.0005.061.2026001000000.hdf"
SHAPE = (20, 32)
RADIANCE_31 = 9.5  # W m⁻² sr⁻¹ µm⁻¹: about 300 K


def counts_of(*bands, seed=0):
    rng = np.random.default_rng(seed)
    return {name: rng.integers(3000, 32768, SHAPE).astype(np.uint16) for name in bands}


def ties(shape=SHAPE, *, lat0=10.0, lon0=20.0):
    rows, columns = np.indices(tie_shape(*shape)) * 5 + 2
    return {"latitude": lat0 - 0.009 * rows, "longitude": lon0 + 0.009 * columns}


def write(folder, counts, *, name=NAME, **options):
    path = Path(folder) / name
    write_granule(path, counts, **{**ties(), **options})
    return path


# The constants of the facts sheet, written once more: the oracle shares nothing with the code.
@pytest.mark.parametrize(
    ("platform", "band", "cwn", "tcs", "tci"),
    [
        ("Terra", "20", 2641.775, 0.9993411, 0.4770532),
        ("Terra", "31", 908.0884, 0.9995608, 0.1302699),
        ("Terra", "36", 704.5367, 0.9999281, 0.01583042),
        ("Aqua", "20", 2647.409, 0.9993363, 0.4818401),
        ("Aqua", "29", 1169.626, 0.9995270, 0.1674982),
        ("Aqua", "36", 703.5007, 0.9999233, 0.01683156),
    ],
)
def test_brightness_temperature_is_the_closed_form(platform, band, cwn, tcs, tci):
    h, c, k = 6.6260755e-34, 2.9979246e8, 1.380658e-23
    wave = 1 / (100 * cwn)
    for radiance in (0.01, 0.5, 9.5):
        expected = (2 * h * c * c) / (1e6 * radiance * wave**5)
        expected = (h * c / k) / (wave * math.log(expected + 1))
        expected = (expected - tci) / tcs
        found = float(brightness_temperature(radiance, band=band, platform=platform))
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("platform", "band"), sorted(BRIGHTNESS))
def test_planck_radiance_inverts_brightness_temperature(platform, band):
    temperatures = np.linspace(180.0, 340.0, 33)
    radiance = planck_radiance(temperatures, band=band, platform=platform)
    assert (np.diff(radiance) > 0).all()
    back = brightness_temperature(radiance, band=band, platform=platform)
    np.testing.assert_allclose(back, temperatures, rtol=1e-12)


def test_the_radiance_of_a_warm_sea_in_band_31_is_near_the_black_body_of_11_03_um():
    wave, kelvin = 11.03e-6, 300.0
    black = 1.191043e-16 / (wave**5 * math.expm1(1.438777e-2 / (wave * kelvin))) * 1e-6
    found = float(planck_radiance(kelvin, band="31", platform="Terra"))
    assert found == pytest.approx(black, rel=0.005)


def test_there_is_no_temperature_without_positive_radiance_or_for_a_reflective_band():
    cold = brightness_temperature([0.0, -1.0], band="31", platform="Terra")
    assert np.isnan(cold).all()
    with pytest.raises(UserError, match="emissive"):
        brightness_temperature(1.0, band="6", platform="Terra")


def test_there_are_38_bands_of_36_numbers():
    assert len(BANDS) == 38
    numbers = {name.rstrip("hilo") for name in BANDS}
    assert numbers == {str(number) for number in range(1, 37)}
    assert sum(band.emissive for band in BANDS.values()) == 16
    assert len(BRIGHTNESS) == 32


def test_radiance_and_reflectance_are_count_less_offset_times_scale(tmp_path):
    bands = ["31", "6", "13lo", "1", "20"]
    stored = counts_of(*bands)
    path = write(tmp_path, stored)
    # From the metadata of the real granule MOD021KM.A2010277.1710, in the file as float32.
    scales = [0.0008400219958, 0.002630070550, 0.001109640929, 0.02595116012, 6.262398529e-05]
    offsets = [1577.339722, 0.0, 316.9721985, 0.0, 2730.583252]
    dataset = read_granule(path, bands)
    assert list(dataset.band.values) == bands
    for row, band in enumerate(bands):
        scale, offset = (np.float64(np.float32(value)) for value in (scales[row], offsets[row]))
        expected = (stored[band].astype(np.float64) - offset) * scale
        np.testing.assert_allclose(dataset["radiance"].values[row], expected, rtol=1e-7)
    reflectance = read_granule(path, ["6"], quantity="reflectance")["reflectance"].values[0]
    expected = stored["6"].astype(np.float64) * np.float64(np.float32(3.441045919e-05))
    np.testing.assert_allclose(reflectance, expected, rtol=1e-7)


@pytest.mark.parametrize(("prefix", "platform"), [("MOD", "Terra"), ("MYD", "Aqua")])
def test_temperatures_use_the_constants_of_the_platform(tmp_path, prefix, platform):
    warm = np.full(SHAPE, planck_radiance(265.0, band="28", platform=platform))
    path = write(tmp_path, {"28": encode(warm, name="28")}, name=NAME.replace("MOD", prefix))
    dataset = read_granule(path, ["28"], quantity="brightness_temperature")
    assert dataset.attrs["platform"] == platform
    # Half a count of band 28 is about 1 mK, far below the difference between the platforms.
    np.testing.assert_allclose(dataset["brightness_temperature"], 265.0, atol=2e-3)


def test_a_dataset_names_its_dimensions_bands_units_time_and_place(tmp_path):
    dataset = read_granule(write(tmp_path, counts_of("6", "31")), ["31", "6"])
    assert dataset["radiance"].dims == ("band", "y", "x")
    assert dataset["radiance"].shape == (2, *SHAPE)
    assert dataset["radiance"].attrs["units"] == "W m-2 sr-1 µm-1"
    assert dataset["wavelength"].values.tolist() == [11.03, 1.64]
    assert dataset["time"].values == np.datetime64("2026-01-01T00:05")
    assert dataset["y_5km"].values.tolist() == [2, 7, 12, 17]
    assert dataset["x_5km"].values.tolist() == [2, 7, 12, 17, 22, 27]
    assert dataset["latitude"].shape == (4, 6)
    np.testing.assert_allclose(dataset["latitude"], ties()["latitude"], rtol=1e-6)


def test_what_was_written_is_read_in_any_band_and_order(tmp_path):
    stored = counts_of(*BANDS)
    path = write(tmp_path, stored)
    order = [*reversed(BANDS)]
    dataset = read_granule(path, order, quantity="counts")
    for row, band in enumerate(order):
        np.testing.assert_array_equal(dataset["counts"].values[row], stored[band])
    assert not dataset["reason"].values.any()


def test_reserved_counts_have_no_value_and_keep_their_reason(tmp_path):
    values = counts_of("6")["6"]
    reserved = [*range(65500, 65536), 32768, 40000, 65499]
    values.ravel()[: len(reserved)] = reserved
    values.ravel()[len(reserved)] = 32767  # the largest valid count
    dataset = read_granule(write(tmp_path, {"6": values}), ["6"])
    meanings = dataset["reason"].attrs["flag_meanings"].split(", ")
    found = [meanings[code] for code in dataset["reason"].values[0].ravel()]
    assert found[: len(reserved)] == [RESERVED_COUNTS.get(c, "out of range") for c in reserved]
    assert set(found[len(reserved) :]) == {"valid"}
    named = dict(zip(reserved, found, strict=False))
    assert [named[count] for count in (65535, 65533, 65531, 65528, 65526, 65501)] == [
        "fill", "saturated", "dead detector", "aggregation", "band 1 copy", "reserved",
    ]  # fmt: skip
    missing = np.isnan(dataset["radiance"].values[0].ravel())
    assert missing[: len(reserved)].all()
    assert not missing[len(reserved) :].any()


def test_an_uncertainty_index_of_15_masks_and_14_does_not(tmp_path):
    indexes = np.zeros(SHAPE, np.uint8)
    indexes[0, :3] = 14, 15, 255
    stored = counts_of("31")
    path = write(tmp_path, stored, uncertainty={"31": indexes})
    dataset = read_granule(path, ["31"])
    missing = np.isnan(dataset["radiance"].values[0])
    assert missing[0, :3].tolist() == [False, True, True]
    assert missing.sum() == 2
    meanings = dataset["reason"].attrs["flag_meanings"].split(", ")
    assert meanings[dataset["reason"].values[0, 0, 1]] == "uncertain"
    np.testing.assert_array_equal(read_counts(path, ["31"]).counts[0], stored["31"])


def test_a_radiance_below_zero_has_no_temperature(tmp_path):
    values = np.full(SHAPE, 20000, np.uint16)
    values[3, 4] = 100  # below the offset of band 31, 1577.3
    path = write(tmp_path, {"31": values})
    assert read_granule(path, ["31"])["radiance"].values[0, 3, 4] < 0
    warm = read_granule(path, ["31"], quantity="brightness_temperature")
    reason = warm["reason"].values[0]
    meanings = warm["reason"].attrs["flag_meanings"].split(", ")
    assert meanings[reason[3, 4]] == "no temperature"
    np.testing.assert_array_equal(np.isnan(warm["brightness_temperature"].values[0]), reason != 0)
    assert (reason != 0).sum() == 1


def test_encode_rounds_saturates_and_fills():
    scale, offset = calibration("31", "radiance")
    values = [(5000 - offset) * scale, 1e9, np.nan, -1e9]
    assert encode(values, name="31").tolist() == [5000, 65533, 65535, 0]
    # Rounding is half a count at most.
    exact = RADIANCE_31 / scale + offset
    assert abs(int(encode(RADIANCE_31, name="31")) - exact) <= 0.5


def test_a_granule_has_the_names_and_attributes_of_a_real_one(tmp_path):
    path = write(tmp_path, counts_of("6"))
    with open_hdf4(path) as file:
        for sds, bands in SDS_BANDS.items():
            assert file.shapes[sds] == (len(bands), *SHAPE)
            assert file.shapes[f"{sds}_Uncert_Indexes"] == (len(bands), *SHAPE)
            attributes = file.attributes(sds)
            assert attributes["band_names"].split(",") == list(bands)
            assert attributes["valid_range"] == [0, 32767]
            assert attributes["_FillValue"] == 65535
            assert len(attributes["radiance_scales"]) == len(bands)
            assert ("reflectance_scales" in attributes) == (sds != "EV_1KM_Emissive")
        assert file.shapes["Latitude"] == file.shapes["Longitude"] == (4, 6)
        assert (file.read("EV_1KM_Emissive") == 65535).all()  # absent bands
        assert file.attributes()["Number of Scans"] == 2


@pytest.mark.data
def test_the_layout_agrees_with_the_metadata_of_a_real_granule(shared_data, tmp_path):
    das = next((shared_data / "modis/mod021km_metadata").glob("*.das.txt")).read_text()
    path = write(tmp_path, counts_of("6"))
    with open_hdf4(path) as file:
        for sds in SDS_BANDS:
            block = das.split(f"    {sds} {{", 1)[1].split("    }", 1)[0]
            real = dict(line.split(None, 2)[1:] for line in block.strip().splitlines())
            attributes = file.attributes(sds)
            assert real["band_names"].strip('";') == attributes["band_names"]
            for name in ("radiance_scales", "radiance_offsets", "reflectance_scales"):
                if name in real:
                    numbers = [float(text) for text in real[name].strip(";").split(",")]
                    np.testing.assert_allclose(attributes[name], numbers, rtol=1e-7)


def test_a_whole_granule_has_406_by_271_tie_points():
    assert tie_shape(2030, 1354) == (406, 271)


def test_positions_follow_the_tie_points_also_across_the_date_line():
    # On the equator meridians and parallels are straight enough for a linear oracle.
    given = ties((20, 30), lat0=0.05, lon0=179.9)
    given["longitude"] = (given["longitude"] + 180) % 360 - 180
    rows, columns = np.array([0, 2, 9, 13, 19]), np.array([0, 2, 11, 20, 29])
    latitude, longitude = pixel_positions(**given, rows=rows, columns=columns)
    np.testing.assert_allclose(latitude, 0.05 - 0.009 * rows, atol=1e-6)
    expected = (179.9 + 0.009 * columns + 180) % 360 - 180
    np.testing.assert_allclose(longitude, expected, atol=1e-6)
    assert longitude.min() < -179
    assert longitude.max() > 179


def test_unknown_tie_points_leave_positions_unknown(tmp_path):
    given = ties()
    given["latitude"][0, 0] = np.nan
    stored = read_counts(write(tmp_path, counts_of("6"), **given), ["6"])
    latitude, _ = pixel_positions(stored.latitude, stored.longitude, rows=[3, 3], columns=[3, 20])
    assert np.isnan(latitude).tolist() == [True, False]


def test_the_file_name_tells_platform_time_and_collection():
    name = parse_name(Path("somewhere/MYD021KM.A2024366.2355.061.2025001123456.hdf"))
    assert (name.platform, name.collection) == ("Aqua", "061")
    assert name.time == datetime(2024, 12, 31, 23, 55, tzinfo=UTC)
    assert name.iso_time == "2024-12-31T23:55:00Z"


@pytest.mark.parametrize(
    "name",
    ["MOD03.A2026001.0005.061.2026001000000.hdf", NAME.replace("001.0", "999.0"), "granule.hdf"],
)
def test_other_products_and_impossible_times_are_refused(name):
    with pytest.raises(UserError, match=r"expected MOD021KM or MYD021KM"):
        parse_name(Path(name))


@pytest.mark.parametrize(
    ("bands", "quantity", "message"),
    [
        (["37"], "radiance", "no MODIS band '37'"),
        (["13"], "radiance", "13lo"),
        ([], "radiance", "at least one"),
        (["6", "31"], "reflectance", "band 31 has no reflectance"),
        (["6", "31"], "brightness_temperature", "band 6 has no brightness_temperature"),
        (["6"], "albedo", "no quantity 'albedo'"),
    ],
)
def test_bands_and_quantities_that_do_not_go_together_are_refused(bands, quantity, message):
    with pytest.raises(UserError, match=message):
        read_granule(Path(NAME), bands, quantity=quantity)


def test_a_granule_of_wrong_shapes_is_refused_by_writer_and_reader(tmp_path):
    with pytest.raises(UserError, match="multiple of 10"):
        write(tmp_path, {"6": np.zeros((15, 32), np.uint16)})
    with pytest.raises(UserError, match="one shape"):
        write(tmp_path, {**counts_of("6"), "7": np.zeros((10, 32), np.uint16)})
    with pytest.raises(UserError, match="5 km"):
        write(tmp_path, counts_of("6"), latitude=np.zeros((2, 2)))
    assert not (tmp_path / NAME).exists()
