"""Positions of 1 km pixels from the 5 km arrays, against closed forms and each other."""

from datetime import datetime

import numpy as np
import pytest

from workflow_scripts.modis.geolocation import (
    at_pixels,
    pixel_positions,
    spread,
    tie_indices,
    tie_shape,
    whole_positions,
)
from workflow_scripts.modis.granule_writer import tie_fields
from workflow_scripts.modis.swath_geometry import SwathGeometry


def pixels_of(shape):
    rows, columns = np.indices(shape)
    return {"rows": rows.ravel(), "columns": columns.ravel()}


def ties_of(shape, *, latitude=10.0, longitude=20.0, step=0.009):
    rows, columns = np.indices(tie_shape(*shape)) * 5 + 2
    east = longitude + step * columns
    return latitude - step * rows, (east + 180) % 360 - 180


def circle(first, second):
    """Distance in degrees of two arrays of (latitude, longitude)."""
    (lat1, lon1), (lat2, lon2) = np.radians(first, dtype=float), np.radians(second, dtype=float)
    half = np.sin((lat2 - lat1) / 2) ** 2
    half = half + np.cos(lat1) * np.cos(lat2) * np.sin((lon2 - lon1) / 2) ** 2
    return np.degrees(2 * np.arcsin(np.sqrt(half)))


@pytest.mark.parametrize(
    ("shape", "ties"), [((2030, 1354), (406, 271)), ((10, 7), (2, 1)), ((20, 13), (4, 3))]
)
def test_tie_points_are_every_fifth_pixel_from_the_third_on(shape, ties):
    assert tie_shape(*shape) == ties
    indices = tie_indices(ties[1])
    assert indices[-1] < shape[1] <= indices[-1] + 5
    assert indices.tolist() == list(range(2, shape[1], 5))


def test_positions_follow_the_tie_points_also_across_the_date_line():
    # On the equator meridians and parallels are straight enough for a linear oracle.
    latitude, longitude = ties_of((20, 30), latitude=0.05, longitude=179.9)
    rows, columns = np.array([0, 2, 9, 13, 19]), np.array([0, 2, 11, 20, 29])
    found = pixel_positions(latitude, longitude, rows=rows, columns=columns)
    np.testing.assert_allclose(found[0], 0.05 - 0.009 * rows, atol=1e-6)
    expected = (179.9 + 0.009 * columns + 180) % 360 - 180
    np.testing.assert_allclose(found[1], expected, atol=1e-6)
    assert found[1].min() < -179
    assert found[1].max() > 179


# The tile job asks for single pixels, the reader for all of them: both must say the same.
@pytest.mark.parametrize("shape", [(20, 30), (30, 31), (20, 32), (10, 33), (10, 34)])
@pytest.mark.parametrize(
    ("latitude", "longitude"), [(10.0, 20.0), (0.05, 179.9), (-60.0, -180.0), (89.95, 0.0)]
)
def test_all_positions_are_those_of_each_pixel(shape, latitude, longitude):
    ties = ties_of(shape, latitude=latitude, longitude=longitude)
    single = pixel_positions(*ties, **pixels_of(shape))
    whole = whole_positions(*ties, shape)
    assert whole[0].shape == whole[1].shape == shape
    assert circle(np.reshape(single, (2, *shape)), whole).max() < 2e-5  # float32
    assert np.isfinite(single).all()


@pytest.mark.parametrize("seed", range(6))
def test_unknown_tie_points_spoil_the_same_pixels_in_both(seed):
    rng = np.random.default_rng(seed)
    shape = (40, 52)
    latitude, longitude = ties_of(shape)
    for ties in (latitude, longitude):
        ties[rng.random(ties.shape) < 0.03] = np.nan
    single = pixel_positions(latitude, longitude, **pixels_of(shape))
    whole = whole_positions(latitude, longitude, shape)
    unknown = np.isnan(single[0]).reshape(shape)
    assert 0 < unknown.sum() < unknown.size
    for found, expected in zip(whole, single, strict=True):
        np.testing.assert_array_equal(np.isnan(found), unknown)
        np.testing.assert_allclose(found, expected.reshape(shape), atol=2e-5)


def test_an_unknown_tie_point_spoils_the_pixels_that_lean_on_it_and_no_others():
    shape = (20, 30)
    latitude, longitude = ties_of(shape)
    latitude[1, 2] = np.nan  # line 7, pixel 12
    unknown = np.isnan(whole_positions(latitude, longitude, shape)[0])
    rows, columns = np.indices(shape)
    # Within its scan all lines but 2 and all pixels between 7 and 17 have a part of it.
    leans = (rows < 10) & (rows != 2) & (columns > 7) & (columns < 17)
    np.testing.assert_array_equal(unknown, leans)
    ramp = np.arange(24, dtype=float).reshape(4, 6)
    ramp[1, 2] = np.nan
    np.testing.assert_array_equal(np.isnan(spread(ramp, shape)), leans)


def test_a_smooth_field_is_linear_between_and_beyond_the_tie_points_of_a_scan():
    shape = (30, 33)
    rows, columns = np.indices(shape)
    scan = rows // 10
    # A plane within each scan, with jumps between scans: nothing leaks from one to the next.
    plane = 100.0 * scan**2 + 3.0 * (rows - 10 * scan) - 2.0 * columns
    ties = plane[2::5, 2::5]
    np.testing.assert_allclose(spread(ties, shape), plane, atol=1e-10)
    found = at_pixels(ties, **pixels_of(shape)).reshape(shape)
    np.testing.assert_allclose(found, plane, atol=1e-10)


@pytest.mark.parametrize("latitude", [-70.0, 0.0, 60.0])
def test_positions_of_a_swath_are_a_few_metres_off_at_nadir(latitude):
    shape = (40, 200)
    swath = SwathGeometry(
        platform="Aqua", time=datetime(2026, 1, 1, 12), latitude=latitude, shape=shape
    )
    fields = tie_fields(swath)
    found = whole_positions(fields["latitude"], fields["longitude"], shape)
    view = swath.view(range(shape[0]), range(shape[1]))
    away = np.radians(circle(found, (view.latitude, view.longitude))) * 6371e3
    assert away.max() < 10.0
