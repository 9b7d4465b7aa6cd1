"""MODIS file names: which product, satellite, time and version a file is."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import PurePath

from workflow_scripts.errors import UserError

L1B = "021KM"
GEOLOCATION = "03"
CLOUD_MASK = "35_L2"
CLOUD_PRODUCT = "06_L2"
COMPANIONS = (GEOLOCATION, CLOUD_MASK, CLOUD_PRODUCT)

# Groups: satellite, product, year and day, hour and minute, collection, time of production.
FILE_NAME = re.compile(
    r"(MOD|MYD)(021KM|03|35_L2|06_L2)\.A(\d{4}[0-3]\d\d)\.([0-2]\d[0-5]\d)"
    r"\.(\d{3})\.(\d{13})(?:\.NRT)?\.hdf"
)
PREFIX = {"Terra": "MOD", "Aqua": "MYD"}
_PLATFORM = {prefix: platform for platform, prefix in PREFIX.items()}


@dataclass(frozen=True)
class ProductName:
    """What a file name tells: product, platform, start (UTC), collection, time of production."""

    product: str
    platform: str
    time: datetime
    collection: str
    production: str

    @property
    def short_name(self) -> str:
        """Such as `MOD021KM` or `MYD35_L2`."""
        return PREFIX[self.platform] + self.product

    @property
    def iso_time(self) -> str:
        """Start as text, such as `2026-01-01T00:05:00Z`."""
        return self.time.strftime("%Y-%m-%dT%H:%M:%SZ")


def parse_name(path: PurePath | str) -> ProductName:
    """Read `M{O|Y}D{product}.A{YYYY}{DDD}.{HHMM}.{collection}.{13 digits}.hdf`.

    Raises:
        UserError: Another product, or not such a name.
    """
    expected = (
        "expected MOD or MYD, one of 021KM, 03, 35_L2, 06_L2, and "
        ".A<year><day of year>.<HHMM>.<collection>.<13 digits>.hdf"
    )
    found = FILE_NAME.fullmatch(PurePath(path).name)
    if found is None:
        raise UserError(f"{path}: not the name of a MODIS granule; {expected}")
    try:
        time = datetime.strptime(found[3] + found[4], "%Y%j%H%M").replace(tzinfo=UTC)
    except ValueError:
        raise UserError(f"{path}: no such day or time in the name; {expected}") from None
    return ProductName(found[2], _PLATFORM[found[1]], time, found[5], found[6])
