"""Write companions of a synthetic granule: MOD03 here, MOD35_L2 and MOD06_L2 in `cloud_writer`.

Of each product the fields that readers of clouds and positions use, with the names, types, scales
and fill values of its Collection 6 file specification.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.granule_writer import view_fields
from workflow_scripts.modis.hdfeos import Swath, SwathField, write_swath
from workflow_scripts.modis.l1b_layout import (
    GFLAGS_ATTRIBUTES,
    HEIGHT_ATTRIBUTES,
    RANGE_ATTRIBUTES,
    angle_attributes,
)
from workflow_scripts.modis.odl import archive_metadata, core_metadata
from workflow_scripts.modis.products import parse_name
from workflow_scripts.modis.swath_geometry import SwathGeometry, View

_DEEP_OCEAN = 7
DAY_ZENITH = 85.0  # above it, the cloud mask takes its night path


def write_geolocation(
    path: Path, geometry: SwathGeometry, *, land_sea: NDArray[np.uint8] | None = None,
    level: int = 1,
) -> None:  # fmt: skip
    """Write a MOD03 (MYD03) file: positions and angles of every 1 km pixel.

    Args:
        path: The file, under its product's name.
        geometry: The swath.
        land_sea: (lines, pixels) codes: 0 shallow ocean, 1 land, 2 coast, 3 shallow inland water,
            4 ephemeral water, 5 deep inland water, 6 continental ocean, 7 deep ocean (the default).
        level: Of deflate.

    Raises:
        UserError: Not the name of a MODIS product.
    """
    view = geometry.view(np.arange(geometry.shape[0]), np.arange(geometry.shape[1]))
    dims = ("nscans*10", "mframes")
    ground = land_sea if land_sea is not None else np.full(geometry.shape, _DEEP_OCEAN, np.uint8)
    values: dict[str, NDArray[Any]] = {
        "Latitude": view.latitude.astype(np.float32),
        "Longitude": view.longitude.astype(np.float32),
        **view_fields(view),
        "Land/SeaMask": ground,
    }
    about: dict[str, dict[str, Any]] = {
        "Height": HEIGHT_ATTRIBUTES,
        "SensorZenith": angle_attributes(0, 18000),
        "SensorAzimuth": angle_attributes(-18000, 18000),
        "Range": RANGE_ATTRIBUTES,
        "SolarZenith": angle_attributes(0, 18000),
        "SolarAzimuth": angle_attributes(-18000, 18000),
        "Land/SeaMask": {
            "valid_range": np.array([0, 7], np.uint8),
            "_FillValue": np.uint8(221),
        },
        "gflags": GFLAGS_ATTRIBUTES,
    }
    swath = Swath(
        name="MODIS_Swath_Type_GEO",
        sizes=dict(zip(dims, geometry.shape, strict=True)),
        geolocation=[position_field(name, dims) for name in ("Latitude", "Longitude")],
        data=[
            SwathField(name=name, type=values[name].dtype.name, dims=dims, attributes=about[name])
            for name in about
        ],
    )
    scans = np.int32(geometry.shape[0] // 10)
    own = {"Number of Scans": scans, "Max Earth Frames": np.int32(geometry.shape[1])}
    write_companion(
        path, swath, values, view=view, parameters=("Geolocation",), own=own, level=level
    )


def position_field(name: str, dims: tuple[str, ...]) -> SwathField:
    """The field `Latitude` or `Longitude`, as every product has it."""
    limit = 90.0 if name == "Latitude" else 180.0
    about = {
        "units": "degrees_north" if name == "Latitude" else "degrees_east",
        "valid_range": np.array([-limit, limit], np.float32),
        "_FillValue": np.float32(-999.0),
    }
    return SwathField(name=name, type="float32", dims=dims, attributes=about)


def write_companion(
    path: Path, swath: Swath, values: Mapping[str, NDArray[Any]], *, view: View,
    parameters: Sequence[str], own: Mapping[str, Any], level: int,
) -> None:  # fmt: skip
    """Write a file of one swath with the texts and attributes that every product has.

    Args:
        path: The file, under its product's name.
        swath: Its layout.
        values: Its fields' arrays.
        view: Of any pixels of the swath that reach its corners.
        parameters: What the product measures.
        own: Attributes of its own.
        level: Of deflate.

    Raises:
        UserError: Not the name of a MODIS product.
    """
    name = parse_name(path)
    day = view.solar_zenith < DAY_ZENITH
    attributes = {
        "CoreMetadata.0": core_metadata(
            name,
            latitude=view.latitude,
            longitude=view.longitude,
            day_night="Day" if day.all() else "Both" if day.any() else "Night",
            parameters=parameters,
        ),
        "ArchiveMetadata.0": archive_metadata(
            name, latitude=view.latitude, longitude=view.longitude
        ),
        **own,
        "Orbweaver": "synthetic granule: no observation",
    }
    write_swath(path, swath, values.__getitem__, attributes=attributes, level=level)
