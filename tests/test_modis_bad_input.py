"""Files that are no granule or companion, or not the right one: which, what is seen, expected."""

import re
import shutil
from datetime import UTC, datetime

import numpy as np
import pytest
from pyhdf.SD import SD, SDC
from synthetic_granule import SHAPE, TIME, counts_of, name_of, write

from workflow_scripts.errors import UserError
from workflow_scripts.modis.cloud_writer import write_cloud_mask, write_cloud_product
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.faults import truncate
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import granule_file_name
from workflow_scripts.modis.swath_geometry import SwathGeometry

PRODUCTS = ["03", "35_L2", "06_L2"]


def companion(folder, product, *, platform="Terra", time=TIME, shape=SHAPE, production=None):
    path = folder / granule_file_name(
        platform, time, production=production or "2026079140500", product=product
    )
    geometry = SwathGeometry(platform=platform, time=time, latitude=10.0, shape=shape)
    filled = np.zeros(shape, np.uint8)
    if product == "03":
        write_geolocation(path, geometry)
    elif product == "35_L2":
        write_cloud_mask(path, filled, geometry=geometry)
    else:
        write_cloud_product(
            path, filled, geometry=geometry, thickness=filled, radius=filled, pressure=filled
        )
    return path


@pytest.fixture(scope="module")
def sound(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sound")
    write(folder, counts_of())
    for product in PRODUCTS:
        companion(folder, product)
    return folder


@pytest.fixture
def folder(sound, tmp_path):
    for path in sound.iterdir():
        shutil.copy(path, tmp_path)
    return tmp_path


def refused(path, *, companions=(), bands=("31", "6"), file=None):
    """The message, which must begin with the file (by default the last companion)."""
    with pytest.raises(UserError) as caught:
        read_granule(path, bands, companions=companions)
    text = str(caught.value)
    assert text.startswith(f"{file or [path, *companions][-1]}: "), text
    return text


def rename(path, old, new):
    """Give an SDS or an attribute another name of the same length."""
    data = path.read_bytes()
    assert old.encode() in data
    path.write_bytes(data.replace(old.encode(), new.encode()))


def test_a_sound_granule_with_all_companions_is_read(sound):
    companions = [sound / name_of(product=product) for product in PRODUCTS]
    data = read_granule(sound / name_of(), ["31", "6"], companions=companions)
    assert data.attrs["companions"] == "MOD03, MOD35_L2"


@pytest.mark.parametrize("product", ["021KM", *PRODUCTS])
@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda path: path.write_text("<html>Service unavailable</html>"),
         r"not an HDF4 file \(it starts with b'<htm'.*error page"),
        (lambda path: path.write_bytes(b""), "not an HDF4 file .it is empty"),
        (lambda path: truncate(path, 0.4), r"(truncated or )?damaged.*get it again"),
        (lambda path: path.unlink(), "no such file"),
    ],
    ids=["page", "empty", "truncated", "missing"],
)  # fmt: skip
def test_what_is_no_whole_hdf4_file_says_so(folder, product, spoil, message):
    path = folder / name_of(product=product)
    spoil(path)
    companions = [] if product == "021KM" else [path]
    assert re.search(message, refused(folder / name_of(), companions=companions))


@pytest.mark.parametrize(("real", "claimed"), [("03", "021KM"), ("021KM", "03"), ("03", "35_L2")])
def test_a_renamed_product_is_told_by_its_metadata(folder, real, claimed):
    path = folder / name_of(product=claimed)
    (folder / name_of(product=real)).replace(path)
    granule = folder / name_of()
    if real == "021KM":
        write(folder, counts_of())
    text = refused(granule, companions=[] if claimed == "021KM" else [path])
    assert f"its metadata say MOD{real}, its name MOD{claimed}" in text


@pytest.mark.parametrize("product", ["021KM", *PRODUCTS])
def test_a_file_renamed_to_another_time_or_platform_is_told_by_its_metadata(folder, product):
    later = datetime(2026, 3, 20, 14, 10, tzinfo=UTC)
    path = folder / granule_file_name(
        "Terra", later, production="2026079140500", product=product
    )  # fmt: skip
    (folder / name_of(product=product)).replace(path)
    if product == "021KM":
        text = refused(path)
    else:
        (folder / "later").mkdir()
        other = folder / "later" / path.name.replace(product, "021KM")
        (folder / name_of()).replace(other)
        rename(other, "14:05:00", "14:10:00")
        text = refused(other, companions=[path])
    assert "its metadata say it begins at 2026-03-20 14:05, its name 2026-03-20 14:10" in text
    if product == "021KM":
        aqua = folder / name_of("Aqua")
        path.replace(aqua)
        assert "its metadata say MOD021KM, its name MYD021KM" in refused(aqua)


@pytest.mark.parametrize("product", PRODUCTS)
def test_a_companion_of_another_time_or_platform_is_refused(folder, product):
    granule = folder / name_of()
    later = companion(folder, product, time=datetime(2026, 3, 20, 14, 10, tzinfo=UTC))
    text = refused(granule, companions=[later])
    assert (
        "of Terra at 2026-03-20T14:10:00Z, but the granule is of Terra at 2026-03-20T14:05" in text
    )
    other = companion(folder, product, platform="Aqua")
    text = refused(granule, companions=[other])
    assert "of Aqua at 2026-03-20T14:05:00Z, but the granule is of Terra" in text


@pytest.mark.parametrize("product", PRODUCTS)
@pytest.mark.parametrize("shape", [(30, 52), (40, 47)])
def test_a_companion_of_another_shape_is_refused(folder, product, shape):
    path = companion(folder, product, shape=shape)
    text = refused(folder / name_of(), companions=[path])
    seen, expected = (", ".join(map(str, sides)) for sides in (shape, SHAPE))
    assert re.search(rf"is \(.*{seen}\).*\({expected}\)", text)


def test_two_companions_of_one_product_are_refused(folder):
    first = folder / name_of(product="35_L2")
    second = companion(folder, "35_L2", production="2026079150000")
    with pytest.raises(UserError, match="two companions of one product; give one") as caught:
        read_granule(folder / name_of(), ["31"], companions=[first, second])
    assert str(first) in str(caught.value)
    assert str(second) in str(caught.value)


def test_what_is_no_companion_is_refused(folder):
    text = refused(folder / name_of(), companions=[folder / name_of()])
    assert "no companion; expected MOD03, MOD35_L2 or MOD06_L2" in text
    stray = folder / "mask.hdf"
    assert "not the name of a MODIS granule; expected MOD" in refused(
        folder / name_of(), companions=[stray]
    )


@pytest.mark.parametrize(
    ("product", "name"),
    [
        ("021KM", "EV_1KM_Emissive_Uncert_Indexes"), ("021KM", "SolarZenith"),
        ("03", "Latitude"), ("03", "SolarZenith"), ("03", "Land/SeaMask"),
        ("35_L2", "Cloud_Mask"), ("06_L2", "Cloud_Mask_1km"),
    ],
)  # fmt: skip
def test_a_missing_sds_says_what_the_file_has(folder, product, name):
    path = folder / name_of(product=product)
    rename(path, name, name[:-1] + "X")
    text = refused(folder / name_of(), companions=[] if product == "021KM" else [path])
    assert f"no SDS {name!r}; the file has" in text
    assert name[:-1] + "X" in text


def test_a_missing_band_or_sds_of_bands_is_named(tmp_path):
    path = write(tmp_path, counts_of(), omit=["6", "EV_1KM_Emissive"])
    assert "EV_500_Aggr1km_RefSB has no band 6, only ['3', '4', '5', '7']" in refused(
        path, bands=["7", "6"]
    )
    assert "no SDS 'EV_1KM_Emissive'; the file has" in refused(path, bands=["31"])
    assert read_granule(path, ["7", "1"])["radiance"].notnull().all()


@pytest.mark.parametrize("name", ["valid_range", "radiance_scales", "radiance_offsets"])
def test_a_missing_attribute_is_named(folder, name):
    path = folder / name_of()
    rename(path, name, name[:-1] + "X")
    text = refused(path)
    assert re.search(rf"SDS EV_\w+ has no attribute {name}; is it an L1B file", text)


@pytest.mark.parametrize(
    ("name", "kind", "value", "message"),
    [
        ("valid_range", SDC.FLOAT32, [1.0], r"valid_range of .*Emissive is \[1.0\], expected"),
        ("valid_range", SDC.CHAR8, "all", "valid_range of .*Emissive is 'all', expected numbers"),
        ("radiance_scales", SDC.FLOAT32, [1.0], "Emissive has 1 radiance_scales and 16 offsets"),
        ("band_names", SDC.CHAR8, "1,2,3", r"no band 31, only \['1', '2', '3'\]"),
    ],
)
def test_an_attribute_of_another_kind_is_refused(folder, name, kind, value, message):
    path = folder / name_of()
    file = SD(str(path), SDC.WRITE)
    sds = file.select("EV_1KM_Emissive")
    sds.attr(name).set(kind, value)
    sds.endaccess()
    file.end()
    assert re.search(message, refused(path, bands=["31"]))
