"""Bands, and brightness temperature against its closed form in float64."""

import math

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.modis.bands import BANDS, BRIGHTNESS
from workflow_scripts.modis.calibration import brightness_temperature, planck_radiance


# The constants of the facts sheet, written once more: the oracle shares nothing with the code.
@pytest.mark.parametrize(
    ("platform", "band", "cwn", "tcs", "tci"),
    [
        ("Terra", "20", 2641.775, 0.9993411, 0.4770532),
        ("Terra", "31", 908.0884, 0.9995608, 0.1302699),
        ("Terra", "36", 704.5367, 0.9999281, 0.01583042),
        ("Aqua", "20", 2647.409, 0.9993363, 0.4818401),
        ("Aqua", "29", 1169.626, 0.9995270, 0.1674982),
        ("Aqua", "36", 703.5007, 0.9999233, 0.01683156),
    ],
)
def test_brightness_temperature_is_the_closed_form(platform, band, cwn, tcs, tci):
    h, c, k = 6.6260755e-34, 2.9979246e8, 1.380658e-23
    wave = 1 / (100 * cwn)
    for radiance in (0.01, 0.5, 9.5):
        expected = (2 * h * c * c) / (1e6 * radiance * wave**5)
        expected = (h * c / k) / (wave * math.log(expected + 1))
        expected = (expected - tci) / tcs
        found = float(brightness_temperature(radiance, band=band, platform=platform))
        assert found == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize(("platform", "band"), sorted(BRIGHTNESS))
def test_planck_radiance_inverts_brightness_temperature(platform, band):
    temperatures = np.linspace(180.0, 340.0, 33)
    radiance = planck_radiance(temperatures, band=band, platform=platform)
    assert (np.diff(radiance) > 0).all()
    back = brightness_temperature(radiance, band=band, platform=platform)
    np.testing.assert_allclose(back, temperatures, rtol=1e-12)


def test_the_radiance_of_a_warm_sea_in_band_31_is_near_the_black_body_of_11_03_um():
    wave, kelvin = 11.03e-6, 300.0
    black = 1.191043e-16 / (wave**5 * math.expm1(1.438777e-2 / (wave * kelvin))) * 1e-6
    found = float(planck_radiance(kelvin, band="31", platform="Terra"))
    assert found == pytest.approx(black, rel=0.005)


def test_there_is_no_temperature_without_positive_radiance_or_for_a_reflective_band():
    cold = brightness_temperature([0.0, -1.0], band="31", platform="Terra")
    assert np.isnan(cold).all()
    with pytest.raises(UserError, match="emissive"):
        brightness_temperature(1.0, band="6", platform="Terra")


def test_there_are_38_bands_of_36_numbers():
    assert len(BANDS) == 38
    numbers = {name.rstrip("hilo") for name in BANDS}
    assert numbers == {str(number) for number in range(1, 37)}
    assert sum(band.emissive for band in BANDS.values()) == 16
    assert len(BRIGHTNESS) == 32
