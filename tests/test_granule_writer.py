"""The writer of synthetic granules: the layout, attributes and metadata of a real file."""

import re
from datetime import datetime

import numpy as np
import pytest
from pyhdf.HDF import HDF
from pyhdf.SD import SD
from pyhdf.V import V
from pyhdf.VS import VS
from synthetic_granule import attributes, counts_of, name_of, read, swath, write

from workflow_scripts.errors import UserError
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import BANDS, SDS_BANDS
from workflow_scripts.modis.granule_writer import tie_fields, write_granule
from workflow_scripts.modis.l1b_calibration import calibration
from workflow_scripts.modis.l1b_layout import l1b_swath

METADATA = "modis/mod021km_metadata"


@pytest.fixture(scope="module")
def granule(tmp_path_factory):
    return write(tmp_path_factory.mktemp("granule"), counts_of())


# The text of a real granule is a view of it: names have _ for every other sign, and some attributes
# are the view's own.
OF_THE_VIEW = {"coordinates", "orig_long_name", "orig_scale_factor", "valid_min", "valid_max"}
# As the file specification has them; the view shows them as converted.
TYPES = {
    "RefSB": np.uint16, "Emissive": np.uint16, "Band26": np.uint16, "Indexes": np.uint8,
    "Used": np.int8, "Latitude": np.float32, "Longitude": np.float32, "Height": np.int16,
    "SensorZenith": np.int16, "SensorAzimuth": np.int16, "Range": np.uint16,
    "SolarZenith": np.int16, "SolarAzimuth": np.int16, "gflags": np.uint8,
    "Band_250M": np.float32, "Band_500M": np.float32,
}  # fmt: skip


def shown(name):
    return re.sub(r"\W", "_", name)


def real_arrays(folder):
    """Dimensions of the real granule's arrays: {name in the view: ((dimension, size), …)}."""
    text = next((folder / METADATA).glob("*.dds.txt")).read_text()
    return {
        name: tuple((dim, int(size)) for dim, size in re.findall(r"\[(\w+) = (\d+)\]", dims))
        for name, dims in re.findall(r"(\w+)((?:\[\w+ = \d+\])+);", text)
    }


def real_attributes(folder, block):
    text = next((folder / METADATA).glob("*.das.txt")).read_text()
    lines = text.split(f"    {block} {{\n", 1)[1].split("\n    }", 1)[0].splitlines()
    found = {}
    for line in lines:
        kind, name, value = line.strip().rstrip(";").split(None, 2)
        if name not in OF_THE_VIEW:
            found[name] = value.strip('"') if kind == "String" else value.split(", ")
    return found


@pytest.mark.data
def test_a_whole_granule_has_the_arrays_and_sizes_of_a_real_one(shared_data, granule):
    sizes = l1b_swath((2030, 1354), bands=SDS_BANDS).sizes
    assert (sizes["2*nscans"], sizes["1KM_geo_dim"]) == (406, 271)
    file = SD(str(granule))
    ours = {shown(name): info for name, info in file.datasets().items()}
    file.end()
    real = {name: dims for name, dims in real_arrays(shared_data).items() if "vdata" not in name}
    of_swath = {name: dims for name, dims in real.items() if "NONEOS" not in name}
    outside = {name.removesuffix("_NONEOS") for name in real if "NONEOS" in name}
    assert set(ours) == set(of_swath) | outside
    # The dimensions of the view are those of the 1 km arrays for the 5 km arrays, too.
    fine = {"_10_nscans": "10*nscans", "Max_EV_frames": "Max_EV_frames"}
    for name, dims in of_swath.items():
        found = [dim.split(":")[0] for dim in ours[name][0]]
        if "1KM_geo_dim" not in found:
            assert found == [fine.get(dim, dim) for dim, _ in dims]
            assert [sizes[dim] for dim in found] == [size for _, size in dims]


@pytest.mark.data
def test_every_array_has_the_attributes_of_a_real_one(shared_data, granule):
    for name in real_arrays(shared_data):
        if "vdata" in name:
            continue
        own = name.removesuffix("_NONEOS")
        file = SD(str(granule))
        stored = {shown(text): text for text in file.datasets()}[own]
        file.end()
        found = {shown(key): value for key, value in read(granule, stored)[1].items()}
        if "NONEOS" in name and not own.startswith("Band_"):
            continue  # the view shows their names as long_name
        if name in ("Band_250M", "Band_500M", "Band_1KM_RefSB", "Band_1KM_Emissive"):
            continue  # here the table of the swath, which has no attributes
        real = real_attributes(shared_data, name)
        if name in ("SensorZenith", "SensorAzimuth", "Range", "SolarZenith", "SolarAzimuth"):
            assert {"scale_factor", "valid_range"} <= set(found)
        elif name == "EV_1KM_Emissive":
            real["units"] = "none"  # the view shows the units of its own quantity
        for key, value in real.items():
            if key == "long_name":  # of a field without one, the view shows its name
                assert (
                    str(found.get(key, own))
                    .removesuffix(" Scaled Integers")
                    .endswith(value.removesuffix(" Scaled Integers"))
                )
            elif isinstance(value, str):
                assert found[key] == value
            else:
                numbers = [float(number) for number in value]
                np.testing.assert_allclose(np.atleast_1d(found[key]), numbers, rtol=1e-7)


@pytest.mark.data
def test_the_file_has_the_attributes_of_a_real_one(shared_data, granule):
    found = {shown(name): value for name, value in attributes(granule).items()}
    real = real_attributes(shared_data, "HDF_GLOBAL")
    assert set(real) <= set(found)
    for name, value in real.items():
        assert isinstance(value, str) == isinstance(found[name], str)
        if not isinstance(value, str):
            assert np.size(found[name]) == len(value), name
    constant = ["Granule_Average_QA_Values", "Noise_in_Black_Body_Thermistors"]
    for name in constant:
        np.testing.assert_allclose(found[name], [float(text) for text in real[name]], rtol=1e-6)
    irradiance = [float(text) for text in real["Solar_Irradiance_on_RSB_Detectors_over_pi"]]
    np.testing.assert_allclose(
        found["Solar_Irradiance_on_RSB_Detectors_over_pi"], irradiance, rtol=4e-3
    )


def test_arrays_have_the_types_of_the_file_specification(granule):
    file = SD(str(granule))
    names = list(file.datasets())
    file.end()
    for name in names:
        kinds = [kind for end, kind in TYPES.items() if name.endswith(end)]
        if kinds and not name.startswith("Band_1KM"):
            assert read(granule, name)[0].dtype == kinds[0], name


def test_the_swath_is_grouped_as_hdf_eos_does(granule):
    file = HDF(str(granule))
    tables, groups = VS(file), V(file)
    group = groups.attach(groups.find("MODIS_SWATH_Type_L1B"))
    assert group._class == "SWATH"
    parts = {}
    for _, number in group.tagrefs():
        inner = groups.attach(number)
        parts[inner._name] = (inner._class, len(inner.tagrefs()))
        inner.detach()
    group.detach()
    # 23 data fields: 2 × 4 of bands, 2 of samples used, 7 every 5 km, 4 of band numbers, band 26.
    assert parts == {
        "Geolocation Fields": ("SWATH Vgroup", 2),
        "Data Fields": ("SWATH Vgroup", 23),
        "Swath Attributes": ("SWATH Vgroup", 0),
    }
    bands = tables.attach("Band_1KM_RefSB")
    assert [row[0] for row in bands.read(15)][4:9] == [12.0, 13.0, 13.5, 14.0, 14.5]
    bands.detach()
    tables.end()
    groups.end()
    file.close()


@pytest.mark.data
def test_the_table_of_scans_has_the_fields_of_a_real_one_and_a_row_a_scan(shared_data, granule):
    file = HDF(str(granule))
    tables = VS(file)
    table = tables.attach("Level 1B Swath Metadata")
    rows = table.read(table.inquire()[0])
    names = [info[0] for info in table.fieldinfo()]
    table.detach()
    tables.end()
    file.close()
    prefix = "vdata_Level_1B_Swath_Metadata_vdf_"
    real = real_arrays(shared_data)
    assert [shown(name) for name in names] == [
        name.removeprefix(prefix) for name in real if name.startswith(prefix)
    ]
    columns = dict(zip(names, zip(*rows, strict=True), strict=True))
    assert columns["Scan Number"] == (1, 2, 3, 4)
    assert columns["Scan Type"] == ("D   ",) * 4
    # Atomic time since 1993: ten leap seconds ahead of UTC by now.
    days = (datetime(2026, 3, 20) - datetime(1993, 1, 1)).days
    start = days * 86400 + 14 * 3600 + 5 * 60 + 10
    expected = start + 1.4771 * np.arange(4)
    np.testing.assert_allclose(columns["EV Sector Start Time"], expected, rtol=0, atol=1e-3)
    np.testing.assert_allclose(columns["Latitude of Nadir Frame"], 10.0, atol=0.3)


def test_metadata_texts_name_the_swath_the_platform_and_the_time(tmp_path):
    path = write(tmp_path, counts_of(), platform="Aqua")
    found = attributes(path)
    core = re.sub(r"\s+", " ", found["CoreMetadata.0"])
    for text in (
        'OBJECT = SHORTNAME NUM_VAL = 1 VALUE = "MYD021KM"', "VERSIONID NUM_VAL = 1 VALUE = 61",
        'ASSOCIATEDPLATFORMSHORTNAME NUM_VAL = 1 CLASS = "1" VALUE = "Aqua"',
        'RANGEBEGINNINGTIME NUM_VAL = 1 VALUE = "14:05:00.000000"',
        'RANGEENDINGTIME NUM_VAL = 1 VALUE = "14:10:00.000000"', 'VALUE = "Day"',
        f'LOCALGRANULEID NUM_VAL = 1 VALUE = "{path.name}"',
        f'VALUE = "{name_of("Aqua", "03")}"',
    ):  # fmt: skip
        assert text in core
    for name in ("CoreMetadata.0", "ArchiveMetadata.0", "StructMetadata.0"):
        lines = [line.strip() for line in found[name].splitlines() if line.strip()]
        assert lines[-1] == "END"
        opened = []
        for line in lines:  # every group and object is closed in order
            key, _, value = (part.strip() for part in line.partition("="))
            if key in ("GROUP", "OBJECT"):
                opened.append((key, value))
            elif key in ("END_GROUP", "END_OBJECT"):
                assert opened.pop() == (key.removeprefix("END_"), value)
        assert not opened
    structure = re.sub(r"\s+", " ", found["StructMetadata.0"])
    assert 'GeoDimension="2*nscans" DataDimension="10*nscans" Offset=2 Increment=5' in structure
    assert 'DimensionName="10*nscans" Size=40' in structure
    assert "DFNT_INT16 DimList=" in structure


def test_attributes_count_what_the_granule_holds(tmp_path):
    counts = faults.dead_detectors(counts_of(), {"29": (3,), "6": (0, 9)})
    counts = faults.dead_detectors(counts, {"6": (4,)}, value=65535)
    counts = faults.saturated(counts, np.s_[:4, :13], bands=("7",))  # 52 of 2080 pixels
    found = attributes(write(tmp_path, counts))
    # 490 detectors: two bands of 40, five of 20, then ten a band; band 6 begins at 140.
    dead = np.flatnonzero(found["Dead Detector List"])
    band_29 = 2 * 40 + 5 * 20 + (5 + 4 + 5 + 6 + 1 + 2) * 10
    assert dead.tolist() == [140, 141, 148, 149, 158, 159, band_29 + 3]
    order = [*"1234567", "8", "9", "10", "11", "12", "13lo", "13hi", "14lo", "14hi"]
    valid = dict(zip(order, found["%Valid EV Observations"][:16], strict=True))
    assert valid["1"] == 100.0
    assert valid["6"] == pytest.approx(70.0)
    assert valid["7"] == pytest.approx(97.5)
    assert found["%Saturated EV Observations"][6] == pytest.approx(2.5)
    shares = np.array(found["% Dead Detector EV Data"])
    assert shares[band_29 + 3] == 100.0
    assert shares[148] == 0.0  # its lines hold fill, for which no reason is given
    quality = np.array(found["Detector Quality Flag"])
    assert set(np.flatnonzero(quality & 2)) == set(dead)
    assert found["Number of Day mode scans"] == 4


def test_samples_and_uncertainty_follow_the_counts(tmp_path):
    counts = faults.reserve(counts_of(), np.s_[0, 0], value=65535)
    counts = faults.saturated(counts, np.s_[0, 1], bands=BANDS)
    path = write(tmp_path, counts)
    for sds, most in (("EV_250_Aggr1km_RefSB", 28), ("EV_500_Aggr1km_RefSB", 6)):
        used = read(path, f"{sds}_Samples_Used")[0]
        assert used[:, 0, :3].tolist() == [[-1, 0, most]] * len(SDS_BANDS[sds])
    for sds in SDS_BANDS:
        assert read(path, f"{sds}_Uncert_Indexes")[0][:, 0, :3].tolist() == [
            [255, 15, 0]
        ] * len(SDS_BANDS[sds])  # fmt: skip
    np.testing.assert_array_equal(read(path, "EV_Band26")[0], counts["26"])


def test_sds_and_bands_can_be_left_out(tmp_path):
    path = write(tmp_path, counts_of(), omit=("EV_250_Aggr1km_RefSB", "6"))
    file = SD(str(path))
    assert "EV_250_Aggr1km_RefSB" not in file.datasets()
    file.end()
    values, about = read(path, "EV_500_Aggr1km_RefSB")
    assert about["band_names"] == "3,4,5,7"
    np.testing.assert_array_equal(values[3], counts_of()["7"])
    scales = [np.float32(calibration(name, "radiance")[0]) for name in ("3", "4", "5", "7")]
    assert about["radiance_scales"] == [float(scale) for scale in scales]


def test_a_file_that_is_no_granule_by_name_is_not_written(tmp_path):
    with pytest.raises(UserError, match="not the name of a MODIS granule"):
        write_granule(tmp_path / "granule.hdf", counts_of(), **tie_fields(swath()))
    ties = tie_fields(swath(shape=(20, 52)))
    with pytest.raises(UserError, match="5 km arrays"):
        write_granule(tmp_path / name_of(), counts_of(), **ties)
    assert not list(tmp_path.iterdir())
