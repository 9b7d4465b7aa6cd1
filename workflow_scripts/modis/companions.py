"""Companions of a granule: geolocation (MOD03) and cloud mask (MOD35_L2, or its copy in MOD06_L2).

Bits of the cloud mask's first byte: 0 determined; 1–2 confidence, 0 being cloudy; 6–7 surface, 0
being water (MODIS Cloud Mask User's Guide). A pixel that is not determined has zeros in the other
bits too, so it is neither cloudy nor clear.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.hdf4 import Hdf4File, open_hdf4
from workflow_scripts.modis.products import (
    CLOUD_MASK,
    CLOUD_PRODUCT,
    COMPANIONS,
    GEOLOCATION,
    ProductName,
    parse_name,
)

UNKNOWN = 255  # in `cloudy` and `water`, where 1 is yes and 0 is no
# MOD03's Land/SeaMask: 0 shallow ocean, 3 shallow and 5 deep inland water, 6 and 7 ocean.
_WATER_CODES = (0, 3, 5, 6, 7)
_LAST_CODE = 7
_RANGE = {"date": "RANGEBEGINNINGDATE", "time": "RANGEBEGINNINGTIME", "name": "SHORTNAME"}


@dataclass(frozen=True, kw_only=True)
class Companions:
    """What the companions tell of a granule, each (lines, pixels), None where no file does.

    `latitude` and `longitude` float32 degrees, NaN where unknown; `solar_zenith` float32 degrees;
    `cloudy` and `water` uint8: 1 yes, 0 no, 255 unknown. `products` names what was read.
    """

    latitude: NDArray[np.float32] | None = None
    longitude: NDArray[np.float32] | None = None
    solar_zenith: NDArray[np.float32] | None = None
    cloudy: NDArray[np.uint8] | None = None
    water: NDArray[np.uint8] | None = None
    products: tuple[str, ...] = ()


def check_identity(file: Hdf4File, name: ProductName) -> None:
    """Refuse a file whose own metadata tell another product or start than its name.

    Raises:
        UserError: Says both.
    """
    text = file.text("CoreMetadata.0")
    told = {}
    for what, word in _RANGE.items():
        found = re.search(rf'OBJECT\s*=\s*{word}\b.*?VALUE\s*=\s*"([^"]*)"', text, re.DOTALL)
        told[what] = found[1] if found else None
    if told["name"] and told["name"] != name.short_name:
        raise UserError(
            f"{file.path}: its metadata say {told['name']}, its name {name.short_name}; is it the "
            "right product? Get it again"
        )
    if told["date"] and told["time"]:
        start = f"{told['date']} {told['time'][:5]}"
        if start != f"{name.time:%Y-%m-%d %H:%M}":
            raise UserError(
                f"{file.path}: its metadata say it begins at {start}, its name "
                f"{name.time:%Y-%m-%d %H:%M}; was it renamed? Get it again"
            )


def _check_partner(path: Path, granule: ProductName) -> ProductName:
    name = parse_name(path)
    if name.product not in COMPANIONS:
        raise UserError(f"{path}: no companion; expected MOD03, MOD35_L2 or MOD06_L2")
    if (name.platform, name.time) != (granule.platform, granule.time):
        raise UserError(
            f"{path}: a companion of {name.platform} at {name.iso_time}, but the granule is of "
            f"{granule.platform} at {granule.iso_time}"
        )
    return name


def _shaped(
    file: Hdf4File, name: str, values: NDArray[Any], shape: tuple[int, int]
) -> NDArray[Any]:
    if values.shape != shape:
        raise UserError(f"{file.path}: {name} is {values.shape}, the granule {shape}")
    return values


def _angle(file: Hdf4File, name: str, shape: tuple[int, int]) -> NDArray[np.float32]:
    stored = _shaped(file, name, file.read(name), shape)
    scale = np.float32(file.attributes(name).get("scale_factor", 0.01))
    return np.where((stored >= 0) & (stored <= 18000), stored * scale, np.float32(np.nan))


def _geolocation(file: Hdf4File, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    found: dict[str, NDArray[Any]] = {}
    for name, limit in (("Latitude", 90.0), ("Longitude", 180.0)):
        values = _shaped(file, name, file.read(name).astype(np.float32, copy=False), shape)
        values[~(np.abs(values) <= limit)] = np.nan
        found[name.lower()] = values
    found["solar_zenith"] = _angle(file, "SolarZenith", shape)
    surface = _shaped(file, "Land/SeaMask", file.read("Land/SeaMask"), shape)
    water = np.isin(surface, _WATER_CODES).astype(np.uint8)
    water[surface > _LAST_CODE] = UNKNOWN
    found["water"] = water
    return found


def _mask(file: Hdf4File, product: str, shape: tuple[int, int]) -> dict[str, NDArray[Any]]:
    if product == CLOUD_MASK:
        name = "Cloud_Mask"
        byte = np.empty(shape, np.int8)
        file.read_planes(name, {0: byte})
    else:
        name = "Cloud_Mask_1km"
        byte = file.read(name)[..., 0]
    byte = _shaped(file, name, byte, shape).view(np.uint8)
    determined = (byte & 1) == 1
    return {
        "cloudy": np.where(determined, (byte & 0b110) == 0, UNKNOWN).astype(np.uint8),
        "water": np.where(determined, (byte & 0b11000000) == 0, UNKNOWN).astype(np.uint8),
    }


def read_companions(
    paths: Sequence[Path], granule: ProductName, *, shape: tuple[int, int]
) -> Companions:
    """Read a granule's companions.

    The surface is the cloud mask's where there is one, else MOD03's. With MOD35_L2 the copy of the
    mask in MOD06_L2 is not read.

    Args:
        paths: At most one file of each product, under their original names.
        granule: Whose companions they must be.
        shape: Lines and pixels of the granule.

    Raises:
        UserError: Another product, platform or time, two of one product, or a file that is broken,
            of another shape, or not what its name says.
    """
    names = {path: _check_partner(Path(path), granule) for path in paths}
    by_product = {name.product: Path(path) for path, name in names.items()}
    if len(by_product) < len(names):
        raise UserError(f"{', '.join(map(str, paths))}: two companions of one product; give one")
    if CLOUD_MASK in by_product:
        by_product.pop(CLOUD_PRODUCT, None)
    found: dict[str, NDArray[Any]] = {}
    for product in (GEOLOCATION, CLOUD_MASK, CLOUD_PRODUCT):
        if product not in by_product:
            continue
        with open_hdf4(by_product[product]) as file:
            check_identity(file, names[by_product[product]])
            if product == GEOLOCATION:
                found |= _geolocation(file, shape)
            else:
                found |= _mask(file, product, shape)
    products = tuple(names[path].short_name for path in by_product.values())
    return Companions(**found, products=tuple(sorted(products)))
