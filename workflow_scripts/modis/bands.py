"""What is known of MODIS bands beforehand: where they are, reserved counts, Planck constants.

Sources: MODIS Level 1B Product User's Guide (names, reserved counts); the
brightness-temperature constants are those of the MODIS science team's `modis_bright`.
"""

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError

Platform = Literal["Terra", "Aqua"]

# Bands of each SDS, in the order of its planes.
SDS_BANDS: dict[str, tuple[str, ...]] = {
    "EV_250_Aggr1km_RefSB": ("1", "2"),
    "EV_500_Aggr1km_RefSB": ("3", "4", "5", "6", "7"),
    "EV_1KM_RefSB": (
        "8", "9", "10", "11", "12", "13lo", "13hi", "14lo", "14hi", "15", "16", "17", "18", "19",
        "26",
    ),
    "EV_1KM_Emissive": (
        "20", "21", "22", "23", "24", "25", "27", "28", "29", "30", "31", "32", "33", "34", "35",
        "36",
    ),
}  # fmt: skip
EMISSIVE_SDS = "EV_1KM_Emissive"

# Centres of the bands as specified, in µm.
_WAVELENGTHS = {
    "1": 0.645, "2": 0.8585, "3": 0.469, "4": 0.555, "5": 1.24, "6": 1.64, "7": 2.13, "8": 0.4125,
    "9": 0.443, "10": 0.488, "11": 0.531, "12": 0.551, "13": 0.667, "14": 0.678, "15": 0.748,
    "16": 0.8695, "17": 0.905, "18": 0.936, "19": 0.94, "20": 3.75, "21": 3.959, "22": 3.959,
    "23": 4.05, "24": 4.4655, "25": 4.5155, "26": 1.375, "27": 6.715, "28": 7.325, "29": 8.55,
    "30": 9.73, "31": 11.03, "32": 12.02, "33": 13.335, "34": 13.635, "35": 13.935, "36": 14.235,
}  # fmt: skip


@dataclass(frozen=True)
class Band:
    """One of the 38 bands (13 and 14 have a low and a high gain).

    `index` is its plane in a whole granule's SDS, `wavelength` its nominal centre in µm.
    """

    name: str
    sds: str
    index: int
    wavelength: float

    @property
    def emissive(self) -> bool:
        """Whether it measures emitted heat (20–25, 27–36) and so has a brightness temperature."""
        return self.sds == EMISSIVE_SDS


BANDS: dict[str, Band] = {
    name: Band(name, sds, index, _WAVELENGTHS[name.removesuffix("lo").removesuffix("hi")])
    for sds, names in SDS_BANDS.items()
    for index, name in enumerate(names)
}


def band(name: str) -> Band:
    """The band of that name.

    Raises:
        UserError: There is none.
    """
    if name not in BANDS:
        raise UserError(f"no MODIS band {name!r}; the bands are {', '.join(BANDS)}")
    return BANDS[name]


# Why a pixel has no value: `REASONS[code]`, code 0 where it has one.
VALID = 0
REASONS = (
    "valid", "fill", "missing", "saturated", "zero point", "dead detector", "below minimum",
    "above maximum", "aggregation", "rotation", "band 1 copy", "dead subframe", "both sides",
    "reserved", "upper limit", "out of range", "uncertain", "no temperature",
)  # fmt: skip
RESERVED_COUNTS = {
    65535: "fill",
    65534: "missing",
    65533: "saturated",
    65532: "zero point",
    65531: "dead detector",
    65530: "below minimum",
    65529: "above maximum",
    65528: "aggregation",
    65527: "rotation",
    65526: "band 1 copy",
    65525: "dead subframe",
    65524: "both sides",
    **dict.fromkeys(range(65501, 65524), "reserved"),
    65500: "upper limit",
}
MAX_VALID_COUNT = 32767
FIRST_RESERVED_COUNT = 65500
# In chips, which keep no uncertainty indexes; both are among the codes MODIS leaves free.
UNCERTAIN_COUNT, OUT_OF_RANGE_COUNT = 65501, 65502
BAD_UNCERTAINTY = 15  # and above: 255 is its fill value


UNCERTAIN, NO_TEMPERATURE = REASONS.index("uncertain"), REASONS.index("no temperature")


def chip_reasons() -> NDArray[np.uint8]:
    """(65536,) reason code of each count of a chip, whose counts tell alone what has no value."""
    table = reason_table()
    table[UNCERTAIN_COUNT], table[OUT_OF_RANGE_COUNT] = UNCERTAIN, REASONS.index("out of range")
    return table


def reason_table(valid_range: tuple[int, int] = (0, MAX_VALID_COUNT)) -> NDArray[np.uint8]:
    """(65536,) reason code of each count: `reason_table()[counts]`.

    Counts outside the valid range that are not reserved are `out of range`.
    """
    table = np.full(65536, REASONS.index("out of range"), np.uint8)
    table[valid_range[0] : valid_range[1] + 1] = VALID
    for count, reason in RESERVED_COUNTS.items():
        table[count] = REASONS.index(reason)
    return table


@dataclass(frozen=True)
class BrightnessConstants:
    """Effective central wavenumber (cm⁻¹) and the correction T = (T* − tci) / tcs (K)."""

    wavenumber: float
    tcs: float
    tci: float


# h (J s), c (m/s), k (J/K) as in the science team's code, to agree with it to the last digit.
PLANCK, LIGHT, BOLTZMANN = 6.6260755e-34, 2.9979246e8, 1.380658e-23

_BRIGHTNESS = {
    "Terra": (
        (
            2641.775, 2505.277, 2518.028, 2465.428, 2235.815, 2200.346, 1477.967, 1362.737,
            1173.190, 1027.715, 908.0884, 831.5399, 748.3394, 730.8963, 718.8681, 704.5367,
        ),
        (
            0.9993411, 0.9998646, 0.9998584, 0.9998682, 0.9998819, 0.9998845, 0.9994877, 0.9994918,
            0.9995495, 0.9997398, 0.9995608, 0.9997256, 0.9999160, 0.9999167, 0.9999191, 0.9999281,
        ),
        (
            0.4770532, 0.09262664, 0.09757996, 0.08929242, 0.07310901, 0.07060415, 0.2204921,
            0.2046087, 0.1599191, 0.08253401, 0.1302699, 0.07181833, 0.01972608, 0.01913568,
            0.01817817, 0.01583042,
        ),
    ),
    "Aqua": (
        (
            2647.409, 2511.760, 2517.908, 2462.442, 2248.296, 2209.547, 1474.262, 1361.626,
            1169.626, 1028.740, 907.6813, 830.8411, 748.2978, 730.7766, 718.2094, 703.5007,
        ),
        (
            0.9993363, 0.9998626, 0.9998627, 0.9998707, 0.9998737, 0.9998770, 0.9995694, 0.9994867,
            0.9995270, 0.9997382, 0.9995270, 0.9997271, 0.9999173, 0.9999070, 0.9999198, 0.9999233,
        ),
        (
            0.4818401, 0.09426663, 0.09458604, 0.08736613, 0.07873285, 0.07550804, 0.1848769,
            0.2064384, 0.1674982, 0.08304364, 0.1343433, 0.07135051, 0.01948513, 0.02131043,
            0.01804156, 0.01683156,
        ),
    ),
}  # fmt: skip

BRIGHTNESS: dict[tuple[str, str], BrightnessConstants] = {
    (platform, name): BrightnessConstants(wavenumber, tcs, tci)
    for platform, columns in _BRIGHTNESS.items()
    for name, wavenumber, tcs, tci in zip(SDS_BANDS[EMISSIVE_SDS], *columns, strict=True)
}
