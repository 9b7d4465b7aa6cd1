"""A whole synthetic granule (2030 × 1354) with realistic pixels, for benchmarks and oracles."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.fetch.samples.cloud_scene import (
    Scene,
    cloud_state,
    effective_radius,
    emitted_radiance,
    make_scene,
    reflectance,
    texture_scene,
    top_pressure,
)
from workflow_scripts.modis import faults
from workflow_scripts.modis.bands import Platform
from workflow_scripts.modis.cloud_writer import write_cloud_mask, write_cloud_product
from workflow_scripts.modis.companion_writer import write_geolocation
from workflow_scripts.modis.detector_noise import measure, uncertainty_indexes
from workflow_scripts.modis.granule_writer import granule_file_name, tie_fields, write_granule
from workflow_scripts.modis.products import CLOUD_MASK, CLOUD_PRODUCT, GEOLOCATION, L1B
from workflow_scripts.modis.swath_geometry import SwathGeometry

WHOLE = (2030, 1354)
_MAX_LATITUDE = 35.0


@dataclass(frozen=True, kw_only=True)
class Observation:
    """A scene, where it lies, and its counts by band, (lines, pixels)."""

    scene: Scene
    geometry: SwathGeometry
    counts: dict[str, NDArray[np.uint16]]


def observe(
    *, platform: Platform, time: datetime, rng_seed: int, texture: NDArray[Any] | None,
    shape: tuple[int, int] = WHOLE,
) -> Observation:  # fmt: skip
    """Make a scene and measure it, without faults but for Aqua's band 6.

    Args:
        platform: `Terra` or `Aqua`.
        time: Start of the granule (UTC).
        rng_seed: Of the scene, its noise and its latitude.
        texture: A picture of clouds as of `cloud_scene.texture_scene`; None: procedural clouds.
        shape: Lines and pixels.
    """
    rng = np.random.default_rng(rng_seed)
    scene = make_scene(rng, shape) if texture is None else texture_scene(rng, texture, shape)
    counts = measure(
        lambda name: emitted_radiance(scene, name, platform=platform),
        lambda name: reflectance(scene, name),
        rng,
    )
    if platform == "Aqua":
        counts = faults.dead_detectors(counts, {"6": faults.AQUA_BAND_6_DEAD})
    middle = float(rng.uniform(-_MAX_LATITUDE, _MAX_LATITUDE))
    geometry = SwathGeometry(platform=platform, time=time, latitude=middle, shape=shape)
    return Observation(scene=scene, geometry=geometry, counts=counts)


def write_full_granule(
    folder: Path, *, platform: Platform, time: datetime, rng_seed: int,
    texture: NDArray[Any] | None = None, companions: bool = False,
    shape: tuple[int, int] = WHOLE, level: int = 1,
) -> list[Path]:  # fmt: skip
    """Write one granule as large on disk as a real one; the same arguments give the same bytes.

    Args:
        folder: Made if needed.
        platform: `Terra` or `Aqua`.
        time: Start of the granule (UTC); also stands for the time of production in the names.
        rng_seed: As of `observe`.
        texture: As of `observe`.
        companions: Whether to write MOD03, MOD35_L2 and MOD06_L2 too.
        shape: Lines and pixels.
        level: Of deflate.

    Returns:
        The granule, then MOD03, MOD35_L2 and MOD06_L2 if wanted.
    """
    seen = observe(platform=platform, time=time, rng_seed=rng_seed, texture=texture, shape=shape)
    products = (L1B, GEOLOCATION, CLOUD_MASK, CLOUD_PRODUCT) if companions else (L1B,)
    paths = [
        folder / granule_file_name(platform, time, production=f"{time:%Y%j%H%M%S}", product=product)
        for product in products
    ]
    indexes = uncertainty_indexes(seen.counts)
    write_granule(
        paths[0], seen.counts, uncertainty=indexes, level=level, **tie_fields(seen.geometry)
    )
    if companions:
        state = cloud_state(seen.scene)
        write_geolocation(paths[1], seen.geometry, level=level)
        write_cloud_mask(paths[2], state, geometry=seen.geometry, level=level)
        write_cloud_product(
            paths[3], state, geometry=seen.geometry, thickness=seen.scene.thickness,
            radius=effective_radius(seen.scene), pressure=top_pressure(seen.scene), level=level,
        )  # fmt: skip
    return paths
