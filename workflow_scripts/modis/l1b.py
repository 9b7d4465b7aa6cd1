"""Read MODIS Level-1B 1 km granules (MOD021KM, MYD021KM).

Calibration as in the MODIS Level 1B Product User's Guide: (count − offset) · scale, valid where
the count lies in the valid range and the uncertainty index is below 15.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import (
    BAD_UNCERTAINTY,
    FIRST_RESERVED_COUNT,
    OUT_OF_RANGE_COUNT,
    UNCERTAIN,
    UNCERTAIN_COUNT,
    VALID,
    Band,
    band,
    reason_table,
)
from workflow_scripts.modis.companions import check_identity
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, tie_shape
from workflow_scripts.modis.hdf4 import Hdf4File, open_hdf4
from workflow_scripts.modis.products import L1B, ProductName, parse_name

Quantity = Literal["counts", "radiance", "reflectance", "brightness_temperature"]
UNITS: dict[str, str] = {
    "counts": "1",
    "radiance": "W m-2 sr-1 µm-1",
    "reflectance": "1",
    "brightness_temperature": "K",
}


@dataclass(frozen=True, kw_only=True)
class Counts:
    """A granule as stored: value = (count − offset) · scale where a pixel has one.

    `counts` uint16 and `uncertainty` uint8 (index, 15 and above is bad) are (band, y, x); `scale`
    and `offset` float64 (band,), `valid_range` (band, 2); `latitude`, `longitude` and
    `solar_zenith` float32 in degrees at the 5 km tie points, NaN where unknown.
    """

    path: Path
    name: ProductName
    bands: tuple[str, ...]
    counts: NDArray[np.uint16]
    uncertainty: NDArray[np.uint8]
    valid_range: NDArray[np.int64]
    scale: NDArray[np.float64]
    offset: NDArray[np.float64]
    latitude: NDArray[np.float32]
    longitude: NDArray[np.float32]
    solar_zenith: NDArray[np.float32]

    @property
    def reason(self) -> NDArray[np.uint8]:
        """(band, y, x) why a pixel has no value: index into `bands.REASONS`, 0 where it has one."""
        reason = np.empty(self.counts.shape, np.uint8)
        for row, (low, high) in enumerate(self.valid_range.tolist()):
            reason[row] = reason_table((low, high))[self.counts[row]]
        reason[(reason == VALID) & (self.uncertainty >= BAD_UNCERTAINTY)] = UNCERTAIN
        return reason

    def mark(self) -> NDArray[np.uint16]:
        """The counts, changed in place so that they tell alone where there is no value.

        Where the uncertainty is bad they become 65501, outside the valid range 65502 (codes that
        MODIS leaves free); all other counts stay.
        """
        for plane, indexes, (low, high) in zip(
            self.counts, self.uncertainty, self.valid_range.tolist(), strict=True
        ):
            if low > 0:
                plane[plane < low] = OUT_OF_RANGE_COUNT
            valueless = plane > high
            plane[valueless & (plane < FIRST_RESERVED_COUNT)] = OUT_OF_RANGE_COUNT
            plane[(indexes >= BAD_UNCERTAINTY) & ~valueless] = UNCERTAIN_COUNT
        return self.counts


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
    try:
        return np.atleast_1d(np.asarray(attributes[attribute], np.float64))
    except ValueError:
        raise UserError(
            f"{file.path}: attribute {attribute} of SDS {sds} is {attributes[attribute]!r}, "
            "expected numbers; the granule is damaged, get it again"
        ) from None


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


def _limits(file: Hdf4File, sds: str) -> NDArray[np.float64]:
    """The smallest and the largest count that is a value."""
    limits = _numbers(file, sds, "valid_range")
    if limits.shape != (2,):
        raise UserError(
            f"{file.path}: valid_range of SDS {sds} is {limits.tolist()}, expected the smallest "
            "and the largest count; the granule is damaged, get it again"
        )
    return limits


def _shape(file: Hdf4File, wanted: Sequence[Band]) -> tuple[int, int]:
    """Lines and pixels of the bands and their uncertainty indexes, which must agree."""
    names = [f"{found.sds}{end}" for found in wanted for end in ("", "_Uncert_Indexes")]
    shapes = {name: file.shapes[name] for name in names if name in file.shapes}
    planes = {shape[1:] for shape in shapes.values()}
    if len(planes) > 1 or any(len(shape) != 3 for shape in shapes.values()):
        raise UserError(f"{file.path}: SDS of different shapes, {shapes}; expected (band, y, x)")
    lines, pixels = planes.pop() if planes else (0, 0)  # a missing SDS is told when it is read
    return lines, pixels


def _read_ties(
    file: Hdf4File, name: str, *, shape: tuple[int, int], limits: tuple[float, float]
) -> NDArray[np.float32]:
    """A 5 km array in degrees, NaN outside the limits."""
    values = file.read(name)
    expected = tie_shape(*shape)
    if shape[0] % LINES_PER_SCAN or values.shape != expected:
        raise UserError(
            f"{file.path}: {name} is {values.shape} for {shape[0]} × {shape[1]} pixels; expected "
            f"{expected} and whole scans of {LINES_PER_SCAN} lines"
        )
    scale = np.float32(file.attributes(name).get("scale_factor", 1.0))
    degrees = values.astype(np.float32) * scale
    known = (degrees >= limits[0]) & (degrees <= limits[1])
    return np.where(known, degrees, np.float32(np.nan))


_TIES = {"Latitude": (-90.0, 90.0), "Longitude": (-180.0, 180.0), "SolarZenith": (0.0, 180.0)}


def read_counts(path: Path, bands: Sequence[str], *, quantity: str = "radiance") -> Counts:
    """Read the stored counts of some bands, with what turns them into a quantity.

    Args:
        path: A granule under its original file name.
        bands: Band names (`1` … `36`, `13lo`, `13hi`, `14lo`, `14hi`), in the order wanted.
        quantity: `radiance` or `reflectance` give its scale and offset, `brightness_temperature`
            those of the radiance, `counts` 1 and 0.

    Raises:
        UserError: Wrong name, band or quantity; not HDF4; truncated; an SDS or attribute missing;
            metadata of another product or time than the name.
    """
    check_quantity(bands, quantity)
    name = parse_name(path)
    if name.product != L1B:
        raise UserError(f"{path}: {name.short_name} holds no bands; expected MOD021KM or MYD021KM")
    wanted = [band(text) for text in bands]
    with open_hdf4(path) as file:
        check_identity(file, name)
        shape = _shape(file, wanted)
        counts = np.empty((len(bands), *shape), np.uint16)
        uncertainty = np.empty((len(bands), *shape), np.uint8)
        scale, offset = np.empty(len(bands)), np.empty(len(bands))
        valid_range = np.empty((len(bands), 2), np.int64)
        for sds in dict.fromkeys(found.sds for found in wanted):
            rows = [row for row, found in enumerate(wanted) if found.sds == sds]
            planes = _planes(file, sds, [wanted[row] for row in rows])
            scale[rows], offset[rows] = _calibration(file, sds, planes=planes, quantity=quantity)
            valid_range[rows] = _limits(file, sds)
            for stored, of in ((counts, sds), (uncertainty, f"{sds}_Uncert_Indexes")):
                pairs = zip(planes, rows, strict=True)
                file.read_planes(of, {plane: stored[row] for plane, row in pairs})
        ties = [_read_ties(file, sds, shape=shape, limits=_TIES[sds]) for sds in _TIES]
    return Counts(
        path=Path(path), name=name, bands=tuple(bands), counts=counts, uncertainty=uncertainty,
        valid_range=valid_range, scale=scale, offset=offset,
        latitude=ties[0], longitude=ties[1], solar_zenith=ties[2],
    )  # fmt: skip
