"""Write synthetic MOD021KM and MYD021KM granules in the layout of real ones, whole or cropped."""

from collections.abc import Collection, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BAD_UNCERTAINTY, EMISSIVE_SDS, MAX_VALID_COUNT, SDS_BANDS
from workflow_scripts.modis.bands import band as band_of
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, tie_shape
from workflow_scripts.modis.hdfeos import write_swath
from workflow_scripts.modis.l1b_calibration import FILL
from workflow_scripts.modis.l1b_layout import (
    AGGREGATED,
    BAND26,
    BAND_DIMS,
    UNCERTAINTY_FILL,
    l1b_swath,
)
from workflow_scripts.modis.l1b_quality import CALIBRATION_QUALITY, day_scans, quality_attributes
from workflow_scripts.modis.l1b_scans import band_numbers, quality_arrays, scan_table
from workflow_scripts.modis.odl import archive_metadata, core_metadata, file_name
from workflow_scripts.modis.products import L1B, ProductName, parse_name
from workflow_scripts.modis.swath_geometry import SwathGeometry, View

Counts = Mapping[str, NDArray[np.uint16]]
_COLLECTION = "061"


def granule_file_name(platform: str, time: datetime, *, production: str, product: str = L1B) -> str:
    """`MOD021KM.A2026001.0005.061.<production>.hdf` (MYD021KM: Aqua); production has 13 digits."""
    return file_name(ProductName(product, platform, time, _COLLECTION, production))


def stored_angle(degrees: NDArray[np.floating]) -> NDArray[np.int16]:
    """Angles as int16 hundredths of a degree; −32767, the fill value, for NaN."""
    known = np.isfinite(degrees)
    return np.where(known, np.rint(np.where(known, degrees, 0) * 100), -32767).astype(np.int16)


def view_fields(view: View) -> dict[str, NDArray[Any]]:
    """The stored angles, range (25 m) and height (sea level) of a view, by the names of MODIS."""
    return {
        "SensorZenith": stored_angle(view.sensor_zenith),
        "SensorAzimuth": stored_angle(view.sensor_azimuth),
        "SolarZenith": stored_angle(view.solar_zenith),
        "SolarAzimuth": stored_angle(view.solar_azimuth),
        "Range": np.minimum(np.rint(view.range_ / 25.0), 65535).astype(np.uint16),
        "Height": np.zeros(view.latitude.shape, np.int16),
        "gflags": np.zeros(view.latitude.shape, np.uint8),
    }


def tie_fields(geometry: SwathGeometry) -> dict[str, Any]:
    """The arguments `latitude`, `longitude` and `angles` of `write_granule` for a swath."""
    view = geometry.view(geometry.tie_rows, geometry.tie_columns)
    return {"latitude": view.latitude, "longitude": view.longitude, "angles": view_fields(view)}


def write_granule(
    path: Path,
    counts: Counts,
    *,
    latitude: NDArray[np.floating],
    longitude: NDArray[np.floating],
    angles: Mapping[str, NDArray[Any]] | None = None,
    uncertainty: Mapping[str, NDArray[np.uint8]] | None = None,
    omit: Collection[str] = (),
    level: int = 1,
) -> None:
    """Write one granule; the same values and file name give the same bytes.

    Args:
        path: The file, named by `granule_file_name`; the name gives platform and time.
        counts: By band, (10·scans, pixels) counts including reserved ones; all bands of the four
            SDS that are absent hold fill.
        latitude: In degrees at the 5 km tie points, (2·scans, about pixels / 5); NaN is fill.
        longitude: The same.
        angles: The stored 5 km arrays of `view_fields`; those absent hold fill.
        uncertainty: By band, uncertainty indexes; where absent 0, 15 under reserved counts, and
            255 under fill.
        omit: Names of SDS, and of bands, that the file shall lack (no real file lacks any).
        level: Of deflate.

    Raises:
        UserError: An unknown band, shapes that differ, lines that are no multiple of 10, or not
            the name of a granule.
    """
    name = parse_name(path)
    shape = _shape(path, counts, uncertainty or {})
    for ties in (latitude, longitude, *(angles or {}).values()):
        if np.shape(ties) != tie_shape(*shape):
            raise UserError(f"{path}: 5 km arrays must be {tie_shape(*shape)}, not {ties.shape}")
    bands = {
        sds: tuple(one for one in names if one not in omit)
        for sds, names in SDS_BANDS.items()
        if sds not in omit
    }
    values = _Values(shape, counts, uncertainty or {}, bands, latitude, longitude, angles or {})
    day = day_scans(counts)
    nadir = {
        field: _at_nadir(stored, scale)
        for field, stored, scale in (
            ("Latitude", latitude, 1.0),
            ("Longitude", longitude, 1.0),
            ("SolarAzimuth", values.angle("SolarAzimuth"), 0.01),
            ("SolarZenith", values.angle("SolarZenith"), 0.01),
        )
    }
    mode = "Day" if day.all() else "Both" if day.any() else "Night"
    write_swath(
        path,
        l1b_swath(shape, bands=bands),
        values,
        attributes={
            "CoreMetadata.0": core_metadata(
                name,
                latitude=latitude,
                longitude=longitude,
                day_night=mode,
                parameters=("EV_1KM_RefSB", EMISSIVE_SDS),
                additional=CALIBRATION_QUALITY,
            ),
            "ArchiveMetadata.0": archive_metadata(name, latitude=latitude, longitude=longitude),
            **quality_attributes(counts),
            "Orbweaver": "synthetic granule: no observation",
        },
        others=quality_arrays(day.size, bands=bands),
        tables=[scan_table(name.time, day, frames=shape[1], nadir=nadir)],
        level=level,
    )


def _shape(path: Path, counts: Counts, uncertainty: Mapping[str, Any]) -> tuple[int, int]:
    for name in [*counts, *uncertainty]:
        band_of(name)
    shapes = {np.shape(plane) for plane in [*counts.values(), *uncertainty.values()]}
    if len(shapes) != 1 or len(shape := shapes.pop()) != 2 or shape[0] % LINES_PER_SCAN:
        raise UserError(
            f"{path}: a granule needs bands of one shape, a multiple of {LINES_PER_SCAN} lines × "
            f"pixels; got {sorted(np.shape(plane) for plane in counts.values())}"
        )
    return shape


def _at_nadir(ties: NDArray[Any], scale: float) -> NDArray[np.float64]:
    """(scans,) the first tie line of each scan at the middle of the swath, NaN where it is fill."""
    middle = ties[::2, ties.shape[1] // 2]
    return np.where(middle == -32767, np.nan, middle * scale)


class _Values:
    """The array of each field by its name, made when it is asked for: all at once are 300 MB."""

    def __init__(
        self, shape: tuple[int, int], counts: Counts,
        uncertainty: Mapping[str, NDArray[np.uint8]], bands: Mapping[str, tuple[str, ...]],
        latitude: NDArray[np.floating], longitude: NDArray[np.floating],
        angles: Mapping[str, NDArray[Any]],
    ) -> None:  # fmt: skip
        self._absent = np.full(shape, FILL, np.uint16)
        self._counts, self._uncertainty, self._angles = counts, uncertainty, angles
        self._positions = {"Latitude": latitude, "Longitude": longitude}
        self._planes = {**bands, BAND26: ("26",)}
        self._numbers = {BAND_DIMS[sds]: names for sds, names in bands.items()}

    def __call__(self, name: str) -> NDArray[Any]:
        sds = name.removesuffix("_Uncert_Indexes").removesuffix("_Samples_Used")
        if sds in self._planes:
            make = self._of_band if name == sds else (
                self._index_of_band if name.endswith("Indexes") else self._samples_of_band
            )  # fmt: skip
            planes = [make(one) for one in self._planes[sds]]
            return planes[0] if sds == BAND26 else np.stack(planes)
        if name in self._positions:
            ties = self._positions[name]
            return np.where(np.isfinite(ties), ties, -999.0).astype(np.float32)
        if name in self._numbers:
            return band_numbers(self._numbers[name])
        return self.angle(name)

    def angle(self, name: str) -> NDArray[Any]:
        """A stored 5 km array, fill where none was given."""
        ties = self._positions["Latitude"].shape
        absent = {"Range": np.uint16(0), "gflags": np.uint8(255)}.get(name, np.int16(-32767))
        return self._angles.get(name, np.full(ties, absent))

    def _of_band(self, band: str) -> NDArray[np.uint16]:
        return self._counts.get(band, self._absent)

    def _index_of_band(self, band: str) -> NDArray[np.uint8]:
        if band in self._uncertainty:
            return self._uncertainty[band]
        plane = self._of_band(band)
        indexes = np.where(plane > MAX_VALID_COUNT, BAD_UNCERTAINTY, 0).astype(np.uint8)
        indexes[plane == FILL] = UNCERTAINTY_FILL
        return indexes

    def _samples_of_band(self, band: str) -> NDArray[np.int8]:
        """All samples where there is a value, none under reserved counts, fill (−1) under fill."""
        plane = self._of_band(band)
        used = np.where(plane > MAX_VALID_COUNT, 0, AGGREGATED[band_of(band).sds]).astype(np.int8)
        used[plane == FILL] = -1
        return used
