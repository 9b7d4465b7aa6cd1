"""A granule with its companions as an `xarray.Dataset` in physical units."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray
from numpy.typing import NDArray

from workflow_scripts.modis.bands import NO_TEMPERATURE, REASONS, VALID, band
from workflow_scripts.modis.calibration import brightness_temperature
from workflow_scripts.modis.companions import UNKNOWN, read_companions
from workflow_scripts.modis.detectors import dead_lines
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, spread, whole_positions
from workflow_scripts.modis.l1b import UNITS, Counts, read_counts


def _physical(
    stored: Counts, quantity: str, reason: NDArray[np.uint8]
) -> NDArray[np.float32]:  # fmt: skip
    """(band, y, x) in units of the quantity, NaN without a value; adds to the reasons."""
    values = np.empty(stored.counts.shape, np.float32)
    for row, name in enumerate(stored.bands):
        value = (stored.counts[row] - stored.offset[row]) * stored.scale[row]
        if quantity == "brightness_temperature":
            value = brightness_temperature(value, band=name, platform=stored.name.platform)
            reason[row][np.isnan(value) & (reason[row] == VALID)] = NO_TEMPERATURE
        values[row] = np.where(reason[row] == VALID, value, np.nan)
    return values


def read_granule(
    path: Path,
    bands: Sequence[str],
    *,
    quantity: str = "radiance",
    companions: Sequence[Path] = (),
) -> xarray.Dataset:
    """Read a granule in physical units.

    Args:
        path: A granule under its original file name.
        bands: Band names, in the order wanted.
        quantity: `counts`, `radiance`, `reflectance` (a fraction) or `brightness_temperature`.
        companions: Its MOD03, MOD35_L2 or MOD06_L2, if there.

    Returns:
        A dataset with dimensions (band, y, x): the quantity under its name (float32, computed in
        float64, NaN where there is no value; counts stay uint16 as stored) and `reason` (uint8, 0
        where there is a value). With a cloud mask, `cloudy` and `water` (y, x): 1 yes, 0 no, 255
        unknown. `dead_detector` (band, detector): 1 where the detector of lines l with l mod 10 =
        detector gives nothing. Coordinates: band names and `central_wavelength` (µm); `latitude`,
        `longitude` and `solar_zenith` (y, x) in degrees, those of MOD03, else interpolated from the
        5 km arrays; the start `time` (UTC). Attributes: platform, collection, granule, quantity,
        companions.

    Raises:
        UserError: As `read_counts` and `read_companions`.
    """
    stored = read_counts(path, bands, quantity=quantity)
    shape = stored.counts.shape[1:]
    beside = read_companions(companions, stored.name, shape=shape)
    reason = stored.reason
    dead = dead_lines(stored.counts).reshape(len(bands), -1, LINES_PER_SCAN).any(axis=1)
    values = stored.counts if quantity == "counts" else _physical(stored, quantity, reason)
    dims, plane = ("band", "y", "x"), ("y", "x")
    data: dict[str, Any] = {
        quantity: (dims, values, {"units": UNITS[quantity]}),
        "reason": (dims, reason, _flags(range(len(REASONS)), REASONS)),
    }
    data["dead_detector"] = (("band", "detector"), dead.astype(np.uint8))
    for name, mask in (("cloudy", beside.cloudy), ("water", beside.water)):
        if mask is not None:
            data[name] = (plane, mask, _flags((0, 1, UNKNOWN), ("no", "yes", "unknown")))
    latitude, longitude, zenith = beside.latitude, beside.longitude, beside.solar_zenith
    if latitude is None or longitude is None or zenith is None:
        latitude, longitude = whole_positions(stored.latitude, stored.longitude, shape)
        zenith = spread(stored.solar_zenith, shape).astype(np.float32)
    wavelengths = [band(text).wavelength for text in bands]
    return xarray.Dataset(
        data,
        coords={
            "band": list(stored.bands),
            "central_wavelength": ("band", wavelengths, {"units": "µm"}),
            "latitude": (plane, latitude, {"units": "degrees_north"}),
            "longitude": (plane, longitude, {"units": "degrees_east"}),
            "solar_zenith": (plane, zenith, {"units": "degrees"}),
            "time": np.datetime64(stored.name.time.replace(tzinfo=None), "ns"),
        },
        attrs={
            "platform": stored.name.platform, "collection": stored.name.collection,
            "granule": Path(path).name, "quantity": quantity,
            "companions": ", ".join(beside.products),
        },
    )  # fmt: skip


def _flags(codes: Sequence[int], meanings: Sequence[str]) -> dict[str, Any]:
    return {"flag_values": list(codes), "flag_meanings": ", ".join(meanings)}
