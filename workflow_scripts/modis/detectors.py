"""Dead detectors: found in the counts themselves, reported by band, and filled if asked for.

A scan has ten lines at 1 km, one a detector; the detector of line l is l mod 10. From Collection 6
on the lines of a dead one hold reserved counts (dead detector, or fill, or in the aggregated bands
an aggregation that found no sample) and nobody has interpolated them.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import MAX_VALID_COUNT
from workflow_scripts.modis.geolocation import LINES_PER_SCAN

_NOTHING = (65535, 65534, 65531, 65528)  # fill, missing, dead detector, aggregation
_LEAST_SCANS = 3  # in which the band is there, to judge its detectors by
_WHOLE = 0.99  # share of a line's pixels from which the line is called dead


def dead_lines(counts: NDArray[np.uint16]) -> NDArray[np.bool_]:
    """Lines of dead detectors.

    A detector is dead if its line holds nothing in every scan in which another detector of the
    band gives something. Scans that are missing tell nothing of it, and where a whole band is
    absent (reflective bands at night) no detector is dead.

    Args:
        counts: (bands, lines, pixels) as stored; lines are whole scans.

    Returns:
        (bands, lines).
    """
    bands, lines, pixels = counts.shape
    empty = np.zeros((bands, lines), bool)
    # Most lines begin with a value: the first pixels tell which need a closer look.
    maybe = (counts[:, :, :: max(1, pixels // 8)] > MAX_VALID_COUNT).all(axis=2)
    for band, line in np.argwhere(maybe):
        empty[band, line] = np.isin(counts[band, line], _NOTHING).mean() >= _WHOLE
    scans = empty.reshape(bands, -1, LINES_PER_SCAN)
    seeing = ~scans.all(axis=2, keepdims=True)  # scans in which the band is there at all
    # A granule with hardly a scan tells nothing of its detectors.
    enough = seeing.sum(axis=1, keepdims=True) >= min(_LEAST_SCANS, scans.shape[1])
    dead = scans.all(axis=1, keepdims=True) & seeing & enough
    return dead.reshape(bands, lines)


def dead_detectors(lines: NDArray[np.bool_], bands: Sequence[str]) -> dict[str, list[int]]:
    """Detectors (0 to 9) by band name of `dead_lines`' answer; bands without any are left out."""
    found: Mapping[str, NDArray[np.bool_]] = {
        name: mask.reshape(-1, LINES_PER_SCAN).any(axis=0)
        for name, mask in zip(bands, lines, strict=True)
    }
    return {name: np.flatnonzero(mask).tolist() for name, mask in found.items() if mask.any()}


def interpolate(counts: NDArray[np.uint16], dead: NDArray[np.bool_]) -> None:
    """Fill the dead lines of one band, in place, from the nearest live lines of the same scan.

    Linear in the counts between the line above and the one below; where only one of them is there
    or has a value it is taken, and where neither has one the pixel stays without. Pixels of a dead
    line that hold something after all are left alone. Lines of other scans are not used:
    neighbouring scans overlap away from nadir, so that the next line is not the next place.

    Args:
        counts: (lines, pixels) as stored.
        dead: (lines,) which to fill.
    """
    for line in np.flatnonzero(dead):
        first = line - line % LINES_PER_SCAN
        live = first + np.flatnonzero(~dead[first : first + LINES_PER_SCAN])
        if not live.size:
            continue
        at = int(np.searchsorted(live, line))
        above, below = live[max(at - 1, 0)], live[min(at, live.size - 1)]
        upper, lower = counts[above].astype(np.float64), counts[below].astype(np.float64)
        has_upper, has_lower = upper <= MAX_VALID_COUNT, lower <= MAX_VALID_COUNT
        share = (line - above) / (below - above) if below > above else 0.0
        value = np.where(has_upper, upper, lower)
        both = has_upper & has_lower
        value[both] = upper[both] + share * (lower - upper)[both]
        fill = (has_upper | has_lower) & np.isin(counts[line], _NOTHING)
        counts[line] = np.where(fill, np.rint(value), counts[line])
