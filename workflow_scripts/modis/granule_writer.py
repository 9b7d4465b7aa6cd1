"""Write synthetic MODIS L1B granules with the true layout, calibration and reserved counts.

Names, attributes, scales and offsets are those of a real Terra granule
(MOD021KM.A2010277.1710.005), as its metadata shows them.
"""

from collections.abc import Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BAD_UNCERTAINTY, EMISSIVE_SDS, MAX_VALID_COUNT, SDS_BANDS
from workflow_scripts.modis.bands import band as band_of
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, tie_shape
from workflow_scripts.modis.hdf4 import Sds, write_hdf4

FILL, SATURATED, DEAD_DETECTOR = 65535, 65533, 65531
_LINES, _PIXELS = "10*nscans:MODIS_SWATH_Type_L1B", "Max_EV_frames:MODIS_SWATH_Type_L1B"
_TIES = "2*nscans:MODIS_SWATH_Type_L1B", "1KM_geo_dim:MODIS_SWATH_Type_L1B"
_RADIANCE_UNITS = "Watts/m^2/micrometer/steradian"

_BAND_DIMS = {
    "EV_250_Aggr1km_RefSB": "Band_250M:MODIS_SWATH_Type_L1B",
    "EV_500_Aggr1km_RefSB": "Band_500M:MODIS_SWATH_Type_L1B",
    "EV_1KM_RefSB": "Band_1KM_RefSB:MODIS_SWATH_Type_L1B",
    "EV_1KM_Emissive": "Band_1KM_Emissive:MODIS_SWATH_Type_L1B",
}
_LONG_NAMES = {
    "EV_250_Aggr1km_RefSB": "Earth View 250M Aggregated 1km Reflective Solar Bands",
    "EV_500_Aggr1km_RefSB": "Earth View 500M Aggregated 1km Reflective Solar Bands",
    "EV_1KM_RefSB": "Earth View 1KM Reflective Solar Bands",
    "EV_1KM_Emissive": "Earth View 1KM Emissive Bands",
}
_RADIANCE_SCALES = {
    "EV_250_Aggr1km_RefSB": (0.02595116012, 0.009713838808),
    "EV_500_Aggr1km_RefSB": (
        0.03247600794, 0.02245436981, 0.005773007404, 0.002630070550, 0.0008026596624,
    ),
    "EV_1KM_RefSB": (
        0.01320776157, 0.008266269229, 0.005043315236, 0.003379055066, 0.002970384201,
        0.001109640929, 0.0008216585848, 0.001249530469, 0.0006902001332, 0.0009547661175,
        0.0008956351667, 0.007194237784, 0.008941298351, 0.006913577206, 0.003023807658,
    ),
    "EV_1KM_Emissive": (
        6.262398529e-05, 0.003149510128, 6.921598106e-05, 7.910397107e-05, 3.155613740e-05,
        5.639820665e-05, 0.0001175572979, 0.0001924497192, 0.0005324869417, 0.0004063234373,
        0.0008400219958, 0.0007296975818, 0.0002622638713, 0.0002006958239, 0.0001767082722,
        0.0001183385684,
    ),
}  # fmt: skip
_REFLECTANCE_SCALES = {
    "EV_250_Aggr1km_RefSB": (5.078265895e-05, 3.077087968e-05),
    "EV_500_Aggr1km_RefSB": (
        4.888717376e-05, 3.782279964e-05, 3.825240856e-05, 3.441045919e-05, 2.793016210e-05,
    ),
    "EV_1KM_RefSB": (
        2.377920282e-05, 1.364725267e-05, 8.001932656e-06, 5.636647984e-06, 4.933857781e-06,
        2.252741069e-06, 1.668092864e-06, 2.604086831e-06, 1.438413165e-06, 2.317632379e-06,
        2.893130841e-06, 2.418891927e-05, 3.216540790e-05, 2.488511200e-05, 2.604184556e-05,
    ),
}  # fmt: skip
_OFFSETS = {
    "EV_250_Aggr1km_RefSB": (-0.0,) * 2,
    "EV_500_Aggr1km_RefSB": (-0.0,) * 5,
    "EV_1KM_RefSB": (316.9721985,) * 15,
    "EV_1KM_Emissive": (
        2730.583252, 2730.583496, 2730.583252, 2730.583496, 1077.444946, 1560.333374, 2730.583496,
        2317.488525, 2730.583252, 1560.333252, 1577.339722, 1658.221191, 2501.297852, 2501.297607,
        2501.297852, 2501.297852,
    ),
}  # fmt: skip


def calibration(name: str, quantity: str) -> tuple[float, float]:
    """Scale and offset that the writer gives a band, as the float32 in the file.

    Args:
        name: The band.
        quantity: `radiance`, or `reflectance` for a reflective band.

    Raises:
        UserError: No such band, or an emissive band's reflectance.
    """
    found = band_of(name)
    table = _REFLECTANCE_SCALES if quantity == "reflectance" else _RADIANCE_SCALES
    if found.sds not in table:
        raise UserError(f"band {name} has no {quantity}; use radiance")
    scale, offset = table[found.sds][found.index], _OFFSETS[found.sds][found.index]
    return float(np.float32(scale)), float(np.float32(offset))


def encode(values: ArrayLike, *, name: str, quantity: str = "radiance") -> NDArray[np.uint16]:
    """Physical values as counts: rounded, 65533 (saturated) above the valid range, 65535 for NaN.

    Args:
        values: Radiance (W m⁻² sr⁻¹ µm⁻¹) or reflectance (fraction), any shape.
        name: The band.
        quantity: Which of the two.
    """
    scale, offset = calibration(name, quantity)
    counts = np.rint(np.asarray(values, np.float64) / scale + offset)
    held = np.where(counts > MAX_VALID_COUNT, SATURATED, np.maximum(counts, 0))
    return np.where(np.isfinite(counts), held, FILL).astype(np.uint16)


def granule_file_name(platform: str, time: datetime, *, production: str) -> str:
    """`MOD021KM.A2026001.0005.061.<production>.hdf` (MYD021KM: Aqua); production has 13 digits."""
    prefix = {"Terra": "MOD", "Aqua": "MYD"}[platform]
    return f"{prefix}021KM.A{time:%Y%j}.{time:%H%M}.061.{production}.hdf"


def write_granule(
    path: Path,
    counts: Mapping[str, NDArray[np.uint16]],
    *,
    latitude: NDArray[np.floating],
    longitude: NDArray[np.floating],
    uncertainty: Mapping[str, NDArray[np.uint8]] | None = None,
    level: int = 1,
) -> None:
    """Write one granule; the same values and file name give the same bytes.

    Args:
        path: The file, named by `granule_file_name`.
        counts: By band, (10·scans, pixels) counts including reserved ones; all bands of the four
            SDS that are absent hold fill.
        latitude: In degrees at the 5 km tie points, (2·scans, about pixels / 5).
        longitude: The same.
        uncertainty: By band, uncertainty indexes; where absent 0, 15 under reserved counts, and
            255 under fill.
        level: Of deflate.

    Raises:
        UserError: An unknown band, shapes that differ, or lines that are no multiple of 10.
    """
    shapes = {np.shape(plane) for plane in counts.values()}
    for name in [*counts, *(uncertainty or {})]:
        band_of(name)
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] % LINES_PER_SCAN:
        raise UserError(
            f"{path}: a granule needs bands of one shape, a multiple of {LINES_PER_SCAN} lines × "
            f"pixels; got {sorted(np.shape(plane) for plane in counts.values())}"
        )
    for ties in (latitude, longitude):
        if np.shape(ties) != tie_shape(*shape):
            raise UserError(f"{path}: 5 km arrays must be {tie_shape(*shape)}, not {ties.shape}")
    arrays = [
        array
        for sds in SDS_BANDS
        for array in _band_arrays(sds, shape, counts=counts, uncertainty=uncertainty or {})
    ]
    arrays += [
        _position("Latitude", latitude, "degrees_north", 90.0),
        _position("Longitude", longitude, "degrees_east", 180.0),
    ]
    attributes = {
        "HDFEOSVersion": "HDFEOS_V2.9",
        "Number of Scans": np.int32(shape[0] // LINES_PER_SCAN),
        "Max Earth View Frames": np.int32(shape[1]),
        "Orbweaver": "synthetic granule: no observation",
    }
    write_hdf4(path, arrays, attributes=attributes, level=level)


def _band_arrays(
    sds: str,
    shape: tuple[int, ...],
    *,
    counts: Mapping[str, NDArray[np.uint16]],
    uncertainty: Mapping[str, NDArray[np.uint8]],
) -> list[Sds]:
    names = SDS_BANDS[sds]
    values = np.full((len(names), *shape), FILL, np.uint16)
    indexes = np.zeros(values.shape, np.uint8)
    for plane, name in enumerate(names):
        if name in counts:
            values[plane] = counts[name]
        if name in uncertainty:
            indexes[plane] = uncertainty[name]
        else:
            indexes[plane][values[plane] > MAX_VALID_COUNT] = BAD_UNCERTAINTY
            indexes[plane][values[plane] == FILL] = 255
    dims = (_BAND_DIMS[sds], _LINES, _PIXELS)
    about = {
        "long_name": f"{_LONG_NAMES[sds]} Uncertainty Indexes",
        "units": "none",
        "valid_range": np.array([0, 15], np.uint8),
        "_FillValue": np.uint8(255),
        "specified_uncertainty": np.full(len(names), 1.5, np.float32),
        "scaling_factor": np.full(len(names), 7.0, np.float32),
        "uncertainty_units": "percent",
    }
    return [
        Sds(name=sds, data=values, dims=dims, attributes=_band_attributes(sds)),
        Sds(name=f"{sds}_Uncert_Indexes", data=indexes, dims=dims, attributes=about),
    ]


def _band_attributes(sds: str) -> dict[str, Any]:
    offsets = np.array(_OFFSETS[sds], np.float32)
    attributes = {
        "long_name": f"{_LONG_NAMES[sds]} Scaled Integers",
        "units": "none",
        "valid_range": np.array([0, MAX_VALID_COUNT], np.uint16),
        "_FillValue": np.uint16(FILL),
        "band_names": ",".join(SDS_BANDS[sds]),
        "radiance_scales": np.array(_RADIANCE_SCALES[sds], np.float32),
        "radiance_offsets": offsets,
        "radiance_units": _RADIANCE_UNITS,
    }
    if sds != EMISSIVE_SDS:
        attributes |= {
            "reflectance_scales": np.array(_REFLECTANCE_SCALES[sds], np.float32),
            "reflectance_offsets": offsets,
            "reflectance_units": "none",
        }
    return attributes


def _position(name: str, values: NDArray[np.floating], units: str, limit: float) -> Sds:
    known = np.where(np.isfinite(values), values, -999.0)
    return Sds(
        name=name,
        data=known.astype(np.float32),
        dims=_TIES,
        attributes={
            "units": units,
            "valid_range": np.array([-limit, limit], np.float32),
            "_FillValue": np.float32(-999.0),
            "line_numbers": "3,8",
            "frame_numbers": "3,8,13,...",
        },
    )
