"""What MOD021KM says of its own quality in the attributes of the file.

Shares and lists are counted from the granule. What no synthetic granule has (temperatures, noise,
redundancy, look-up tables) is as in the real Terra granule MOD021KM.A2010277.1710.005; solar
irradiances are its means by band. Attributes that Collection 6 added follow the MODIS Level 1B file
specification.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BANDS, MAX_VALID_COUNT
from workflow_scripts.modis.geolocation import LINES_PER_SCAN
from workflow_scripts.modis.l1b_calibration import FILL

# In the order of the bands' numbers, as in every attribute of 38 bands or 490 detectors.
ORDER = sorted(BANDS, key=lambda name: (int(name.rstrip("hilo")), name.endswith("hi")))
_DETECTORS = {"EV_250_Aggr1km_RefSB": 40, "EV_500_Aggr1km_RefSB": 20}
_KINDS = 36  # counts 65535 down to 65500; what lies lower counts as the last
_SHARES = {
    "% L1A EV RSB DN Not in Day Mode": None,
    "% L1A EV DN Missing Within Scan": 65534,
    "% Dead Detector EV Data": 65531,
    "% Sector Rotation EV Data": 65527,
    "% Saturated EV Data": 65533,
    "% TEB EV Data With Moon in SVP": None,
    "% EV Data Where Cannot Compute BG DN": 65532,
    "% RSB EV Data With dn** Below Scale": 65530,
    "% EV Data Where Nadir Door Closed": 65500,
}
_AVERAGE_QA = (
    290.0308228, 290.0143433, 290.0469666, 290.0300598, 290.0148621, 289.9747009, 290.0572510,
    290.0267944, 290.0291748, 290.0033264, 289.9952393, 289.9971924, 269.9394226, 269.9689636,
    83.38051605, 83.01977539, 277.9986572, 278.0160522, 278.2434998, 276.3136597, 277.3848267,
    276.1595459, 275.2605896, 269.1919250, 266.1044922, 267.3520203, 267.5041504, 82.70197296,
    82.81343079, 126.8834534, 126.7867508, 186.0933685, 5.719266415, *(0.0,) * 17,
)  # fmt: skip
_IRRADIANCES = (
    511.3, 315.8, 664.6, 593.9, 151.0, 76.5, 28.8, 555.7, 606.0, 630.6, 599.8, 602.3, 492.8, 492.8,
    480.1, 480.1, 412.1, 309.7, 297.6, 278.1, 277.9, 116.2,
)  # fmt: skip
_NOISE = {
    "Black Body Thermistors": [6, 1, 2, 2, 6, 2, 1, 4, 1, 5, 1, 4], "Average BB Temperature": 2,
    "LWIR FPA Temperature": 151, "MWIR FPA Temperature": 15, "Scan Mirror Thermistor #1": 9,
    "Scan Mirror Thermistor #2": 0, "Scan Mirror Thermistor Average": 1,
    "Instrument Temperature": 0, "Cavity Temperature": 1, "Temperature of NIR FPA": 0,
    "Temperature of Vis FPA": 0,
}  # fmt: skip
BIT_FLAGS = 819392
_TABLE_DATE = "2010:09:17:17:00"
CALIBRATION_QUALITY = {
    "AveragedBlackBodyTemperature": " 290.02", "AveragedMirrorTemperature": " 278.01",
    "AveragedFocalPlane1Temperature": " 269.94", "AveragedFocalPlane2Temperature": " 269.97",
    "AveragedFocalPlane3Temperature": "  83.38", "AveragedFocalPlane4Temperature": "  83.02",
    "CalibrationQuality": "marginal", "MissionPhase": "EXECUTION", "NadirPointing": "Y",
}  # fmt: skip


def detectors_of(name: str) -> int:
    """Number of detectors of a band: 40 (250 m), 20 (500 m) or 10."""
    return _DETECTORS.get(BANDS[name].sds, LINES_PER_SCAN)


def _reserved(plane: NDArray[np.uint16]) -> NDArray[np.float64]:
    """(10, 36) share of a line's pixels, in percent, that hold 65535, 65534, … for a value."""
    places = np.flatnonzero(plane > MAX_VALID_COUNT)
    detector = places // plane.shape[1] % LINES_PER_SCAN
    kind = np.minimum(FILL - plane.ravel()[places].astype(np.int64), _KINDS - 1)
    found = np.bincount(detector * _KINDS + kind, minlength=LINES_PER_SCAN * _KINDS)
    percent = found.astype(np.float64) * (100.0 * LINES_PER_SCAN / plane.size)
    return percent.reshape(LINES_PER_SCAN, _KINDS)


def _by_detector(shares: Mapping[str, NDArray[Any]], dtype: type) -> NDArray[Any]:
    """(490,) from (10,) by line of each band: finer detectors share their line's value."""
    parts = [np.repeat(shares[name], detectors_of(name) // LINES_PER_SCAN) for name in ORDER]
    return np.concatenate(parts).astype(dtype)


def day_scans(counts: Mapping[str, NDArray[np.uint16]]) -> NDArray[np.bool_]:
    """(scans,) whether a scan was taken in day mode: some reflective band does not hold fill."""
    lines = next(iter(counts.values())).shape[0]
    day = np.zeros(lines // LINES_PER_SCAN, bool)
    for name, plane in counts.items():
        if not BANDS[name].emissive and not day.all():
            day |= plane.reshape(day.size, -1).min(axis=1) < FILL
    return day


def quality_attributes(counts: Mapping[str, NDArray[np.uint16]]) -> dict[str, Any]:
    """File attributes of a granule.

    Args:
        counts: By band, (lines, pixels) as stored; a band that is absent holds fill.
    """
    shape = next(iter(counts.values())).shape
    absent = np.zeros((LINES_PER_SCAN, _KINDS))
    absent[:, 0] = 100.0
    shares = {name: _reserved(counts[name]) if name in counts else absent for name in ORDER}
    # A detector is dead that never gives a value while another of its band does.
    silent = {name: share.sum(1) >= 100.0 for name, share in shares.items()}
    dead = {name: lines & ~lines.all() for name, lines in silent.items()}
    bad = {name: bool(lines.any()) for name, lines in silent.items()}
    day = day_scans(counts)
    reflective = [name for name in ORDER if not BANDS[name].emissive]
    emissive = [name for name in ORDER if BANDS[name].emissive]
    return {
        "Number of Scans": np.int32(day.size),
        "Number of Day mode scans": np.int32(day.sum()),
        "Number of Night mode scans": np.int32((~day).sum()),
        "Incomplete Scans": np.int32(0),
        "Max Earth View Frames": np.int32(shape[1]),
        "%Valid EV Observations": np.array(
            [100.0 - shares[name].sum(1).mean() for name in ORDER], np.float32
        ),
        "%Saturated EV Observations": np.array(
            [shares[name][:, FILL - 65533].mean() for name in ORDER], np.float32
        ),
        "% L1A EV All Scan Data are Missing": np.float32(0.0),
        **{
            text: _by_detector(
                {
                    name: np.zeros(LINES_PER_SCAN) if code is None else share[:, FILL - code]
                    for name, share in shares.items()
                },
                np.float32,
            )
            for text, code in _SHARES.items()
        },
        "% Dead Subframe EV Data": np.zeros(180, np.float32),
        "% EV Data Not Calibrated": _by_detector(
            {name: share.sum(1) for name, share in shares.items()}, np.float32
        ),
        "Reflective Bands With Bad Data": np.array([bad[name] for name in reflective], np.int8),
        "Emissive Bands With Bad Data": np.array([bad[name] for name in emissive], np.int8),
        "Dead Detector List": _by_detector(dead, np.int8),
        "Noisy Detector List": np.zeros(490, np.int8),
        "Dead Subframe List": np.zeros(520, np.int8),
        "Noisy Subframe List": np.zeros(520, np.int8),
        "Detector Quality Flag": 2 * _by_detector(dead, np.uint8),
        "Detector Quality Flag2": np.zeros(180, np.uint8),
        **_instrument_attributes(),
    }


def _instrument_attributes() -> dict[str, Any]:
    repeats = [detectors_of(name) for name in ORDER if not BANDS[name].emissive]
    return {
        "HDFEOS_FractionalOffset_10*nscans_MODIS_SWATH_Type_L1B": np.float32(0.0),
        "HDFEOS_FractionalOffset_Max_EV_frames_MODIS_SWATH_Type_L1B": np.float32(0.0),
        "Bit QA Flags Last Value": np.uint32(BIT_FLAGS),
        "Bit QA Flags Change": np.uint32(8200),
        "Granule Average QA Values": np.array(_AVERAGE_QA, np.float32),
        "Electronics Redundancy Vector": np.array([22405973, 1048], np.uint32),
        "Electronics Configuration Change": np.zeros(2, np.uint32),
        "Reflective LUT Serial Number and Date of Last Change": f"R240 {_TABLE_DATE}",
        "Emissive LUT Serial Number and Date of Last Change": f"E232 {_TABLE_DATE}",
        "QA LUT Serial Number and Date of Last Change": f"Q228 {_TABLE_DATE}",
        "Focal Plane Set Point State": np.int8(1),
        "Doors and Screens Configuration": np.int8(-32),
        **{f"Noise in {part}": np.array(noise, np.uint8) for part, noise in _NOISE.items()},
        "Earth-Sun Distance": np.float32(1.000230670),
        "Solar Irradiance on RSB Detectors over pi": np.repeat(
            np.array(_IRRADIANCES, np.float32), repeats
        ),
    }
