"""A synthetic day of MODIS granules with their companions: procedural clouds over an ocean.

See `cloud_scene` for what they show, and `faults` for what is spoilt in them.
"""

from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.samples.cloud_scene import (
    cloud_state,
    emitted_radiance,
    make_scene,
    reflectance,
)
from workflow_scripts.logs import log, progress
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import Platform
from workflow_scripts.modis.cloud_writer import write_cloud_mask
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.detector_noise import measure, uncertainty_indexes
from workflow_scripts.modis.geolocation import LINES_PER_SCAN
from workflow_scripts.modis.granule_writer import granule_file_name, tie_fields, write_granule
from workflow_scripts.modis.l1b_calibration import DEAD_DETECTOR, FILL
from workflow_scripts.modis.products import CLOUD_MASK, GEOLOCATION, L1B, PREFIX
from workflow_scripts.modis.swath_geometry import SwathGeometry

_MIN_SIDE, _MAX_GRANULES = 100, 288
_MAX_LATITUDE = 45.0  # the sun stands above it by day in any season


def _spoil(
    rng: np.random.Generator, counts: faults.Counts, *, defect: int
) -> dict[str, NDArray[np.uint16]]:
    """Put one of the defects of real granules somewhere: 1 fill, 2 saturated, 3 dead, 0 none."""
    lines, pixels = counts["31"].shape
    row = int(rng.integers(lines // 4, lines // 2)) // LINES_PER_SCAN * LINES_PER_SCAN
    column = int(rng.integers(pixels // 8, pixels // 2))
    across = slice(column, column + pixels // 6)
    if defect == 1:  # a lost packet: part of one scan, all bands
        return faults.reserve(counts, (slice(row, row + LINES_PER_SCAN), across), value=FILL)
    if defect == 2:  # a fire or glint too bright for the detectors
        y, x = np.ogrid[:lines, :pixels]
        spot = (y - row) ** 2 + (x - column) ** 2 < (LINES_PER_SCAN // 2) ** 2
        return faults.saturated(counts, spot, bands=("7", "20", "22", "23"))
    if defect == 3:  # one of ten detectors, silent for some scans
        silent = slice(row + 3, row + 5 * LINES_PER_SCAN, LINES_PER_SCAN)
        return faults.reserve(counts, (silent, across), value=DEAD_DETECTOR, bands=("6", "29"))
    return dict(counts)


def write_sample_day(raw: Path, recipe: dict[str, Any]) -> list[Path]:
    """Write a day of synthetic granules with MOD03 and MOD35_L2; equal recipes give equal bytes.

    All lie over water by day; the mask is cloudy where the optical thickness is above
    `cloud_scene.CLOUDY_THICKNESS`.

    Args:
        raw: The folder, made if needed.
        recipe: `date` (ISO), `granules`, `lines` (a multiple of 10), `pixels`, `seed`, and
            optionally `platform` (`Terra`, the default, or `Aqua`, whose band 6 is mostly dead).

    Returns:
        All files written: granule, MOD03, MOD35_L2 of one time after the other.

    Raises:
        UserError: A platform, a size or a number of granules that makes no granule.
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
    platform = recipe.get("platform", "Terra")
    if platform not in PREFIX:
        raise UserError(f"platform is {platform!r}; expected {' or '.join(PREFIX)}")
    start = datetime(day.year, day.month, day.day) + timedelta(minutes=5)
    step = timedelta(minutes=5 * (_MAX_GRANULES // number))
    paths: list[Path] = []
    for index in progress(range(number), what="sample granules", total=number):
        rng = np.random.default_rng([recipe["seed"], day.toordinal(), index])
        time = start + index * step
        paths += _write_one(raw, rng, platform=platform, time=time, shape=shape, defect=index % 4)
    log.info("%s: %d synthetic granules of %d × %d pixels", raw, number, *shape)
    return paths


def _write_one(
    raw: Path,
    rng: np.random.Generator,
    *,
    platform: Platform,
    time: datetime,
    shape: tuple[int, int],
    defect: int,
) -> list[Path]:
    scene = make_scene(rng, shape)
    counts = measure(
        lambda name: emitted_radiance(scene, name, platform=platform),
        lambda name: reflectance(scene, name),
        rng,
    )
    counts = _spoil(rng, counts, defect=defect)
    if platform == "Aqua":
        counts = faults.dead_detectors(counts, {"6": faults.AQUA_BAND_6_DEAD})
    middle = rng.uniform(-_MAX_LATITUDE, _MAX_LATITUDE)
    geometry = SwathGeometry(platform=platform, time=time, latitude=middle, shape=shape)
    paths = [
        raw / granule_file_name(platform, time, production=f"{time:%Y%j}000000", product=product)
        for product in (L1B, GEOLOCATION, CLOUD_MASK)
    ]
    indexes = uncertainty_indexes(counts)
    write_granule(paths[0], counts, uncertainty=indexes, **tie_fields(geometry))
    write_geolocation(paths[1], geometry)
    write_cloud_mask(paths[2], cloud_state(scene), geometry=geometry)
    return paths
