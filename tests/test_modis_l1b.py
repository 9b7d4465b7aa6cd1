"""MODIS L1B: reader and writer against closed forms in float64 and each other."""

from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import pytest
from pyhdf.SD import SD, SDC

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import (
    BANDS,
    REASONS,
    RESERVED_COUNTS,
    SDS_BANDS,
    chip_reasons,
)
from workflow_scripts.modis.calibration import planck_radiance
from workflow_scripts.modis.geolocation import pixel_positions, tie_shape
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import write_granule
from workflow_scripts.modis.hdf4 import open_hdf4
from workflow_scripts.modis.l1b import read_counts
from workflow_scripts.modis.l1b_calibration import calibration, encode
from workflow_scripts.modis.products import parse_name

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
    assert dataset["central_wavelength"].values.tolist() == [11.03, 1.64]
    assert dataset["time"].values == np.datetime64("2026-01-01T00:05")
    assert dataset["latitude"].dims == dataset["solar_zenith"].dims == ("y", "x")
    np.testing.assert_allclose(dataset["latitude"][2::5, 2:30:5], ties()["latitude"], rtol=1e-6)
    assert dataset["dead_detector"].shape == (2, 10)
    assert not dataset["dead_detector"].any()
    dataset.to_netcdf(tmp_path / "granule.nc", engine="h5netcdf")  # nothing netCDF cannot hold
    assert "cloudy" not in dataset


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


def limit_counts(path, sds, low, high):
    file = SD(str(path), SDC.WRITE)
    stored = file.select(sds)
    stored.attr("valid_range").set(SDC.UINT16, [low, high])
    stored.endaccess()
    file.end()


@pytest.mark.parametrize(("low", "high"), [(0, 32767), (500, 30000), (1, 32767), (0, 9)])
def test_marked_counts_tell_alone_what_the_granule_tells_with_all_its_arrays(tmp_path, low, high):
    rng = np.random.default_rng(low + high)
    stored = counts_of("6", "31", seed=high)
    for plane in stored.values():
        plane[rng.random(SHAPE) < 0.3] = rng.integers(0, 32768)
        hit = rng.random(SHAPE) < 0.3
        plane[hit] = rng.choice(
            [*range(65503, 65536), 65500, 40000, 32768, 0, low, high], hit.sum()
        )
    indexes = {name: rng.integers(0, 17, SHAPE).astype(np.uint8) for name in stored}
    indexes["6"][rng.random(SHAPE) < 0.1] = 255
    path = write(tmp_path, stored, uncertainty=indexes)
    for band in stored:
        limit_counts(path, BANDS[band].sds, low, high)
    granule = read_counts(path, ["6", "31"])
    reason = granule.reason
    for row, band in enumerate(stored):  # the reasons themselves, one pixel after the other
        triples = zip(
            stored[band].ravel().tolist(), indexes[band].ravel().tolist(), reason[row].ravel(),
            strict=True,
        )  # fmt: skip
        for count, index, found in triples:
            expected = RESERVED_COUNTS.get(count)
            if expected is None and not low <= count <= high:
                expected = "out of range"
            if expected is None:
                expected = "uncertain" if index >= 15 else "valid"
            assert REASONS[found] == expected
    before = granule.counts.copy()
    marked = granule.mark()
    assert marked is granule.counts
    np.testing.assert_array_equal(chip_reasons()[marked], reason)
    # Values and what MODIS reserved stay; the rest is one of two codes.
    kept = (reason == 0) | (before >= 65500)
    np.testing.assert_array_equal(marked[kept], before[kept])
    assert set(marked[~kept].tolist()) == {65501, 65502}
    np.testing.assert_array_equal(marked > 32767, reason != 0)


def test_a_narrower_valid_range_takes_values_away(tmp_path):
    path = write(tmp_path, {"31": np.full(SHAPE, 5000, np.uint16)})
    limit_counts(path, BANDS["31"].sds, 5001, 32767)
    data = read_granule(path, ["31"])
    assert np.isnan(data["radiance"]).all()
    assert (data["reason"] == REASONS.index("out of range")).all()


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
    with pytest.raises(UserError, match=r"expected MOD"):
        read_counts(Path(name), ["6"])


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
