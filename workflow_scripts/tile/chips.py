"""Cut a granule into chips, and say why the others were dropped."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import MAX_VALID_COUNT, REASONS, VALID, band, chip_reasons
from workflow_scripts.modis.companions import UNKNOWN, Companions
from workflow_scripts.modis.detectors import dead_detectors, dead_lines, interpolate
from workflow_scripts.modis.geolocation import at_pixels, pixel_positions
from workflow_scripts.modis.l1b import Counts
from workflow_scripts.shards.writer import ChipSample

NO_POSITION, NIGHT = "no position", "night"
TOO_CLEAR, TOO_DRY = "too few clouds", "not enough water"
DEAD_DETECTOR_COUNT = 65531
_LEAST_KNOWN = 0.5  # share of a chip whose mask must be determined, or its shares are unknown
_CHIP_REASONS = chip_reasons()


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The chips of one granule, how many others were dropped by reason, and its dead detectors."""

    kept: list[ChipSample] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)
    companions: tuple[str, ...] = ()
    dead_detectors: dict[str, list[int]] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A granule's counts after its dead detectors were dealt with.

    `counts` (bands, lines, pixels); `filled` (bands, lines) which lines were interpolated; `asked`
    (bands,) which bands must have values; `dead` detectors by band.
    """

    counts: NDArray[np.uint16]
    filled: NDArray[np.bool_]
    asked: NDArray[np.bool_]
    dead: dict[str, list[int]]


def corners(shape: tuple[int, int], *, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Line and pixel of the upper left corner of each whole chip, line by line."""
    for row in range(0, shape[0] - size + 1, stride):
        for column in range(0, shape[1] - size + 1, stride):
            yield row, column


def prepare(granule: Counts, policy: str) -> Prepared:
    """Mark what has no value, and treat dead detectors; the granule's counts are changed in place.

    Args:
        granule: What `read_counts` gave.
        policy: `interpolate_lines`, `drop_chip` or `exclude_band`.
    """
    lines = dead_lines(granule.counts)
    counts = granule.mark()
    affected = lines.any(axis=1)
    filled = np.zeros_like(lines)
    if policy == "interpolate_lines":
        for number in np.flatnonzero(affected):
            interpolate(counts[number], lines[number])
        filled = lines
    elif policy == "exclude_band":
        counts[affected] = DEAD_DETECTOR_COUNT
    asked = np.logical_not(affected) if policy == "exclude_band" else np.ones_like(affected)
    dead = dead_detectors(lines, granule.bands)
    return Prepared(counts=counts, filled=filled, asked=asked, dead=dead)


def drop_reason(counts: NDArray[np.uint16], *, min_valid: float) -> str | None:
    """Why a chip is dropped: the commonest reason in it, or None if it is kept.

    Args:
        counts: (bands, height, width) of the bands that must have values.
        min_valid: Smallest share of pixels that have a value in every band.
    """
    if (counts <= MAX_VALID_COUNT).all(axis=0).mean() >= min_valid:
        return None
    found = np.bincount(_CHIP_REASONS[counts].ravel(), minlength=len(REASONS))
    found[VALID] = 0
    return REASONS[int(found.argmax())]


def share(mask: NDArray[np.uint8] | None) -> float:
    """Share of yes among the determined pixels of a mask; NaN if fewer than half of them are.

    Args:
        mask: 1 yes, 0 no, 255 unknown; None: there is no mask.
    """
    if mask is None:
        return float("nan")
    known = int((mask != UNKNOWN).sum())
    return int((mask == 1).sum()) / known if known >= _LEAST_KNOWN * mask.size else float("nan")


def _places(
    granule: Counts, beside: Companions, rows: NDArray[np.int64], columns: NDArray[np.int64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Latitude, longitude and solar zenith of some pixels, in degrees."""
    if beside.latitude is not None and beside.longitude is not None:
        latitude = beside.latitude[rows, columns].astype(np.float64)
        longitude = beside.longitude[rows, columns].astype(np.float64)
    else:
        latitude, longitude = pixel_positions(
            granule.latitude, granule.longitude, rows=rows, columns=columns
        )
    if beside.solar_zenith is not None:
        return latitude, longitude, beside.solar_zenith[rows, columns].astype(np.float64)
    return latitude, longitude, at_pixels(granule.solar_zenith, rows=rows, columns=columns)


def _columns(
    granule: Counts, beside: Companions, places: NDArray[np.int64], size: int
) -> list[dict[str, Any]]:
    """What is known of each chip; places are (chips, 2) lines and pixels of upper left corners."""
    last = size - 1
    offsets = np.array([(size // 2, size // 2), (0, 0), (0, last), (last, last), (last, 0)])
    rows, columns = np.moveaxis(places[:, None] + offsets, -1, 0)
    latitude, longitude, zenith = _places(granule, beside, rows, columns)
    found = []
    for index, (row, column) in enumerate(places.tolist()):
        window = np.s_[row : row + size, column : column + size]
        cloudy, water = (
            None if mask is None else mask[window] for mask in (beside.cloudy, beside.water)
        )
        found.append(
            {
                "granule": granule.path.name,
                "row": row,
                "column": column,
                "latitude": float(latitude[index, 0]),
                "longitude": float(longitude[index, 0]),
                "corner_latitude": latitude[index, 1:],
                "corner_longitude": longitude[index, 1:],
                "time": int(granule.name.time.timestamp()),
                "platform": granule.name.platform,
                "cloud_share": np.float32(share(cloudy)),
                "water_share": np.float32(share(water)),
                "solar_zenith": np.float32(zenith[index, 0]),
            }
        )
    return found


def unwanted(columns: dict[str, Any], recipe: dict[str, Any]) -> str | None:
    """Why a chip is not selected by where it lies and what the mask says; None if it is.

    A share that is unknown (NaN) drops no chip.
    """
    if np.isnan(columns["latitude"]) or np.isnan(columns["longitude"]):
        return NO_POSITION
    if recipe["min_cloud"] is not None and columns["cloud_share"] <= recipe["min_cloud"]:
        return TOO_CLEAR
    if recipe["min_water"] is not None and columns["water_share"] <= recipe["min_water"]:
        return TOO_DRY
    return None


def cut_chips(granule: Counts, beside: Companions, recipe: dict[str, Any]) -> Cut:
    """Cut a granule into square chips of its counts as stored.

    A chip's key is `<file name>:<line>:<pixel>` of its upper left corner; its columns are those of
    docs/shards.md. The granule's counts are changed in place.

    Args:
        granule: What `read_counts` gave.
        beside: Its companions.
        recipe: `size`, `stride`, `min_valid`, `min_cloud`, `min_water`, `dead_detectors`, `night`,
            `night_zenith`, as the configuration's `tile`.
    """
    size = recipe["size"]
    places = np.array(
        list(corners(granule.counts.shape[1:], size=size, stride=recipe["stride"])), np.int64
    ).reshape(-1, 2)
    ready = prepare(granule, recipe["dead_detectors"])
    cut = Cut(companions=beside.products, dead_detectors=ready.dead)
    emissive = np.array([band(name).emissive for name in granule.bands])
    for columns in _columns(granule, beside, places, size):
        row, column = columns["row"], columns["column"]
        counts = ready.counts[:, row : row + size, column : column + size]
        columns["night"] = bool(columns["solar_zenith"] > recipe["night_zenith"])
        asked = ready.asked & (emissive | (not columns["night"]))
        if columns["night"] and not emissive.all() and recipe["night"] == "drop_chip":
            reason: str | None = NIGHT
        elif not asked.any():
            reason = NIGHT if ready.asked.any() else REASONS[_CHIP_REASONS[DEAD_DETECTOR_COUNT]]
        else:
            reason = drop_reason(
                counts if asked.all() else counts[asked], min_valid=recipe["min_valid"]
            ) or unwanted(columns, recipe)
        if reason is not None:
            cut.dropped[reason] += 1
            continue
        filled = ready.filled[:, row : row + size]
        cut.kept.append(
            ChipSample(
                key=f"{granule.path.name}:{row}:{column}",
                counts=counts.copy(),  # a view would keep the granule in memory
                scale=granule.scale,
                offset=granule.offset,
                fields=columns,
                filled=filled.copy() if filled.any() else None,
            )
        )
    return cut
