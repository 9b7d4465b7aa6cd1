"""A synthetic day of MODIS granules: procedural clouds over an ocean, in all 38 bands.

No observation and no model of one: fractal clouds with heights and optical thicknesses that agree
with each other, put through simple forms (two-stream cloud albedo, grey emissivity, Planck), so
that bands are correlated as they are in nature and values lie where real ones do.
"""

from dataclasses import dataclass
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, progress
from workflow_scripts.modis.bands import BANDS
from workflow_scripts.modis.calibration import planck_radiance
from workflow_scripts.modis.geolocation import LINES_PER_SCAN, tie_indices, tie_shape
from workflow_scripts.modis.granule_writer import (
    DEAD_DETECTOR,
    FILL,
    SATURATED,
    calibration,
    encode,
    granule_file_name,
    write_granule,
)

Field = NDArray[np.float64]
_EARTH_RADIUS_KM = 6371.0
_MIN_SIDE, _MAX_GRANULES = 100, 288
_NOISE_COUNTS = 2.0  # of the detectors, about as in real data
# Share of the sunlight left after water vapour above the sea (17 to 19, 26) and above low clouds.
_VAPOUR = {"17": (0.7, 0.85), "18": (0.15, 0.45), "19": (0.3, 0.6), "26": (0.0, 0.02)}
# Clear-sky brightness temperature over warm ocean (K), less than the sea's where air absorbs.
_CLEAR_DEPTH = {
    "24": 45.0, "25": 20.0, "27": 52.0, "28": 36.0, "29": 3.0, "30": 22.0, "31": 2.0, "32": 3.5,
    "33": 26.0, "34": 40.0, "35": 52.0, "36": 70.0,
}  # fmt: skip
# Sunlight reflected by a white surface in the bands around 4 µm, W m⁻² sr⁻¹ µm⁻¹.
_SOLAR = {"20": 3.4, "21": 2.8, "22": 2.8, "23": 2.5}


@dataclass(frozen=True)
class Scene:
    """What a granule shows, as (lines, pixels) fields.

    Sea temperature (K), haze over it (share of its reflectance), optical thickness of the cloud (0
    where clear), and height of its top (km).
    """

    sea: Field
    haze: Field
    thickness: Field
    height: Field


def fractal(rng: np.random.Generator, shape: tuple[int, int], *, slope: float) -> Field:
    """Noise of zero mean and unit variance whose amplitude falls as wavenumber^−slope."""
    spectrum = np.fft.rfft2(rng.standard_normal(shape))
    # In cycles over the longer side: longer waves than that have no meaning here.
    side = max(shape)
    waves = np.hypot(np.fft.fftfreq(shape[0])[:, None], np.fft.rfftfreq(shape[1])) * side
    waves[0, 0] = np.inf
    noise = np.fft.irfft2(spectrum * waves**-slope, shape)
    return (noise - noise.mean()) / noise.std()


def make_scene(rng: np.random.Generator, shape: tuple[int, int]) -> Scene:
    """A scene of one cloud regime, drawn at random from shallow broken to deep."""
    cover = rng.uniform(0.35, 0.75)
    deep = rng.uniform(1.0, 5.0)
    sea = rng.uniform(288.0, 301.0) + 0.8 * fractal(rng, shape, slope=2.0)
    cells = fractal(rng, shape, slope=rng.uniform(1.5, 1.9))
    ragged = cells + 0.25 * fractal(rng, shape, slope=1.0)
    amount = np.maximum(ragged - np.quantile(ragged, 1 - cover), 0.0)
    thickness = 12.0 * amount**1.5
    tops = fractal(rng, shape, slope=2.2)
    height = np.clip(1.2 + deep * amount + 0.6 * deep * np.maximum(tops, 0), 0.5, 14.0)
    haze = 0.06 * fractal(rng, shape, slope=1.6)
    return Scene(sea, haze, thickness, height)


def reflectance(scene: Scene, name: str) -> Field:
    """Reflectance (fraction) of a scene in a reflective band, under a high sun.

    Cloud albedo by the two-stream form (1 − g) τ / (2 + (1 − g) τ) with g = 0.85; the sea with the
    sky above it falls as wavelength⁻⁴ from 0.15 in the blue.
    """
    wavelength = BANDS[name].wavelength
    sea = (0.012 + 0.115 * (0.45 / wavelength) ** 4) * (1 + scene.haze)
    albedo = 0.15 * scene.thickness / (2 + 0.15 * scene.thickness)
    # Ice absorbs at 1.6 and 2.1 µm more than water does; tops freeze between 4 and 8 km.
    ice = np.clip((scene.height - 4.0) / 4.0, 0.0, 1.0)
    if wavelength > 1.5:
        albedo = albedo * (0.85 - 0.5 * ice if wavelength < 2 else 0.65 - 0.45 * ice)
    elif wavelength > 1.2:
        albedo = albedo * (0.95 - 0.15 * ice)
    if name in _VAPOUR:
        clear, low = _VAPOUR[name]
        sea, albedo = sea * clear, albedo * (low + (1 - low) * ice)
    return sea * (1 - albedo) ** 2 + albedo


def emitted_radiance(scene: Scene, name: str, *, platform: str) -> Field:
    """Radiance (W m⁻² sr⁻¹ µm⁻¹) of a scene in an emissive band by day.

    Grey cloud of emissivity 1 − exp(−0.7 τ) at its top's temperature (6.5 K/km) over the clear
    sky's; where air absorbs, no warmer than the clear sky.
    """
    clear = scene.sea - _CLEAR_DEPTH.get(name, 1.0)
    top = np.minimum(scene.sea - 6.5 * scene.height, clear)
    seen = 1 - np.exp(-0.7 * scene.thickness)
    radiance = (1 - seen) * planck_radiance(clear, band=name, platform=platform)
    radiance += seen * planck_radiance(top, band=name, platform=platform)
    if name in _SOLAR:
        ice = np.clip((scene.height - 4.0) / 4.0, 0.0, 1.0)
        radiance += _SOLAR[name] * seen * (0.14 - 0.11 * ice)
    return radiance


def _positions(rng: np.random.Generator, shape: tuple[int, int]) -> tuple[Field, Field]:
    """5 km latitude and longitude of a descending swath of 1 km pixels around a random place."""
    lat0, lon0 = np.radians(rng.uniform(-45, 45)), np.radians(rng.uniform(-180, 180))
    heading = np.radians(rng.uniform(188, 198))
    lines, pixels = (tie_indices(count) for count in tie_shape(*shape))
    along = (lines - (shape[0] - 1) / 2)[:, None] / _EARTH_RADIUS_KM
    across = (pixels - (shape[1] - 1) / 2)[None, :] / _EARTH_RADIUS_KM
    north = along * np.cos(heading) + across * np.sin(heading)
    east = along * np.sin(heading) - across * np.cos(heading)
    # Tangent plane to sphere (gnomonic), right at any latitude and across the date line.
    z = np.sin(lat0) + north * np.cos(lat0)
    x = np.cos(lat0) - north * np.sin(lat0)
    longitude = np.degrees(lon0 + np.arctan2(east, x))
    return np.degrees(np.arctan2(z, np.hypot(x, east))), (longitude + 180) % 360 - 180


def _spoil(rng: np.random.Generator, counts: dict[str, NDArray[np.uint16]], *, defect: int) -> None:
    """Put one of the defects of real granules somewhere: 1 fill, 2 saturated, 3 dead, 0 none."""
    lines, pixels = counts["31"].shape
    row = int(rng.integers(lines // 4, lines // 2)) // LINES_PER_SCAN * LINES_PER_SCAN
    column = int(rng.integers(pixels // 8, pixels // 2))
    across = slice(column, column + pixels // 6)
    if defect == 1:  # a lost packet: part of one scan, all bands
        for plane in counts.values():
            plane[row : row + LINES_PER_SCAN, across] = FILL
    elif defect == 2:  # a fire or glint too bright for the detectors
        y, x = np.ogrid[:lines, :pixels]
        spot = (y - row) ** 2 + (x - column) ** 2 < (LINES_PER_SCAN // 2) ** 2
        for name in ("7", "20", "22", "23"):
            counts[name][spot] = SATURATED
    elif defect == 3:  # one of ten detectors, silent for some scans
        for name in ("6", "29"):
            counts[name][row + 3 : row + 5 * LINES_PER_SCAN : LINES_PER_SCAN, across] = (
                DEAD_DETECTOR
            )


def write_sample_day(raw: Path, recipe: dict[str, Any]) -> list[Path]:
    """Write a day of synthetic Terra granules; the same recipe gives the same bytes.

    Args:
        raw: The folder, made if needed.
        recipe: `date` (ISO), `granules`, `lines` (a multiple of 10), `pixels`, `seed`.

    Returns:
        The granules' paths in the order of their times.

    Raises:
        UserError: A size or a number of granules that makes no granule.
    """
    shape, number = (recipe["lines"], recipe["pixels"]), recipe["granules"]
    if shape[0] % LINES_PER_SCAN or min(shape) < _MIN_SIDE:
        raise UserError(
            f"lines × pixels is {shape[0]} × {shape[1]}; lines must be a multiple of "
            f"{LINES_PER_SCAN} and both at least {_MIN_SIDE}"
        )
    if not 1 <= number <= _MAX_GRANULES:
        raise UserError(f"granules is {number}; a day has 1 to {_MAX_GRANULES}")
    try:
        day = date.fromisoformat(recipe["date"])
    except ValueError:
        raise UserError(f"date is {recipe['date']!r}; write it as 2026-01-31") from None
    start = datetime(day.year, day.month, day.day) + timedelta(minutes=5)
    step = timedelta(minutes=5 * (_MAX_GRANULES // number))
    paths = []
    for index in progress(range(number), what="sample granules", total=number):
        rng = np.random.default_rng([recipe["seed"], day.toordinal(), index])
        name = granule_file_name("Terra", start + index * step, production=f"{day:%Y%j}000000")
        paths.append(raw / name)
        _write_one(paths[-1], rng, shape=shape, defect=index % 4)
    log.info("%s: %d synthetic granules of %d × %d pixels", raw, number, *shape)
    return paths


def _write_one(
    path: Path, rng: np.random.Generator, *, shape: tuple[int, int], defect: int
) -> None:
    scene = make_scene(rng, shape)
    counts = {}
    for name, band in BANDS.items():
        if band.emissive:
            values, quantity = emitted_radiance(scene, name, platform="Terra"), "radiance"
        else:
            values, quantity = reflectance(scene, name), "reflectance"
        noise = rng.standard_normal(shape, np.float32)
        noise *= _NOISE_COUNTS * calibration(name, quantity)[0]
        counts[name] = encode(values + noise, name=name, quantity=quantity)
    _spoil(rng, counts, defect=defect)
    latitude, longitude = _positions(rng, shape)
    write_granule(path, counts, latitude=latitude, longitude=longitude)
