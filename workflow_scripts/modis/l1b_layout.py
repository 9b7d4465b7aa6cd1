"""The layout of MOD021KM: fields of its swath and their attributes.

Names and attributes are those of a real Terra granule (MOD021KM.A2010277.1710.005) as its metadata
shows them; types follow the MODIS Level 1B file specification.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np

from workflow_scripts.modis.bands import EMISSIVE_SDS, MAX_VALID_COUNT, SDS_BANDS
from workflow_scripts.modis.bands import band as band_of
from workflow_scripts.modis.geolocation import tie_shape
from workflow_scripts.modis.hdfeos import Swath, SwathField
from workflow_scripts.modis.l1b_calibration import (
    COUNTS_SCALES,
    FILL,
    calibration,
    uncertainty_scale,
)

UNCERTAINTY_FILL = 255
BAND26 = "EV_Band26"
# By SDS of aggregated bands: how many samples of 250 or 500 m make a pixel of 1 km.
AGGREGATED = {"EV_250_Aggr1km_RefSB": 28, "EV_500_Aggr1km_RefSB": 6}
LINES, PIXELS = "10*nscans", "Max_EV_frames"
TIES = ("2*nscans", "1KM_geo_dim")
BAND_DIMS = {
    "EV_250_Aggr1km_RefSB": "Band_250M",
    "EV_500_Aggr1km_RefSB": "Band_500M",
    "EV_1KM_RefSB": "Band_1KM_RefSB",
    "EV_1KM_Emissive": "Band_1KM_Emissive",
}
_ORDER = ("EV_1KM_RefSB", "EV_1KM_Emissive", "EV_250_Aggr1km_RefSB", "EV_500_Aggr1km_RefSB")
_LONG_NAMES = {
    "EV_250_Aggr1km_RefSB": "Earth View 250M Aggregated 1km Reflective Solar Bands",
    "EV_500_Aggr1km_RefSB": "Earth View 500M Aggregated 1km Reflective Solar Bands",
    "EV_1KM_RefSB": "Earth View 1KM Reflective Solar Bands",
    "EV_1KM_Emissive": "Earth View 1KM Emissive Bands",
    BAND26: "Earth View Band 26",
}


def _float32(values: Sequence[float]) -> Any:
    return np.array(values, np.float32)


def _band_attributes(sds: str, names: Sequence[str]) -> dict[str, Any]:
    radiance = [calibration(name, "radiance") for name in names]
    attributes: dict[str, Any] = {
        "units": "none",
        "valid_range": np.array([0, MAX_VALID_COUNT], np.uint16),
        "_FillValue": np.uint16(FILL),
        "long_name": f"{_LONG_NAMES[sds]} Scaled Integers",
    }
    if sds != BAND26:
        attributes["band_names"] = ",".join(names)
    attributes |= {
        "radiance_scales": _float32([scale for scale, _ in radiance]),
        "radiance_offsets": _float32([offset for _, offset in radiance]),
        "radiance_units": "Watts/m^2/micrometer/steradian",
    }
    if sds == EMISSIVE_SDS:
        return attributes
    reflectance = [calibration(name, "reflectance") for name in names]
    offsets = _float32([offset for _, offset in reflectance])
    counts = COUNTS_SCALES[band_of(names[0]).sds]
    return attributes | {
        "reflectance_scales": _float32([scale for scale, _ in reflectance]),
        "reflectance_offsets": offsets,
        "reflectance_units": "none",
        "corrected_counts_scales": _float32([counts] * len(names)),
        "corrected_counts_offsets": offsets,
        "corrected_counts_units": "counts",
    }


def _uncertainty_attributes(sds: str, names: Sequence[str]) -> dict[str, Any]:
    scales = [uncertainty_scale(name) for name in names]
    return {
        "long_name": f"{_LONG_NAMES[sds]} Uncertainty Indexes",
        "units": "none",
        "valid_range": np.array([0, 15], np.uint8),
        "_FillValue": np.uint8(UNCERTAINTY_FILL),
        "specified_uncertainty": _float32([specified for specified, _ in scales]),
        "scaling_factor": _float32([factor for _, factor in scales]),
        "uncertainty_units": "percent",
    }


def _band_fields(sds: str, names: Sequence[str]) -> list[SwathField]:
    dims = (LINES, PIXELS) if sds == BAND26 else (BAND_DIMS[sds], LINES, PIXELS)
    fields = [
        SwathField(name=sds, type="uint16", dims=dims, attributes=_band_attributes(sds, names)),
        SwathField(name=f"{sds}_Uncert_Indexes", type="uint8", dims=dims,
                   attributes=_uncertainty_attributes(sds, names)),
    ]  # fmt: skip
    if sds in AGGREGATED:
        about = {
            "long_name": f"{_LONG_NAMES[sds]} Number of Samples Used in Aggregation",
            "units": "none",
            "valid_range": np.array([0, AGGREGATED[sds]], np.int8),
            "_FillValue": np.int8(-1),
        }
        fields.append(
            SwathField(name=f"{sds}_Samples_Used", type="int8", dims=dims, attributes=about)
        )
    return fields


def _tie_field(name: str, kind: str, about: dict[str, Any]) -> SwathField:
    places = {"line_numbers": "3,8", "frame_numbers": "3,8,13,..."}
    return SwathField(name=name, type=kind, dims=TIES, attributes={**about, **places})


def _position(name: str, units: str, limit: float) -> SwathField:
    about = {
        "units": units,
        "valid_range": _float32([-limit, limit]),
        "_FillValue": np.float32(-999.0),
    }
    return _tie_field(name, "float32", about)


def angle_attributes(low: int, high: int) -> dict[str, Any]:
    """Attributes of an angle stored as int16 hundredths of a degree."""
    return {
        "units": "degrees",
        "valid_range": np.array([low, high], np.int16),
        "_FillValue": np.int16(-32767),
        "scale_factor": np.float64(0.01),
    }


HEIGHT_ATTRIBUTES = {
    "units": "meters",
    "valid_range": np.array([-400, 10000], np.int16),
    "_FillValue": np.int16(-32767),
}
RANGE_ATTRIBUTES = {
    "units": "meters",
    "valid_range": np.array([27000, 65535], np.uint16),
    "_FillValue": np.uint16(0),
    "scale_factor": np.float64(25.0),
}
GFLAGS_ATTRIBUTES = {
    "_FillValue": np.uint8(255),
    "Bit 7(MSB)": "1 = invalid input data",
    "Bit 6": "1 = no ellipsoid intersection",
    "Bit 5": "1 = no valid terrain data",
    "Bit 4": "1 = DEM missing or of inferior quality",
    "Bit 3": "1 = invalid sensor range",
}


def l1b_swath(shape: tuple[int, int], *, bands: dict[str, tuple[str, ...]]) -> Swath:
    """The swath of a granule.

    Args:
        shape: Lines and pixels.
        bands: By SDS in the file, its bands; all of `SDS_BANDS` in a real granule.
    """
    rows, columns = tie_shape(*shape)
    data = [found for sds in _ORDER if sds in bands for found in _band_fields(sds, bands[sds])]
    data += [
        _tie_field("Height", "int16", HEIGHT_ATTRIBUTES),
        _tie_field("SensorZenith", "int16", angle_attributes(0, 18000)),
        _tie_field("SensorAzimuth", "int16", angle_attributes(-18000, 18000)),
        _tie_field("Range", "uint16", RANGE_ATTRIBUTES),
        _tie_field("SolarZenith", "int16", angle_attributes(0, 18000)),
        _tie_field("SolarAzimuth", "int16", angle_attributes(-18000, 18000)),
        SwathField(name="gflags", type="uint8", dims=TIES, attributes=GFLAGS_ATTRIBUTES),
    ]
    data += [
        SwathField(name=BAND_DIMS[sds], type="float32", dims=(BAND_DIMS[sds],))
        for sds in SDS_BANDS
        if sds in bands
    ]
    data += _band_fields(BAND26, ("26",))
    return Swath(
        name="MODIS_SWATH_Type_L1B",
        sizes={
            **{BAND_DIMS[sds]: len(bands[sds]) for sds in SDS_BANDS if sds in bands},
            LINES: shape[0], PIXELS: shape[1], TIES[0]: rows, TIES[1]: columns,
        },
        maps=((TIES[0], LINES, 2, 5), (TIES[1], PIXELS, 2, 5)),
        geolocation=(
            _position("Latitude", "degrees_north", 90.0),
            _position("Longitude", "degrees_east", 180.0),
        ),
        data=data,
    )  # fmt: skip
