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


def _vectors(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> NDArray[np.float64]:
    lat, lon = np.radians(latitude), np.radians(longitude)
    return np.stack([np.cos(lat) * np.cos(lon), np.cos(lat) * np.sin(lon), np.sin(lat)], axis=-1)


def pixel_positions(
    latitude: NDArray[np.floating], longitude: NDArray[np.floating], *, rows: ArrayLike,
    columns: ArrayLike,
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:  # fmt: skip
    """Latitude and longitude of the centres of 1 km pixels, bilinear (extrapolated at edges).

    Args:
        latitude: 5 km array in degrees, NaN where unknown.
        longitude: The same.
        rows: (n,) line indices, from 0.
        columns: (n,) pixel indices, from 0.

    Returns:
        Two (n,) arrays in degrees, NaN where a tie point needed is unknown.
    """
    row, column = np.asarray(rows, np.int64), np.asarray(columns, np.int64)
    scan, line = np.divmod(row, LINES_PER_SCAN)
    top = 2 * scan
    down = (line - FIRST_TIE) / TIE_STEP
    left = np.clip((column - FIRST_TIE) // TIE_STEP, 0, latitude.shape[1] - 2)
    right = (column - FIRST_TIE) / TIE_STEP - left
    mean = np.zeros((*row.shape, 3))
    for y, weight_y in ((top, 1 - down), (top + 1, down)):
        for x, weight_x in ((left, 1 - right), (left + 1, right)):
            corner = _vectors(latitude[y, x].astype(float), longitude[y, x].astype(float))
            mean += (weight_y * weight_x)[..., None] * corner
    lat = np.degrees(np.arctan2(mean[..., 2], np.hypot(mean[..., 0], mean[..., 1])))
    return lat, np.degrees(np.arctan2(mean[..., 1], mean[..., 0]))
