"""Where the pixels of a synthetic swath lie, and how satellite and sun stand above them.

A spherical earth, a circular sun-synchronous orbit and MODIS's scan: 1354 frames of 1 km at nadir
over ±55°, ten lines a mirror side, lines and pixels in the order of the product. It is no
ephemeris, but has what matters to readers: pixels that grow towards the edge, scans that overlap
there, and a sun that fits the time of day.
"""

from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.modis.bands import Platform
from workflow_scripts.modis.geolocation import LINES_PER_SCAN

Field = NDArray[np.float64]

EARTH_RADIUS = 6371.0  # km
_ORBIT_RADIUS = EARTH_RADIUS + 705.0
_INCLINATION = np.radians(98.2)
_ORBIT_SECONDS = 98.88 * 60
SCAN_SECONDS = 1.4771
_FRAME_SECONDS = 1 / 3000
_PIXEL_ANGLE = 1 / 705.0  # 1 km at nadir, radians
# Hours after solar noon at the ascending node: Terra crosses the equator northward at 22:30 (so
# southward at 10:30 in the morning), Aqua northward at 13:30.
_NODE_HOURS = {"Terra": 10.5, "Aqua": 1.5}


@dataclass(frozen=True)
class View:
    """Of each pixel, in degrees: latitude, longitude, zenith and azimuth of satellite and sun.

    Azimuths are from north, clockwise, in −180 to 180; `range_` is the distance to the satellite
    in m.
    """

    latitude: Field
    longitude: Field
    sensor_zenith: Field
    sensor_azimuth: Field
    range_: Field
    solar_zenith: Field
    solar_azimuth: Field


@dataclass(frozen=True, kw_only=True)
class SwathGeometry:
    """A swath of lines × pixels centred on nadir, its middle crossing a latitude at a local time.

    Args:
        platform: Terra by day goes south with its first pixel in the west, Aqua goes north with
            its first pixel in the east.
        time: Of the first line (UTC).
        latitude: Of nadir at the middle line, −80 to 80 degrees.
        shape: Lines and pixels; 2030 × 1354 is a whole granule.
        night: The other half of the orbit, about 12 hours of local time later.
    """

    platform: Platform
    time: datetime
    latitude: float
    shape: tuple[int, int]
    night: bool = False

    def view(self, rows: ArrayLike, columns: ArrayLike) -> View:
        """The pixels of these rows and columns.

        Args:
            rows: (n,) line indices.
            columns: (m,) pixel indices.

        Returns:
            Fields of (n, m).
        """
        scan, detector = np.divmod(np.asarray(rows, np.int64), LINES_PER_SCAN)
        frame = np.asarray(columns, np.float64) - (self.shape[1] - 1) / 2
        middle = (self.shape[0] / LINES_PER_SCAN - 1) / 2
        seconds = (scan[:, None] - middle) * SCAN_SECONDS + frame[None, :] * _FRAME_SECONDS
        satellite, ahead = self._orbit(seconds)
        up = satellite / _ORBIT_RADIUS
        left = np.cross(up, ahead)
        across = (frame * _PIXEL_ANGLE)[None, :, None]
        along = ((detector - (LINES_PER_SCAN - 1) / 2) * _PIXEL_ANGLE)[:, None, None]
        look = np.cos(along) * (np.sin(across) * left - np.cos(across) * up) + np.sin(along) * ahead
        down = -_dot(look, satellite)
        distance = down - np.sqrt(down**2 - _ORBIT_RADIUS**2 + EARTH_RADIUS**2)
        ground = (satellite + distance[..., None] * look) / EARTH_RADIUS
        return _seen(ground, -look, distance * 1000.0, self._sun(seconds))

    @property
    def tie_rows(self) -> NDArray[np.int64]:
        """Lines of the 5 km arrays."""
        return np.arange(2, self.shape[0], 5)

    @property
    def tie_columns(self) -> NDArray[np.int64]:
        """Pixels of the 5 km arrays in MOD021KM; level 2 leaves out an incomplete last one."""
        return np.arange(2, self.shape[1], 5)

    def _orbit(self, seconds: Field) -> tuple[Field, Field]:
        """Position (km) and direction of flight of the satellite, before and after the middle."""
        rise = np.arcsin(np.sin(np.radians(self.latitude)) / np.sin(_INCLINATION))
        southward = (self.platform == "Terra") != self.night
        motion = 2 * np.pi / _ORBIT_SECONDS * seconds
        angle = (np.pi - rise if southward else rise) + motion
        node = self._sun_longitude(seconds) + np.radians(15.0 * _NODE_HOURS[self.platform])
        start = np.stack([np.cos(node), np.sin(node), np.zeros_like(node)], axis=-1)
        east = np.stack([-np.sin(node), np.cos(node), np.zeros_like(node)], axis=-1)
        pole = np.cos(_INCLINATION) * east + np.sin(_INCLINATION) * np.array([0.0, 0.0, 1.0])
        cosine, sine = np.cos(angle)[..., None], np.sin(angle)[..., None]
        return _ORBIT_RADIUS * (cosine * start + sine * pole), cosine * pole - sine * start

    def _sun_longitude(self, seconds: Field) -> Field:
        start = self.time.astimezone(UTC) if self.time.tzinfo else self.time.replace(tzinfo=UTC)
        midnight = start.replace(hour=0, minute=0, second=0, microsecond=0)
        middle = (start - midnight).total_seconds() + self._length / 2
        return np.pi - 2 * np.pi / 86400.0 * (middle + seconds)

    @property
    def _length(self) -> float:
        return self.shape[0] / LINES_PER_SCAN * SCAN_SECONDS

    def _sun(self, seconds: Field) -> Field:
        """Direction of the sun: its declination is right to half a degree.

        Of the orbit's ellipse only what moves the seasons is kept; the equation of time is not.
        """
        day = self.time.timetuple().tm_yday - 0.5
        ellipse = np.radians(1.914) * np.sin(2 * np.pi * (day - 2) / 365.25)
        season = 2 * np.pi * (day + 10) / 365.25 + ellipse
        declination = np.arcsin(-np.sin(np.radians(23.44)) * np.cos(season))
        longitude = self._sun_longitude(seconds)
        flat = np.cos(declination)
        return np.stack(
            [
                flat * np.cos(longitude),
                flat * np.sin(longitude),
                np.full_like(longitude, np.sin(declination)),
            ],
            axis=-1,
        )


def _dot(first: Field, second: Field) -> Field:
    return np.einsum("...i,...i->...", first, second)


def _seen(ground: Field, to_satellite: Field, distance: Field, to_sun: Field) -> View:
    flat = np.hypot(ground[..., 0], ground[..., 1])
    zero = np.zeros_like(flat)
    east = np.stack([-ground[..., 1] / flat, ground[..., 0] / flat, zero], axis=-1)
    north = np.cross(ground, east)
    angles = []
    for direction in (to_satellite, to_sun):
        angles.append(np.degrees(np.arccos(np.clip(_dot(direction, ground), -1, 1))))
        angles.append(np.degrees(np.arctan2(_dot(direction, east), _dot(direction, north))))
    return View(
        np.degrees(np.arctan2(ground[..., 2], flat)),
        np.degrees(np.arctan2(ground[..., 1], ground[..., 0])),
        angles[0], angles[1], distance, angles[2], angles[3],
    )  # fmt: skip
