"""Latitude and longitude of 1 km pixels from the 5 km arrays inside MOD021KM.

A scan has 10 lines, and its tie points lie at lines 2 and 7 and at every fifth pixel from 2 on
(counted from 0; the file's attributes `line_numbers` "3,8" and `frame_numbers` "3,8,13,..." count
from 1). Interpolation stays inside a scan, as neighbouring scans overlap away from nadir, and is
done on unit vectors, so that neither the date line nor the poles matter.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

LINES_PER_SCAN = 10
TIE_STEP = 5
FIRST_TIE = 2


def tie_shape(lines: int, pixels: int) -> tuple[int, int]:
    """Shape of the 5 km arrays of a granule of lines × pixels (2030 × 1354 → 406 × 271)."""
    return lines // TIE_STEP, (pixels + TIE_STEP - 1 - FIRST_TIE) // TIE_STEP


def tie_indices(count: int) -> NDArray[np.int64]:
    """Pixel (or line) index of each tie point along one side."""
    return FIRST_TIE + TIE_STEP * np.arange(count, dtype=np.int64)


def _vectors(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating]
) -> NDArray[np.float64]:
    """(…, 3) unit vectors of positions in degrees."""
    lat, lon = (np.radians(np.asarray(angle, np.float64)) for angle in (latitude, longitude))
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def _degrees(vectors: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Latitude and longitude of (…, 3) vectors of any length."""
    x, y, z = np.moveaxis(vectors, -1, 0)
    return np.degrees(np.arctan2(z, np.hypot(x, y))), np.degrees(np.arctan2(y, x))


def at_pixels(
    ties: NDArray[np.floating], *, rows: ArrayLike, columns: ArrayLike
) -> NDArray[np.float64]:
    """A smooth field at the 5 km tie points, at some pixels: bilinear, extrapolated at edges.

    Args:
        ties: (2·scans, tie points along a line, …), NaN where unknown.
        rows: (n,) line indices, from 0.
        columns: (n,) pixel indices, from 0.

    Returns:
        (n, …), NaN where a tie point needed is unknown.
    """
    row, column = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    scan, line = np.divmod(row, LINES_PER_SCAN)
    top = 2 * scan
    down = (line - FIRST_TIE) / TIE_STEP
    left = np.clip((column - FIRST_TIE) // TIE_STEP, 0, ties.shape[1] - 2)
    right = (column - FIRST_TIE) / TIE_STEP - left
    mean = np.zeros((*row.shape, *ties.shape[2:]))
    for y, weight_y in ((top, 1 - down), (top + 1, down)):
        for x, weight_x in ((left, 1 - right), (left + 1, right)):
            weight = (weight_y * weight_x).reshape(*row.shape, *(1,) * (ties.ndim - 2))
            mean += np.where(weight == 0, 0.0, weight * ties[y, x])
    return mean


def pixel_positions(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating], *, rows: ArrayLike,
    columns: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Latitude and longitude of the centres of 1 km pixels, by `at_pixels` of their unit vectors.

    Args:
        latitude: 5 km array in degrees, NaN where unknown.
        longitude: The same.
        rows: (n,) line indices, from 0.
        columns: (n,) pixel indices, from 0.

    Returns:
        Two (n,) arrays in degrees, NaN where a tie point needed is unknown.
    """
    return _degrees(at_pixels(_vectors(latitude, longitude), rows=rows, columns=columns))


def _weights(count: int, ties: int) -> NDArray[np.float64]:
    """(count, ties) of linear interpolation along a line of pixels, extrapolating at its ends."""
    at = np.arange(count)
    left = np.clip((at - FIRST_TIE) // TIE_STEP, 0, ties - 2)
    share = (at - FIRST_TIE) / TIE_STEP - left
    weights = np.zeros((count, ties))
    weights[at, left], weights[at, left + 1] = 1 - share, share
    return weights


def spread(ties: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float64]:
    """A smooth field at the 5 km tie points, on every pixel: as `at_pixels` weighs them.

    Args:
        ties: (2·scans, tie points along a line, …), NaN where unknown.
        shape: Lines and pixels.

    Returns:
        (lines, pixels, …), NaN where a tie point needed is unknown.
    """
    unknown = ~np.isfinite(ties)
    if not unknown.any():
        return _spread(ties, shape)
    # Weights of 0 would spread an unknown tie point over its whole line: it is put back after.
    mean = _spread(np.nan_to_num(ties), shape)
    mean[_spread(unknown.astype(np.float64), shape) != 0] = np.nan
    return mean


def _spread(ties: NDArray[np.floating], shape: tuple[int, int]) -> NDArray[np.float64]:
    across = np.einsum("pt,lt...->lp...", _weights(shape[1], ties.shape[1]), ties)
    scans = across.reshape(-1, 2, *across.shape[1:])
    down = _weights(LINES_PER_SCAN, 2)
    return np.einsum("dt,st...->sd...", down, scans).reshape(*shape, *ties.shape[2:])


def whole_positions(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating], shape: tuple[int, int]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Latitude and longitude (lines, pixels) of all pixels: `pixel_positions` of each, in degrees.

    Args:
        latitude: 5 km array in degrees, NaN where unknown.
        longitude: The same.
        shape: Lines and pixels.
    """
    lat, lon = _degrees(spread(_vectors(latitude, longitude), shape))
    return lat.astype(np.float32), lon.astype(np.float32)
