"""Cut a granule into chips, and say why the others were dropped."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import REASONS, VALID
from workflow_scripts.modis.geolocation import pixel_positions
from workflow_scripts.modis.l1b import Counts
from workflow_scripts.shards.writer import ChipSample

NO_POSITION = "no position"


@dataclass(frozen=True, kw_only=True)
class Cut:
    """The chips of one granule, and how many others were dropped by reason."""

    kept: list[ChipSample] = field(default_factory=list)
    dropped: Counter[str] = field(default_factory=Counter)


def corners(shape: tuple[int, int], *, size: int, stride: int) -> Iterator[tuple[int, int]]:
    """Line and pixel of the upper left corner of each whole chip, line by line."""
    for row in range(0, shape[0] - size + 1, stride):
        for column in range(0, shape[1] - size + 1, stride):
            yield row, column


def drop_reason(reason: NDArray[np.uint8], *, max_missing: float) -> str | None:
    """Why a chip is dropped: the commonest reason in it, or None if it is kept.

    Args:
        reason: (bands, height, width) codes of `bands.REASONS`.
        max_missing: Largest share of pixels without a value in some band.
    """
    missing = (reason != VALID).any(axis=0).mean()
    if missing <= max_missing:
        return None
    counts = np.bincount(reason.ravel(), minlength=len(REASONS))
    counts[VALID] = 0
    return REASONS[int(counts.argmax())]


def cut_chips(granule: Counts, *, size: int, stride: int, max_missing: float) -> Cut:
    """Cut a granule into square chips of its counts as stored.

    A chip's key is `<file name>:<line>:<pixel>` of its upper left corner; its fields are the
    granule, that `row` and `column`, the position of pixel (size // 2, size // 2), the granule's
    start time (ISO text, UTC) and its platform.

    Args:
        granule: What `read_counts` gave.
        size: Height and width in pixels.
        stride: Distance between corners in pixels.
        max_missing: As in `drop_reason`.
    """
    cut = Cut()
    places = list(corners(granule.counts.shape[1:], size=size, stride=stride))
    if not places:
        return cut
    rows, columns = np.array(places).T
    latitude, longitude = pixel_positions(
        granule.latitude, granule.longitude, rows=rows + size // 2, columns=columns + size // 2
    )
    for index, (row, column) in enumerate(places):
        window = np.s_[:, row : row + size, column : column + size]
        reason = drop_reason(granule.reason[window], max_missing=max_missing)
        if reason is None and np.isnan(latitude[index]):
            reason = NO_POSITION
        if reason is not None:
            cut.dropped[reason] += 1
            continue
        cut.kept.append(
            ChipSample(
                key=f"{granule.path.name}:{row}:{column}",
                counts=granule.counts[window].copy(),  # a view would keep the granule in memory
                scale=granule.scale,
                offset=granule.offset,
                fields={
                    "granule": granule.path.name,
                    "row": row,
                    "column": column,
                    "latitude": float(latitude[index]),
                    "longitude": float(longitude[index]),
                    "time": granule.name.iso_time,
                    "platform": granule.name.platform,
                },
            )
        )
    return cut
