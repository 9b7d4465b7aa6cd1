"""Scales and offsets of a real Terra granule (MOD021KM.A2010277.1710.005), and counts from values.

Every synthetic granule has these; a real Aqua granule has others.
"""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import MAX_VALID_COUNT
from workflow_scripts.modis.bands import band as band_of

# Reserved counts that the writer of synthetic granules puts in (all: `bands.RESERVED_COUNTS`).
FILL, MISSING, SATURATED, DEAD_DETECTOR = 65535, 65534, 65533, 65531
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
COUNTS_SCALES = {
    "EV_250_Aggr1km_RefSB": 0.1249732971,
    "EV_500_Aggr1km_RefSB": 0.1249732971,
    "EV_1KM_RefSB": 0.1261940300,
}
# uncertainty (%) = specified · exp(index / factor)
_SPECIFIED = {
    "EV_1KM_Emissive": (0.5625, 2.5, *(0.5,) * 8, 0.375, 0.375, *(0.5,) * 4),
}
_FACTORS = {
    "EV_500_Aggr1km_RefSB": (7, 7, 5, 5, 5),
    "EV_1KM_RefSB": (*(7,) * 14, 5),
    "EV_1KM_Emissive": (5, *(4,) * 15),
}


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


def uncertainty_scale(name: str) -> tuple[float, float]:
    """Specified uncertainty (%) and scaling factor of a band: % = specified · exp(index / factor).

    Raises:
        UserError: No such band.
    """
    found = band_of(name)
    specified = _SPECIFIED.get(found.sds, (1.5,) * 15)[found.index]
    return specified, float(_FACTORS.get(found.sds, (7,) * 15)[found.index])


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
