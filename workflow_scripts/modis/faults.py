"""Faults of real granules, put into the counts of synthetic ones or into their files.

Functions over counts return a new mapping that shares the planes they leave alone, so that one
sound granule serves many tests.
"""

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BAD_UNCERTAINTY, BANDS
from workflow_scripts.modis.geolocation import LINES_PER_SCAN
from workflow_scripts.modis.l1b_calibration import DEAD_DETECTOR, FILL, SATURATED

Counts = Mapping[str, NDArray[np.uint16]]

# Lines of a scan (from 0) that give nothing in Aqua's band 6, most of whose detectors are dead: a
# typical choice, as the detectors lost and the lines they cost vary with time and aggregation.
AQUA_BAND_6_DEAD = (2, 4, 5, 6, 7, 9)


def reserve(
    counts: Counts, place: Any, *, value: int, bands: Collection[str] | None = None
) -> dict[str, NDArray[np.uint16]]:
    """Put a reserved count at a place of some bands (None: of all).

    Args:
        counts: By band, (lines, pixels).
        place: Anything that indexes a plane: a mask, slices, index arrays.
        value: Such as 65533, saturated; see `bands.RESERVED_COUNTS`.
        bands: Those spoilt.
    """
    spoilt = dict(counts)
    for name in counts if bands is None else bands:
        spoilt[name] = counts[name].copy()
        spoilt[name][place] = value
    return spoilt


def missing_scans(counts: Counts, scans: Sequence[int]) -> dict[str, NDArray[np.uint16]]:
    """Whole scans lost before they were received: fill (65535) in every band."""
    lines = [scan * LINES_PER_SCAN + line for scan in scans for line in range(LINES_PER_SCAN)]
    return reserve(counts, lines, value=FILL)


def saturated(
    counts: Counts, place: Any, *, bands: Collection[str]
) -> dict[str, NDArray[np.uint16]]:
    """Pixels too bright for the detectors of some bands (65533)."""
    return reserve(counts, place, value=SATURATED, bands=bands)


def dead_detectors(
    counts: Counts, detectors: Mapping[str, Sequence[int]], *, value: int = DEAD_DETECTOR
) -> dict[str, NDArray[np.uint16]]:
    """Detectors that give nothing: every line l with l mod 10 in `detectors` of its band.

    Args:
        counts: By band, (lines, pixels).
        detectors: By band, lines of a scan, 0 to 9.
        value: 65531 as the file specification has it for Collection 6, or 65535.
    """
    spoilt = dict(counts)
    for name, lines in detectors.items():
        for line in lines:
            place = slice(line, None, LINES_PER_SCAN)
            spoilt = reserve(spoilt, place, value=value, bands=(name,))
    return spoilt


def night(counts: Counts) -> dict[str, NDArray[np.uint16]]:
    """Night mode: no reflective band is measured, all hold fill (65535)."""
    reflective = [name for name in counts if not BANDS[name].emissive]
    return reserve(counts, slice(None), value=FILL, bands=reflective)


def uncertain(
    uncertainty: Mapping[str, NDArray[np.uint8]], place: Any, *, bands: Collection[str],
    index: int = BAD_UNCERTAINTY,
) -> dict[str, NDArray[np.uint8]]:  # fmt: skip
    """Put an uncertainty index (15: unusable) at a place of some bands."""
    spoilt = dict(uncertainty)
    for name in bands:
        spoilt[name] = uncertainty[name].copy()
        spoilt[name][place] = index
    return spoilt


def truncate(path: Path, share: float) -> None:
    """Cut a file as an interrupted download does, to that share of its bytes."""
    with path.open("r+b") as file:
        file.truncate(int(path.stat().st_size * share))
