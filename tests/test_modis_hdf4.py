"""HDF4 files: what is written is read, bytes do not vary, and broken files say what they are."""

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BANDS
from workflow_scripts.modis.geolocation import tie_shape
from workflow_scripts.modis.granule import read_granule
from workflow_scripts.modis.granule_writer import write_granule
from workflow_scripts.modis.hdf4 import open_hdf4
from workflow_scripts.modis.hdf4_writer import Sds, write_hdf4

NAME = "MOD021KM.A2026001.0005.061.2026001000000.hdf"
SHAPE = (20, 32)


def write(folder, bands):
    rng = np.random.default_rng(0)
    path = folder / NAME
    write_granule(
        path,
        {name: rng.integers(3000, 32768, SHAPE).astype(np.uint16) for name in bands},
        latitude=np.zeros(tie_shape(*SHAPE)),
        longitude=np.zeros(tie_shape(*SHAPE)),
    )
    return path


def test_the_same_values_give_the_same_bytes_wherever_they_are_written(tmp_path):
    first = write(tmp_path, ["6", "31"])
    second = write(tmp_path / "another" / "much_longer_folder", ["6", "31"])
    assert first.read_bytes() == second.read_bytes()
    assert str(tmp_path).encode() not in first.read_bytes()


def test_a_path_too_long_for_fixed_bytes_is_refused(tmp_path):
    folder = tmp_path.joinpath(*["x" * 200] * 5)
    with pytest.raises(UserError, match="shorter"):
        write_hdf4(folder / "a.hdf", [])


def test_hdf4_arrays_and_attributes_come_back(tmp_path):
    rng = np.random.default_rng(0)
    types = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32, np.float32, np.float64)
    arrays = [
        Sds(
            name=f"of {kind.__name__}",
            data=(rng.random((3, 4, 5)) * 100).astype(kind),
            dims=("band", "y", "x"),
            attributes={"one": kind(7), "many": np.array([1, 2, 3], kind), "text": "W/m^2"},
        )
        for kind in types
    ]
    path = tmp_path / "all.hdf"
    write_hdf4(path, arrays, attributes={"title": "a test"})
    with open_hdf4(path) as file:
        assert file.attributes() == {"title": "a test"}
        for array in arrays:
            found = file.read(array.name)
            assert found.dtype == array.data.dtype
            np.testing.assert_array_equal(found, array.data)
            some = np.empty((2, 4, 5), found.dtype)
            file.read_planes(array.name, {2: some[0], 0: some[1]})
            np.testing.assert_array_equal(some, array.data[[2, 0]])
            wanted = {"one": 7, "many": [1, 2, 3], "text": "W/m^2"}
            assert file.attributes(array.name) == wanted
        assert (file.text("title"), file.text("none")) == ("a test", "")
        with pytest.raises(UserError, match=r"in plane 3"):
            file.read_planes(arrays[0].name, {3: np.empty((4, 5), np.int8)})
        with pytest.raises(UserError, match="is int8, not uint8"):
            file.read_planes(arrays[0].name, {0: np.empty((4, 5), np.uint8)})


def test_what_is_not_hdf4_says_so(tmp_path):
    page = tmp_path / NAME
    page.write_text("<html>Please log in</html>")
    with pytest.raises(UserError, match=r"not an HDF4 file.*<htm"):
        read_granule(page, ["6"])
    page.write_bytes(b"")
    with pytest.raises(UserError, match="empty"):
        read_granule(page, ["6"])
    page.unlink()
    with pytest.raises(UserError, match="no such file"):
        read_granule(page, ["6"])


@pytest.mark.parametrize("share", [0.001, 0.1, 0.5, 0.9, 0.999])
def test_a_truncated_granule_says_so_wherever_it_was_cut(tmp_path, share):
    path = write(tmp_path, BANDS)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(len(whole) * share)])
    with pytest.raises(UserError, match="truncated or damaged"):
        read_granule(path, ["6"])


def test_a_missing_sds_says_what_the_file_has(tmp_path):
    other = Sds(name="sur_refl_b01", data=np.zeros((2, 2), np.int16), dims=("y", "x"))
    path = tmp_path / NAME
    write_hdf4(path, [other])
    with pytest.raises(UserError, match=r"no SDS 'EV_500_Aggr1km_RefSB'.*sur_refl_b01"):
        read_granule(path, ["6"])


@pytest.mark.data
def test_real_hdf4_files_of_nasa_are_read(shared_data):
    files = {path.name.split(".")[0]: path for path in (shared_data / "modis").glob("*.hdf")}
    with open_hdf4(files["MOD13A2"]) as file:
        index = file.read("1 km 16 days NDVI")
        low, high = file.attributes("1 km 16 days NDVI")["valid_range"]
        assert index.shape == file.shapes["1 km 16 days NDVI"] == (185, 219)
        valid = index[index != file.attributes("1 km 16 days NDVI")["_FillValue"]]
        assert low <= valid.min() < valid.max() <= high
    with open_hdf4(files["MOD09GA"]) as file:
        state = file.read("state_1km_1")
        assert (state.dtype, state.shape) == (np.dtype(np.uint16), (1200, 1200))
        assert "HDFEOS" in file.attributes()["HDFEOSVersion"]
    with pytest.raises(UserError, match="expected MOD"):
        read_granule(files["MOD09GA"], ["6"])
