"""A day of small synthetic granules for the tests of tiling: files, their manifest, the recipe."""

from datetime import datetime

import numpy as np

from workflow_scripts.digests import file_sha256
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.modis.cloud_writer import write_cloud_mask
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.geolocation import tie_shape
from workflow_scripts.modis.granule_writer import tie_fields, write_granule
from workflow_scripts.modis.products import PREFIX
from workflow_scripts.modis.swath_geometry import SwathGeometry
from workflow_scripts.shards.reader import Shard
from workflow_scripts.tile.day import tile_day

SHAPE = (50, 70)  # 3 × 4 chips of 16 × 16
RECIPE = {
    "dataset": "granules",
    "date": "2026-01-01",
    "platform": "Terra",
    "synthetic": True,
    "bands": ["31", "6"],
    "size": 16,
    "stride": 16,
    "quantity": "radiance",
    "min_valid": 1.0,
    "min_cloud": None,
    "min_water": None,
    "dead_detectors": "interpolate_lines",
    "night": "drop_chip",
    "night_zenith": 85.0,
    "max_broken_granules": 0.5,
}


def name(minute, *, product="021KM", platform="Terra", production="2026001000000"):
    return f"{PREFIX[platform]}{product}.A2026001.00{minute:02d}.061.{production}.hdf"


def swath(minute, *, platform="Terra", shape=SHAPE, **options):
    time = datetime(2026, 1, 1, 0, minute)
    return SwathGeometry(platform=platform, time=time, latitude=10.0, shape=shape, **options)


def planes(minute):
    rng = np.random.default_rng(minute)
    return {band: rng.integers(3000, 32768, SHAPE).astype(np.uint16) for band in ("6", "31")}


def write(folder, minute, *, counts=None, platform="Terra", geometry=None, **options):
    """A granule of noise in bands 6 and 31; without a geometry no angle of the sun is known."""
    rows, columns = np.indices(tie_shape(*SHAPE))
    place = {"latitude": 10 - 0.045 * rows, "longitude": 20 + 0.045 * columns}
    if geometry is not None:
        place = tie_fields(geometry)
    path = folder / name(minute, platform=platform)
    write_granule(path, {**planes(minute), **(counts or {})}, **{**place, **options})
    return path


def write_mask(folder, minute, state, *, platform="Terra", **options):
    path = folder / name(minute, product="35_L2", platform=platform)
    where = swath(minute, platform=platform, shape=state.shape)
    write_cloud_mask(path, state, geometry=where, **options)
    return path


def write_place(folder, minute, *, geometry=None, **options):
    path = folder / name(minute, product="03")
    write_geolocation(path, geometry or swath(minute), **options)
    return path


def spoilt(value, *where):
    plane = np.full(SHAPE, 9000, np.uint16)
    for window in where:
        plane[window] = value
    return plane


def list_day(folder, paths, *, date="2026-01-01"):
    manifest = folder / f"{date}.jsonl"
    write_manifest(
        manifest,
        [
            Item(key=path.name, path=str(path), sha256=file_sha256(path), bytes=path.stat().st_size)
            for path in paths
        ],
    )
    return manifest


def tile(folder, paths, *, workers=0, **change):
    """The day's result and its shard."""
    chips = folder / "chips" / "2026-01-01.h5"
    body = tile_day({**RECIPE, **change}, list_day(folder, paths), chips, workers=workers)
    return body, Shard(chips)


def filled_by_loop(counts, dead):
    """What `detectors.interpolate` must give, pixel by pixel, inside each scan of ten lines."""
    found = counts.copy()
    live = [line for line in range(len(counts)) if not dead[line]]
    for line in np.flatnonzero(dead):
        scan = [other for other in live if other // 10 == line // 10]
        above = max((other for other in scan if other < line), default=None)
        below = min((other for other in scan if other > line), default=None)
        for pixel in range(counts.shape[1]):
            if counts[line, pixel] not in (65535, 65534, 65531, 65528):
                continue
            known = [
                (other, float(counts[other, pixel]))
                for other in (above, below)
                if other is not None and counts[other, pixel] <= 32767
            ]
            if len(known) == 2:
                (up, first), (down, last) = known
                share = (line - up) / (down - up)
                found[line, pixel] = round(first + share * (last - first))
            elif known:
                found[line, pixel] = known[0][1]
    return found
