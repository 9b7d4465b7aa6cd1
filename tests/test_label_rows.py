"""Label files of every kind give the same rows; what cannot be a row is told by file and column."""

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from workflow_scripts.errors import UserError
from workflow_scripts.pack.label_rows import joined, read_rows
from workflow_scripts.pack.timestamps import utc_seconds

TIMES = pd.to_datetime(["2003-01-01 00:05", "2003-01-01 10:00", "2024-12-31 23:55"])
SECONDS = np.array([1041379500, 1041415200, 1735689300], float)  # date -u -d … +%s
TABLE = {
    "Label": [0, 41, 7],
    "Timestamp": [time.isoformat() for time in TIMES],
    "lat": [-89.5, 0.25, 45.0],
    "lon": [-180.0, 179.5, 10.0],
    "platform": ["Terra", "Aqua", "terra"],
}


def write(path, table=TABLE, *, engine=None):
    frame = pd.DataFrame(table)
    if path.suffix == ".csv":
        frame.to_csv(path, index=False)
    elif path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        columns = {name: ("row", frame[name].to_numpy()) for name in frame}
        for name, (_, values) in columns.items():
            if values.dtype == object or values.dtype.kind in "OTU":
                columns[name] = ("row", values.astype("S"))
        xr.Dataset(columns).to_netcdf(path, engine=engine)
    return path


def changed(**columns):
    return {**TABLE, **columns}


def assert_same(rows, expected):
    assert len(rows) == len(expected)
    for name in ("time", "platform", "latitude", "longitude", "label"):
        np.testing.assert_array_equal(getattr(rows, name), getattr(expected, name), name)


@pytest.mark.parametrize(
    ("name", "engine"),
    [
        ("a.csv", None),
        ("a.parquet", None),
        ("a.nc", "scipy"),
        ("a.nc", "h5netcdf"),
        ("A.CSV", None),
    ],
)
def test_every_kind_of_file_gives_the_same_rows(tmp_path, name, engine):
    path = tmp_path / name
    if name.isupper():
        write(tmp_path / "a.csv").rename(path)
    else:
        write(path, engine=engine or None)
    if engine:
        assert path.read_bytes()[:3] == (b"CDF" if engine == "scipy" else b"\x89HD")
    rows = read_rows(path)
    np.testing.assert_array_equal(rows.time, SECONDS)
    assert rows.platform.tolist() == [0, 1, 0]
    assert rows.label.tolist() == [0, 41, 7]
    np.testing.assert_array_equal(rows.latitude, TABLE["lat"])
    np.testing.assert_array_equal(rows.longitude, TABLE["lon"])


@pytest.mark.parametrize("name", ["a.parquet", "a.nc"])
def test_true_times_are_read_as_such(tmp_path, name):
    rows = read_rows(write(tmp_path / name, changed(Timestamp=TIMES), engine="h5netcdf"))
    np.testing.assert_array_equal(rows.time, SECONDS)


def test_columns_are_found_in_any_case_and_others_are_left_alone(tmp_path):
    table = {"LABEL": TABLE["Label"], "timestamp": TABLE["Timestamp"], "Latitude": TABLE["lat"],
             "LON": TABLE["lon"], "Platform": TABLE["platform"], "COT": [1, 2, 3]}  # fmt: skip
    assert_same(read_rows(write(tmp_path / "b.csv", table)), read_rows(write(tmp_path / "a.csv")))


@pytest.mark.parametrize(
    ("values", "seconds"),
    [
        (["2003-01-01T00:05:00Z", "2003-01-01T10:00:00Z", "2024-12-31T23:55:00Z"], SECONDS),
        (["2003-01-01T01:05+01:00", "2003-01-01T11:00+01:00", "2025-01-01T00:55+01:00"], SECONDS),
        (["20030101T0005", "20030101T1000", "20241231T2355"], SECONDS),
        (["2003001.0005", "2003001.1000", "2024366.2355"], SECONDS),
        (["A2003001.0005", "A2003001.1000", "A2024366.2355"], SECONDS),
        (["2003001.0005", "2003001.1", "2024366.2355"], SECONDS),  # zeros lost on the way
        ([2003001.0005, 2003001.1, 2024366.2355], SECONDS),
        ([20030010005, 20030011000, 20243662355], SECONDS),
        ([20030010005.0, 20030011000.0, 20243662355.0], SECONDS),
        ([200301010005, 200301011000, 202412312355], SECONDS),
        ([20030101000500, 20030101100000, 20241231235500], SECONDS),
        ([1041379500, 1041415200, 1735689300], SECONDS),
        ([1041379500.5, 1041415200.5, 1735689300.5], SECONDS + 0.5),
        ([b"2003001.0005", b"2003001.1000", b"2024366.2355"], SECONDS),
        (pd.DatetimeIndex(TIMES, tz="UTC"), SECONDS),
    ],
    ids=str,
)
def test_every_spelling_of_time_gives_the_same_seconds(values, seconds):
    np.testing.assert_array_equal(utc_seconds(pd.Series(values), where="f"), seconds)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (["2003-01-01", "2003-01-02"], "not all of one known spelling"),
        ([2003001, 2003002], "not all of one known spelling"),
        (["2003001.0005", "2003-01-01T00:05"], "not all of one known spelling"),
        (["2003001.0005", "2003001.2505"], r"no such time as '2003001\.2505'; expected ISO"),
        (["2003-13-01T00:05"], "no such time as '2003-13-01T00:05'"),
        (["noon"], "'noon'"),
        ([500000000], "before there was MODIS"),
        (np.array([2003001.0005], np.float32), "single-precision"),
        (["2003001.0005", None], "1 of 2 rows have no time"),
        (pd.to_datetime(["2003-01-01 00:05", None]), "1 of 2 rows have no time"),
    ],
)
def test_times_that_cannot_be_read_are_refused(values, words):
    with pytest.raises(UserError, match=words):
        utc_seconds(pd.Series(values), where="f")


def test_satellites_may_be_named_by_their_products(tmp_path):
    table = changed(platform=["MOD021KM", "myd", "EOS Terra"])
    assert read_rows(write(tmp_path / "a.csv", table)).platform.tolist() == [0, 1, 0]


def test_a_row_without_position_is_kept_without(tmp_path):
    rows = read_rows(write(tmp_path / "a.csv", changed(lat=[None, 0.25, 45.0])))
    assert np.isnan(rows.latitude).tolist() == [True, False, False]


@pytest.mark.parametrize(
    ("column", "values", "words"),
    [
        ("Label", [0, 1.5, 2], r"label: 1 of 3 rows are no class, the first is .*1\.5"),
        ("Label", [0, 43, -1], "label: 2 of 3 rows are no class, the first is .*43"),
        ("Label", [0, None, 2], "label: 1 of 3 rows are no class"),
        ("Label", ["a", "1", "2"], "label: 1 of 3 rows are no class, the first is 'a'"),
        ("lat", [0, 91.0, 2], r"latitude: .*91\.0.* is out of range; expected degrees from -90"),
        ("lon", [0, 361.0, 2], r"longitude: .*361\.0.* is out of range"),
        ("platform", ["Terra", "Suomi", "Aqua"], "platform: 'Suomi', expected Terra or Aqua"),
        ("platform", ["MODIS", "Terra", "Aqua"], "platform: 'MODIS'"),
        ("platform", ["Terra", None, "Aqua"], "platform: 1 of 3 rows name none"),
    ],
)
def test_values_that_make_no_row_are_named_with_file_and_column(tmp_path, column, values, words):
    path = write(tmp_path / "a.parquet", changed(**{column: values}))
    with pytest.raises(UserError, match=f"{path}, {words}"):
        read_rows(path)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.nc"])
def test_a_missing_column_is_told_with_those_that_are_there(tmp_path, name):
    table = {key: value for key, value in TABLE.items() if key != "lat"}
    path = write(tmp_path / name, table, engine="h5netcdf")
    with pytest.raises(UserError, match=r"no column called lat or latitude .*Label.*platform"):
        read_rows(path)
    path = write(path, {**TABLE, "Latitude": [0, 0, 0]}, engine="h5netcdf")
    with pytest.raises(UserError, match="2 columns called lat or latitude"):
        read_rows(path)


def test_a_file_of_maps_is_refused(tmp_path):
    path = tmp_path / "a.nc"
    columns = {name: (("y", "x"), np.zeros((2, 3))) for name in TABLE}
    xr.Dataset(columns).to_netcdf(path, engine="h5netcdf")
    with pytest.raises(UserError, match=r"shapes .*\(2, 3\).*expected one value a row"):
        read_rows(path)


@pytest.mark.parametrize("name", ["a.csv", "a.parquet", "a.nc"])
@pytest.mark.parametrize("content", [b"", b"\x00\xff\x00nonsense\xff", b"CDF\x01", b"\x89HDF\r\n"])
def test_a_broken_file_is_named(tmp_path, name, content):
    path = tmp_path / name
    path.write_bytes(content)
    with pytest.raises(UserError, match=str(path)):
        read_rows(path)


def test_an_unknown_kind_of_file_is_refused(tmp_path):
    with pytest.raises(UserError, match=r"one of \.nc, \.parquet, \.csv"):
        read_rows(tmp_path / "a.xlsx")


def test_the_order_of_files_and_rows_does_not_matter(tmp_path):
    first = read_rows(write(tmp_path / "a.csv"))
    second = read_rows(write(tmp_path / "b.csv", changed(Label=[3, 4, 5])))
    expected = joined([first, second])
    assert_same(joined([second.take([2, 0, 1]), first.take(slice(None, None, -1))]), expected)
    assert (np.diff(expected.time) >= 0).all()
