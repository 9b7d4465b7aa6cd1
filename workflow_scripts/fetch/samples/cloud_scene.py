"""Synthetic cloud scenes over an ocean, and what MODIS sees of them in its 38 bands.

No observation and no model of one: clouds with heights and optical thicknesses that agree with
each other, put through simple forms (two-stream cloud albedo, grey emissivity, Planck), so that
bands are correlated as they are in nature and values lie where real ones do.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BANDS, Platform
from workflow_scripts.modis.calibration import planck_radiance
from workflow_scripts.modis.cloud_writer import CLEAR, CLOUDY, PROBABLY_CLEAR, UNCERTAIN

Field = NDArray[np.float64]

# Optical thickness above which a pixel is cloudy, and above which it is uncertain, in the masks.
CLOUDY_THICKNESS, UNCERTAIN_THICKNESS = 0.3, 0.1
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


def emitted_radiance(scene: Scene, name: str, *, platform: Platform) -> Field:
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


def texture_scene(rng: np.random.Generator, texture: NDArray[Any], shape: tuple[int, int]) -> Scene:
    """A scene whose clouds have the brightness of a picture.

    Args:
        rng: For the sea, the haze and the cloud tops.
        texture: (rows, columns) brightness or (rows, columns, colours), such as a true-colour
            picture of clouds; its darkest tenth becomes clear sea. Turned to the granule's longer
            side and mirrored at its edges where it is too small.
        shape: Lines and pixels wanted.
    """
    grey = np.asarray(texture, np.float64)
    grey = grey.mean(axis=2) if grey.ndim == 3 else grey
    if (grey.shape[0] > grey.shape[1]) != (shape[0] > shape[1]):
        grey = grey.T
    places = [np.arange(want) % (2 * have) for want, have in zip(shape, grey.shape, strict=True)]
    mirrored = [
        np.minimum(place, 2 * have - 1 - place)
        for place, have in zip(places, grey.shape, strict=True)
    ]
    grey = grey[np.ix_(*mirrored)]
    dark, bright = np.quantile(grey[::4, ::4], (0.1, 0.999))
    albedo = 0.9 * np.clip((grey - dark) / max(bright - dark, 1e-9), 0, 1)
    # The inverse of the two-stream albedo of `reflectance`.
    thickness = 2 * albedo / (0.15 * (1 - albedo))
    sea = rng.uniform(288.0, 301.0) + 0.8 * fractal(rng, shape, slope=2.0)
    tops = fractal(rng, shape, slope=2.2)
    height = np.clip(1.0 + 9.0 * albedo + 1.5 * np.maximum(tops, 0), 0.5, 14.0)
    return Scene(sea, 0.06 * fractal(rng, shape, slope=1.6), thickness, height)


def cloud_state(scene: Scene) -> NDArray[np.uint8]:
    """(lines, pixels) states of MOD35 that agree with the optical thickness of a scene."""
    clear = np.where(scene.thickness > 0, PROBABLY_CLEAR, CLEAR)
    unsure = np.where(scene.thickness > UNCERTAIN_THICKNESS, UNCERTAIN, clear)
    return np.where(scene.thickness > CLOUDY_THICKNESS, CLOUDY, unsure).astype(np.uint8)


def effective_radius(scene: Scene) -> Field:
    """Effective radius (µm) of a scene's cloud particles: droplets of 12, crystals of 30 on top."""
    return 12.0 + 18.0 * np.clip((scene.height - 4.0) / 4.0, 0.0, 1.0)


def top_pressure(scene: Scene) -> Field:
    """Pressure (hPa) at a scene's cloud tops, with a scale height of 8 km."""
    return 1013.25 * np.exp(-scene.height / 8.0)
