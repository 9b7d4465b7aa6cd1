"""Read MODIS Level-1B 1 km granules (MOD021KM, MYD021KM).

Calibration as in the MODIS Level 1B Product User's Guide: (count − offset) · scale, valid where
the count lies in the valid range and the uncertainty index is below 15.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

import numpy as np
import xarray
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BAD_UNCERTAINTY, REASONS, VALID, Band, band, reason_table
from workflow_scripts.modis.calibration import brightness_temperature
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, tie_indices, tie_shape
from workflow_scripts.modis.hdf4 import Hdf4File, open_hdf4

Quantity = Literal["counts", "radiance", "reflectance", "brightness_temperature"]
UNITS: dict[str, str] = {
    "counts": "1",
    "radiance": "W m-2 sr-1 µm-1",
    "reflectance": "1",
    "brightness_temperature": "K",
}
_NAME = re.compile(r"(MOD|MYD)021KM\.A(\d{7})\.(\d{4})\.(\d{3})\.(\d{13})(\.NRT)?\.hdf")


@dataclass(frozen=True)
class GranuleName:
    """What a granule's file name tells: platform, start (UTC) and collection."""

    platform: str
    time: datetime
    collection: str

    @property
    def iso_time(self) -> str:
        """Start as text, such as `2026-01-01T00:05:00Z`."""
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_name(path: Path) -> GranuleName:
    """Read `M{O|Y}D021KM.A{YYYY}{DDD}.{HHMM}.{collection}.{13 digits}.hdf`.

    Raises:
        UserError: Another product, or not such a name.
    """
    expected = "expected MOD021KM or MYD021KM.A<year><day of year>.<HHMM>.<collection>.<13 digits>"
    found = _NAME.fullmatch(Path(path).name)
    if found is None:
        raise UserError(f"{path}: not the name of a MODIS L1B 1 km granule; {expected}.hdf")
    try:
        time = datetime.strptime(found[2] + found[3], "%Y%j%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise UserError(f"{path}: no such day or time in the name; {expected}.hdf") from None
    return GranuleName("Terra" if found[1] == "MOD" else "Aqua", time, found[4])


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A granule as stored: value = (count − offset) · scale where `reason` is 0.

    `counts` uint16 and `reason` uint8 (index into `bands.REASONS`) are (band, y, x); `scale` and
    `offset` float64 (band,); `latitude` and `longitude` float32 in degrees at the 5 km tie points,
    NaN where unknown.
    """

    path: Path
    name: GranuleName
    bands: tuple[str, ...]
    counts: NDArray[np.uint16]
    reason: NDArray[np.uint8]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    latitude: NDArray[np.float32]
    longitude: NDArray[np.float32]


def check_quantity(bands: Sequence[str], quantity: str) -> None:
    """Refuse unknown bands and quantities, and those that do not go together.

    Raises:
        UserError: Says which.
    """
    if quantity not in UNITS:
        raise UserError(f"no quantity {quantity!r}; the quantities are {', '.join(UNITS)}")
    if not bands:
        raise UserError("no band given; name at least one MODIS band")
    wrong = {"reflectance": True, "brightness_temperature": False}.get(quantity)
    named = [name for name in bands if band(name).emissive == wrong]
    if named:
        kind = "emissive" if wrong else "reflective"
        raise UserError(
            f"band {', '.join(named)} has no {quantity}, being {kind}; leave it out or choose "
            "radiance, which every band has"
        )


def _planes(file: Hdf4File, sds: str, wanted: Sequence[Band]) -> list[int]:
    """Where the bands lie, by the file's own `band_names`."""
    names = str(file.attributes(sds).get("band_names", "")).split(",")
    missing = [found.name for found in wanted if found.name not in names]
    if missing:
        raise UserError(f"{file.path}: {sds} has no band {', '.join(missing)}, only {names}")
    return [names.index(found.name) for found in wanted]


def _numbers(file: Hdf4File, sds: str, attribute: str) -> NDArray[np.float64]:
    attributes = file.attributes(sds)
    if attribute not in attributes:
        raise UserError(f"{file.path}: SDS {sds} has no attribute {attribute}; is it an L1B file?")
    return np.atleast_1d(np.asarray(attributes[attribute], np.float64))


def _calibration(
    file: Hdf4File, sds: str, *, planes: list[int], quantity: str
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    if quantity == "counts":
        return np.ones(len(planes)), np.zeros(len(planes))
    stem = "reflectance" if quantity == "reflectance" else "radiance"
    scales = _numbers(file, sds, f"{stem}_scales")
    offsets = _numbers(file, sds, f"{stem}_offsets")
    if min(scales.size, offsets.size) <= max(planes):
        raise UserError(
            f"{file.path}: SDS {sds} has {scales.size} {stem}_scales and {offsets.size} offsets "
            f"for plane {max(planes)}; the granule is damaged, get it again"
        )
    return scales[planes], offsets[planes]


def _read_sds(
    file: Hdf4File, sds: str, *, planes: list[int]
) -> tuple[NDArray[np.uint16], NDArray[np.uint8]]:
    counts = file.read(sds, planes=planes)
    uncertainty = file.read(f"{sds}_Uncert_Indexes", planes=planes)
    if counts.dtype != np.uint16 or counts.ndim != 3 or uncertainty.shape != counts.shape:
        raise UserError(
            f"{file.path}: SDS {sds} is {counts.dtype} {counts.shape} with uncertainties "
            f"{uncertainty.shape}; expected uint16 (band, line, pixel) and the same shape"
        )
    low, high = _numbers(file, sds, "valid_range").astype(int)
    reason = reason_table((low, high))[counts]
    reason[(reason == VALID) & (uncertainty >= BAD_UNCERTAINTY)] = REASONS.index("uncertain")
    return counts, reason


def _read_position(file: Hdf4File, name: str, *, shape: tuple[int, int]) -> NDArray[np.float32]:
    values = file.read(name).astype(np.float32)
    expected = tie_shape(*shape)
    if shape[0] % LINES_PER_SCAN or values.shape != expected:
        raise UserError(
            f"{file.path}: {name} is {values.shape} for {shape[0]} × {shape[1]} pixels; expected "
            f"{expected} and whole scans of {LINES_PER_SCAN} lines"
        )
    limit = 90.0 if name == "Latitude" else 180.0
    return np.where(np.abs(values) <= limit, values, np.float32(np.nan))


def read_counts(path: Path, bands: Sequence[str], *, quantity: str = "radiance") -> Counts:
    """Read the stored counts of some bands, with what turns them into a quantity.

    Args:
        path: A granule under its original file name.
        bands: Band names (`1` … `36`, `13lo`, `13hi`, `14lo`, `14hi`), in the order wanted.
        quantity: `radiance` or `reflectance` give its scale and offset, `brightness_temperature`
            those of the radiance, `counts` 1 and 0.

    Raises:
        UserError: Wrong name, band or quantity; not HDF4; truncated; an SDS or attribute missing.
    """
    check_quantity(bands, quantity)
    name = parse_name(path)
    wanted = [band(text) for text in bands]
    with open_hdf4(path) as file:
        parts: dict[str, tuple[Any, ...]] = {}
        for sds in dict.fromkeys(found.sds for found in wanted):
            chosen = [found for found in wanted if found.sds == sds]
            planes = _planes(file, sds, chosen)
            scale, offset = _calibration(file, sds, planes=planes, quantity=quantity)
            counts, reason = _read_sds(file, sds, planes=planes)
            for row, found in enumerate(chosen):
                parts[found.name] = counts[row], reason[row], scale[row], offset[row]
        shapes = {part[0].shape for part in parts.values()}
        if len(shapes) > 1:
            raise UserError(f"{path}: bands of different shapes, {sorted(shapes)}")
        shape = shapes.pop()
        latitude = _read_position(file, "Latitude", shape=shape)
        longitude = _read_position(file, "Longitude", shape=shape)
    columns = list(zip(*(parts[text] for text in bands), strict=True))
    return Counts(
        path=Path(path), name=name, bands=tuple(bands), latitude=latitude, longitude=longitude,
        counts=np.stack(columns[0]), reason=np.stack(columns[1]), scale=np.array(columns[2]),
        offset=np.array(columns[3]),
    )  # fmt: skip


def read_granule(path: Path, bands: Sequence[str], *, quantity: str = "radiance") -> xarray.Dataset:
    """Read a granule in physical units.

    Args:
        path: A granule under its original file name.
        bands: Band names, in the order wanted.
        quantity: `counts`, `radiance`, `reflectance` (a fraction) or `brightness_temperature`.

    Returns:
        A dataset with dimensions (band, y, x): the quantity under its name (float32, computed in
        float64, NaN where there is no value; counts stay uint16 as stored) and `reason` (uint8, 0
        where there is a value); band names and nominal wavelengths (µm); latitude and longitude
        at the 5 km tie points (y_5km, x_5km), whose coordinates are their line and pixel; the
        start `time` (UTC), and the platform as an attribute.

    Raises:
        UserError: As `read_counts`.
    """
    stored = read_counts(path, bands, quantity=quantity)
    reason = stored.reason
    if quantity == "counts":
        values: NDArray[Any] = stored.counts
    else:
        values = np.empty(stored.counts.shape, np.float32)
        for row, name in enumerate(stored.bands):
            value = (stored.counts[row] - stored.offset[row]) * stored.scale[row]
            if quantity == "brightness_temperature":
                value = brightness_temperature(value, band=name, platform=stored.name.platform)
                cold = np.isnan(value) & (reason[row] == VALID)
                reason[row][cold] = REASONS.index("no temperature")
            values[row] = np.where(reason[row] == VALID, value, np.nan)
    dims, ties = ("band", "y", "x"), ("y_5km", "x_5km")
    flags = {"flag_values": list(range(len(REASONS))), "flag_meanings": ", ".join(REASONS)}

    return xarray.Dataset(
        {quantity: (dims, values, {"units": UNITS[quantity]}), "reason": (dims, reason, flags)},
        coords={
            "band": list(stored.bands),
            "wavelength": ("band", [band(text).wavelength for text in bands], {"units": "µm"}),
            "latitude": (ties, stored.latitude, {"units": "degrees_north"}),
            "longitude": (ties, stored.longitude, {"units": "degrees_east"}),
            "y_5km": tie_indices(stored.latitude.shape[0]),
            "x_5km": tie_indices(stored.latitude.shape[1]),
            "time": np.datetime64(stored.name.time.replace(tzinfo=None), "ns"),
        },
        attrs={
            "platform": stored.name.platform, "collection": stored.name.collection,
            "granule": Path(path).name, "quantity": quantity,
        },
    )  # fmt: skip
