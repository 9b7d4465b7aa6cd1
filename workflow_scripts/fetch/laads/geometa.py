"""Where and when of a day's granules, from the archive's text files of geographic metadata.

The files of geoMeta (described in the archive's geoMetaMODIS/README) hold a line a five-minute
granule: its flag of day (D), night (N) or both (B), which is the mode of the instrument, its bounds
in degrees, and its corners. Comment lines begin with `#`; the last of them names the columns.
"""

import csv
import math
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.archive import Reader, read_text
from workflow_scripts.modis.products import GEOLOCATION, PREFIX, parse_name

Box = tuple[float, float, float, float]  # west, south, east, north, degrees

FLAGS = {"day": "DB", "night": "NB", "any": "DNB"}
_BOUNDS = ("WestBoundingCoord", "SouthBoundingCoord", "EastBoundingCoord", "NorthBoundingCoord")
_NAME, _FLAG = "GranuleID", "DayNightFlag"


@dataclass(frozen=True, kw_only=True)
class Place:
    """Flag (D, N or B) and bounds of a granule."""

    flag: str
    box: Box


def day_address(url: str, collection: int, *, platform: str, day: date) -> str:
    """The address of a day's file."""
    name = f"{PREFIX[platform]}{GEOLOCATION}_{day}.txt"
    return f"{url.rstrip('/')}/geoMeta/{collection}/{platform.upper()}/{day:%Y}/{name}"


def read_places(
    client: Reader, url: str, collection: int, *, platform: str, day: date
) -> dict[datetime, Place]:
    """Where the granules of a day lie, by their start; nothing where the archive has no such file.

    Raises:
        UserError: The file has no such columns, or the token is refused.
    """
    address = day_address(url, collection, platform=platform, day=day)
    text = read_text(client, address)
    return {} if text is None else parse_places(text.splitlines(), address)


def parse_places(lines: Iterable[str], address: str) -> dict[datetime, Place]:
    """Read the lines of a file; of several lines of one granule the last version counts.

    Lines whose values cannot be read are left out: their granules count as not placed.

    Args:
        lines: The file's.
        address: For messages.

    Raises:
        UserError: No line names the columns that are needed.
    """
    names: list[str] = []
    newest: dict[datetime, tuple[str, Place]] = {}
    for line in lines:
        cells = [cell.strip() for cell in next(csv.reader([line.lstrip("# \ufeff")]), [])]
        if _NAME in cells:
            names = cells
            continue
        if line.startswith("#") or not cells:
            continue
        if not {_NAME, _FLAG, *_BOUNDS} <= set(names):
            raise UserError(
                f"{address}: expected a line that names the columns, {_NAME}, {_FLAG}, "
                f"{', '.join(_BOUNDS)} among them, before {line[:60]!r}"
            )
        row = dict(zip(names, cells, strict=False))
        read = _place(row)
        if read is not None:
            time, place = read
            newest[time] = max(newest.get(time, ("", place)), (row[_NAME], place), key=_version)
    return {time: place for time, (_, place) in sorted(newest.items())}


def _version(row: tuple[str, Place]) -> str:
    return row[0]


def _place(row: dict[str, str]) -> tuple[datetime, Place] | None:
    """Start and place of a granule; None where its line is not whole."""
    try:
        west, south, east, north = (float(row[name]) for name in _BOUNDS)
        time, flag = parse_name(row[_NAME]).time, row[_FLAG]
    except (KeyError, ValueError, UserError):
        return None
    box = (west, south, east, north)
    known = flag in ("D", "N", "B") and all(map(math.isfinite, box)) and south <= north
    return (time, Place(flag=flag, box=box)) if known else None


def _arcs(west: float, east: float) -> list[tuple[float, float]]:
    """Longitudes from west eastwards to east, as one or two intervals within -180 to 180."""
    return [(west, east)] if west <= east else [(west, 180.0), (-180.0, east)]


def touches(one: Box, other: Box) -> bool:
    """Whether two boxes touch; one whose west is larger than its east lies across the date line."""
    if one[1] > other[3] or other[1] > one[3]:
        return False
    return any(
        a[0] <= b[1] and b[0] <= a[1]
        for a in _arcs(one[0], one[2])
        for b in _arcs(other[0], other[2])
    )


def wanted(place: Place, *, times: str, bbox: Box | None) -> bool:
    """Whether a granule is selected.

    Args:
        place: Where it lies.
        times: `day`, `night` or `any`.
        bbox: Only granules whose bounds touch these; None: any.
    """
    return place.flag in FLAGS[times] and (bbox is None or touches(place.box, bbox))
