"""Write the level-2 cloud products of a synthetic granule: MOD35_L2 and MOD06_L2."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.companion_writer import DAY_ZENITH, position_field, write_companion
from workflow_scripts.modis.granule_writer import stored_angle
from workflow_scripts.modis.hdfeos import Swath, SwathField
from workflow_scripts.modis.swath_geometry import SwathGeometry

# Bits 1–2 of the cloud mask, and bits 6–7: what lies below.
CLOUDY, UNCERTAIN, PROBABLY_CLEAR, CLEAR = 0, 1, 2, 3
WATER, COASTAL, DESERT, LAND = 0, 1, 2, 3
UNDETERMINED = 255
_FINE = ("Cell_Along_Swath_1km", "Cell_Across_Swath_1km")
_COARSE = ("Cell_Along_Swath_5km", "Cell_Across_Swath_5km")


def cloud_byte(
    state: NDArray[np.uint8], *, surface: NDArray[np.uint8] | int, day: NDArray[np.bool_] | bool
) -> NDArray[np.int8]:
    """Byte 0 of the cloud mask: determined, cloud state, day, no glint, no snow, surface.

    Args:
        state: CLOUDY, UNCERTAIN, PROBABLY_CLEAR, CLEAR, or UNDETERMINED (a byte of 0).
        surface: WATER, COASTAL, DESERT or LAND.
        day: Whether the sun is up.
    """
    byte = 1 | (state & 3) << 1 | np.asarray(day, np.uint8) << 3 | 0b110000
    byte = byte | np.asarray(surface, np.uint8) << 6
    return np.where(state == UNDETERMINED, 0, byte).astype(np.uint8).view(np.int8)


def write_cloud_mask(
    path: Path, state: NDArray[np.uint8], *, geometry: SwathGeometry,
    surface: NDArray[np.uint8] | int = WATER, level: int = 1,
) -> None:  # fmt: skip
    """Write a MOD35_L2 (MYD35_L2) file; bytes 1 to 5 of the mask, its single tests, are 0.

    Args:
        path: The file, under its product's name.
        state: (lines, pixels) cloud states as of `cloud_byte`.
        geometry: The swath.
        surface: (lines, pixels), or one for all.
        level: Of deflate.

    Raises:
        UserError: Not the name of a MODIS product.
    """
    mask = np.zeros((6, *geometry.shape), np.int8)
    mask[0] = cloud_byte(state, surface=surface, day=_day(geometry))
    field = SwathField(
        name="Cloud_Mask",
        type="int8",
        dims=("Byte_Segment", *_FINE),
        attributes=_about("MODIS Cloud Mask and Spectral Test Results", (0, -1), np.int8(0)),
    )
    segment = SwathField(name="Byte_Segment", type="int32", dims=("Byte_Segment",))
    _write_level_2(
        path,
        "mod35",
        geometry,
        sizes={"Byte_Segment": 6},
        fields=(segment, field),
        values={"Cloud_Mask": mask, "Byte_Segment": np.arange(1, 7, dtype=np.int32)},
        level=level,
    )


def write_cloud_product(
    path: Path, state: NDArray[np.uint8], *, geometry: SwathGeometry,
    thickness: NDArray[np.floating], radius: NDArray[np.floating],
    pressure: NDArray[np.floating], surface: NDArray[np.uint8] | int = WATER, level: int = 1,
) -> None:  # fmt: skip
    """Write a MOD06_L2 (MYD06_L2) file: the mask's byte 0 again, and properties of clouds.

    Args:
        path: The file, under its product's name.
        state: (lines, pixels) cloud states as of `cloud_byte`; properties are fill where the pixel
            is not CLOUDY.
        geometry: The swath.
        thickness: Optical thickness, up to 150.
        radius: Effective radius, µm.
        pressure: Of the cloud's top, hPa.
        surface: As of `cloud_byte`.
        level: Of deflate.

    Raises:
        UserError: Not the name of a MODIS product.
    """
    mask = np.zeros((*geometry.shape, 2), np.int8)
    mask[..., 0] = cloud_byte(state, surface=surface, day=_day(geometry))
    cloudy = state == CLOUDY
    values: dict[str, NDArray[Any]] = {"Cloud_Mask_1km": mask}
    fields = []
    for name, given, scale, largest, fill, units in (
        ("cloud_top_pressure_1km", pressure, 0.1, 11000, -999, "hPa"),
        ("Cloud_Effective_Radius", radius, 0.01, 10000, -9999, "micron"),
        ("Cloud_Optical_Thickness", thickness, 0.01, 15000, -9999, "none"),
    ):
        stored = np.clip(np.rint(given / scale), 0, largest)
        values[name] = np.where(cloudy, stored, fill).astype(np.int16)
        about = _about(name.replace("_", " "), (0, largest), np.int16(fill), scale, units)
        fields.append(SwathField(name=name, type="int16", dims=_FINE, attributes=about))
    bytes_ = "Cloud_Mask_1km_Num_Bytes"
    about = _about("MODIS Cloud Mask, L2 MOD06 QA Plan", (0, -1), np.int8(0))
    fields.append(
        SwathField(name="Cloud_Mask_1km", type="int8", dims=(*_FINE, bytes_), attributes=about)
    )
    _write_level_2(
        path, "mod06", geometry, sizes={bytes_: 2}, fields=fields, values=values, level=level
    )


def _day(geometry: SwathGeometry) -> NDArray[np.bool_]:
    """(lines, 1) whether the sun is up at nadir."""
    nadir = geometry.view(np.arange(geometry.shape[0]), [geometry.shape[1] // 2])
    return nadir.solar_zenith < DAY_ZENITH


def _about(
    text: str, valid: tuple[int, int], fill: np.integer[Any], scale: float = 1.0,
    units: str = "none",
) -> dict[str, Any]:  # fmt: skip
    """Attributes of a level-2 field: value = scale · (stored − offset)."""
    return {
        "valid_range": np.array(valid, fill.dtype),
        "_FillValue": fill,
        "long_name": text,
        "units": units,
        "scale_factor": np.float64(scale),
        "add_offset": np.float64(0.0),
        "Parameter_Type": "Output",
        "Geolocation_Pointer": "External MODIS geolocation product",
    }


def _write_level_2(
    path: Path, name: str, geometry: SwathGeometry, *, sizes: Mapping[str, int],
    fields: Sequence[SwathField], values: Mapping[str, NDArray[Any]], level: int,
) -> None:  # fmt: skip
    """A level-2 file: its fields, and positions and angles every 5 km (270 across, not 271)."""
    lines, pixels = geometry.shape
    view = geometry.view(geometry.tie_rows, geometry.tie_columns[: pixels // 5])
    angles = {
        "Solar_Zenith": view.solar_zenith,
        "Solar_Azimuth": view.solar_azimuth,
        "Sensor_Zenith": view.sensor_zenith,
        "Sensor_Azimuth": view.sensor_azimuth,
    }
    swath = Swath(
        name=name,
        sizes={
            _COARSE[0]: lines // 5, _COARSE[1]: pixels // 5, _FINE[0]: lines, _FINE[1]: pixels,
            **sizes,
        },
        maps=((_COARSE[1], _FINE[1], 2, 5), (_COARSE[0], _FINE[0], 2, 5)),
        geolocation=[position_field(field, _COARSE) for field in ("Latitude", "Longitude")],
        data=[
            *(SwathField(name=field, type="int16", dims=_COARSE, attributes=_about(
                field.replace("_", " ") + " Angle", (-18000, 18000), np.int16(-32767), 0.01,
                "degrees")) for field in angles),
            *fields,
        ],
    )  # fmt: skip
    stored: dict[str, NDArray[Any]] = {
        "Latitude": view.latitude.astype(np.float32),
        "Longitude": view.longitude.astype(np.float32),
        **{field: stored_angle(degrees) for field, degrees in angles.items()},
        **values,
    }
    own = {
        "Number_of_Instrument_Scans": np.int32(lines // 10),
        "Maximum_Number_of_1km_Frames": np.int32(pixels),
        "title": f"synthetic {name}",
    }
    parameters = [field.name for field in fields]
    write_companion(path, swath, stored, view=view, parameters=parameters, own=own, level=level)
