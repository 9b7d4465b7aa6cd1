"""Counts as MODIS's detectors give them: with their specified noise, and its uncertainty indexes.

Signal-to-noise ratios and noise temperatures are the instrument's specification (Barnes and others
1998, IEEE Transactions on Geoscience and Remote Sensing 36); flown detectors have less noise.
"""

from collections.abc import Callable, Mapping

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BAD_UNCERTAINTY, BANDS, MAX_VALID_COUNT
from workflow_scripts.modis.calibration import planck_radiance
from workflow_scripts.modis.l1b_calibration import FILL, calibration, encode, uncertainty_scale
from workflow_scripts.modis.l1b_layout import UNCERTAINTY_FILL

# Typical radiance (W m⁻² sr⁻¹ µm⁻¹) and the signal-to-noise ratio there.
_RATIOS = {
    "1": (21.8, 128), "2": (24.7, 201), "3": (35.3, 243), "4": (29.0, 228), "5": (5.4, 74),
    "6": (7.3, 275), "7": (1.0, 110), "8": (44.9, 880), "9": (41.9, 838), "10": (32.1, 802),
    "11": (27.9, 754), "12": (21.0, 750), "13": (9.5, 910), "14": (8.7, 1087), "15": (10.2, 586),
    "16": (6.2, 516), "17": (10.0, 167), "18": (3.6, 57), "19": (15.0, 250), "26": (6.0, 150),
}  # fmt: skip
# Typical temperature (K) and the noise (K) there.
_NOISE_KELVIN = {
    "20": (300, 0.05), "21": (335, 2.0), "22": (300, 0.07), "23": (300, 0.07), "24": (250, 0.25),
    "25": (275, 0.25), "27": (240, 0.25), "28": (250, 0.25), "29": (300, 0.05), "30": (250, 0.25),
    "31": (300, 0.05), "32": (300, 0.05), "33": (260, 0.25), "34": (250, 0.25), "35": (240, 0.25),
    "36": (220, 0.35),
}  # fmt: skip
_FLOWN = 0.6  # share of the specified noise that detectors in orbit have, about
# Averaging independent samples of 250 or 500 m into 1 km lessens the noise.
_AVERAGING = {"EV_250_Aggr1km_RefSB": 4.0, "EV_500_Aggr1km_RefSB": 2.0}


def noise_counts(name: str) -> float:
    """Standard deviation of a band's noise, in counts of the scale that the writer gives it.

    Raises:
        UserError: No such band.
    """
    scale, _ = calibration(name, "radiance")
    if BANDS[name].emissive:
        kelvin, noise = _NOISE_KELVIN[name]
        ends = planck_radiance(
            [kelvin - noise / 2, kelvin + noise / 2], band=name, platform="Terra"
        )
        return _FLOWN * float(ends[1] - ends[0]) / scale
    radiance, ratio = _RATIOS[name.rstrip("hilo")]
    return _FLOWN * radiance / ratio / _AVERAGING.get(BANDS[name].sds, 1.0) / scale


def measure(
    emitted: Callable[[str], NDArray[np.float64]],
    reflected: Callable[[str], NDArray[np.float64]],
    rng: np.random.Generator,
) -> dict[str, NDArray[np.uint16]]:
    """Counts of all 38 bands of a scene, with noise.

    Args:
        emitted: Gives the radiance (W m⁻² sr⁻¹ µm⁻¹) in an emissive band, (lines, pixels).
        reflected: Gives the reflectance (fraction) in a reflective band.
        rng: Of the noise.
    """
    counts = {}
    for name, band in BANDS.items():
        quantity = "radiance" if band.emissive else "reflectance"
        values = emitted(name) if band.emissive else reflected(name)
        noise = rng.standard_normal(values.shape, np.float32)
        noise *= np.float32(noise_counts(name) * calibration(name, quantity)[0])
        counts[name] = encode(values + noise, name=name, quantity=quantity)
    return counts


def uncertainty_indexes(
    counts: Mapping[str, NDArray[np.uint16]],
) -> dict[str, NDArray[np.uint8]]:
    """Indexes of calibration and noise together, at most 14 where there is a value.

    Under reserved counts 15, under fill 255, as in real granules.

    Args:
        counts: By band, (lines, pixels).
    """
    stored = np.arange(65536)
    found = {}
    for name, plane in counts.items():
        specified, factor = uncertainty_scale(name)
        signal = np.maximum(np.abs(stored - calibration(name, "radiance")[1]), 1e-3)
        percent = np.hypot(1.4 * specified, 100.0 * noise_counts(name) / signal)
        index = np.clip(np.rint(factor * np.log(percent / specified)), 0, BAD_UNCERTAINTY - 1)
        index[MAX_VALID_COUNT + 1 :] = BAD_UNCERTAINTY
        index[FILL] = UNCERTAINTY_FILL
        found[name] = index.astype(np.uint8)[plane]
    return found
