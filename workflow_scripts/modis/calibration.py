"""Radiance and brightness temperature, in float64, by each platform's own constants."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import (
    BOLTZMANN,
    BRIGHTNESS,
    LIGHT,
    PLANCK,
    BrightnessConstants,
)

C1 = 2 * PLANCK * LIGHT**2  # W m² sr⁻¹
C2 = PLANCK * LIGHT / BOLTZMANN  # m K


def _constants(band: str, platform: str) -> tuple[BrightnessConstants, float]:
    if (platform, band) not in BRIGHTNESS:
        raise UserError(
            f"no brightness temperature for band {band!r} of {platform!r}: it needs an emissive "
            "band (20–25, 27–36) of Terra or Aqua"
        )
    constants = BRIGHTNESS[platform, band]
    return constants, 1.0 / (100.0 * constants.wavenumber)


def brightness_temperature(radiance: ArrayLike, *, band: str, platform: str) -> NDArray[np.float64]:
    """Temperature (K) of a black body of that radiance; NaN where the radiance is not positive.

    T* = c₂ / (λ ln(c₁ / (10⁶ L λ⁵) + 1)), T = (T* − tci) / tcs, as the MODIS science team does.

    Args:
        radiance: In W m⁻² sr⁻¹ µm⁻¹, any shape.
        band: An emissive band.
        platform: `Terra` or `Aqua`.

    Raises:
        UserError: The band has no temperature, or no such platform.
    """
    constants, wavelength = _constants(band, platform)
    given = np.asarray(radiance, np.float64)
    positive = np.where(given > 0, given, np.nan)
    star = C2 / (wavelength * np.log1p(C1 / (1e6 * positive * wavelength**5)))
    return (star - constants.tci) / constants.tcs


def planck_radiance(temperature: ArrayLike, *, band: str, platform: str) -> NDArray[np.float64]:
    """Radiance (W m⁻² sr⁻¹ µm⁻¹) of a black body: the inverse of `brightness_temperature`.

    Args:
        temperature: In K, any shape.
        band: An emissive band.
        platform: `Terra` or `Aqua`.

    Raises:
        UserError: The band has no temperature, or no such platform.
    """
    constants, wavelength = _constants(band, platform)
    star = np.asarray(temperature, np.float64) * constants.tcs + constants.tci
    return C1 / (1e6 * wavelength**5 * np.expm1(C2 / (wavelength * star)))
