"""A few chips of a corpus of any size, evenly spread, with what is known of each."""

import itertools
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BANDS, BRIGHTNESS
from workflow_scripts.modis.calibration import brightness_temperature
from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.style import in_order

_COLUMNS = ("platform", "time", "latitude", "longitude", "cloud_share", "night")


@dataclass(frozen=True, kw_only=True)
class Chip:
    """One chip: `values` float32 (bands, height, width) in physical units, NaN without a value.

    `key` says where it came from, `number` which sample of the corpus it is.
    `time` is that of its granule's start, in seconds since 1970 (UTC); positions are of its centre;
    `cloud_share` is NaN where no cloud mask was.
    """

    key: str
    number: int
    values: NDArray[np.float32]
    platform: str
    time: int
    latitude: float
    longitude: float
    cloud_share: float
    night: bool
    label: str | None

    @property
    def when(self) -> str:
        """`2026-01-01 10:05`, in UTC."""
        return f"{datetime.fromtimestamp(self.time, UTC):%Y-%m-%d %H:%M}"

    @property
    def caption(self) -> list[str]:
        """When, where, how cloudy, and its class if it has one, a line each."""
        cloud = "unknown" if np.isnan(self.cloud_share) else f"{100 * self.cloud_share:.0f} %"
        return [
            f"{self.when} UTC",
            f"{degrees(self.latitude, 'NS')}, {degrees(self.longitude, 'EW')}",
            f"{self.platform}, cloud {cloud}{', night' if self.night else ''}",
            *([] if self.label is None else [f"class {self.label}"]),
        ]


@dataclass(frozen=True, kw_only=True)
class Places:
    """Where the chips of one platform are, in degrees.

    `centres` (n, 2) is latitude and longitude; `corners` (n, 4, 2) goes round the chip, None where
    there are too many chips to show them.
    """

    centres: NDArray[np.float64]
    corners: NDArray[np.float64] | None


@dataclass(frozen=True, kw_only=True)
class Positions:
    """Chips by platform, and of how many of the day files."""

    places: dict[str, Places]
    days_read: int
    days: int

    @property
    def centres(self) -> NDArray[np.float64]:
        """(n, 2) of all platforms."""
        return np.concatenate([places.centres for places in self.places.values()])


def degrees(value: float, letters: str, digits: int = 1) -> str:
    """`12.3° N`: an angle with the letter of its sign, the first for positive ones."""
    letter = "" if round(value, digits) == 0 else f" {letters[0 if value > 0 else 1]}"
    return f"{abs(value):.{digits}f}°{letter}"


def evenly(total: int, count: int) -> list[int]:
    """One of each of `count` equal stretches of `range(total)`; all of it if it is not longer.

    The place within its stretch goes by the golden ratio: equal steps would fall into step with the
    rows of granules and always meet the same edge of the swath.
    """
    if count >= total:
        return list(range(total))
    golden = (5**0.5 - 1) / 2
    edges = [place * total // count for place in range(count + 1)]
    return [
        start + int((place + 1) * golden % 1 * (end - start))
        for place, (start, end) in enumerate(itertools.pairwise(edges))
    ]


def sample_chips(corpus: CorpusData, count: int) -> Iterator[Chip]:
    """Up to `count` chips evenly spread over the corpus; one day file is open at a time.

    Raises:
        UserError: A day file is missing or a chip does not match its checksum.
    """
    samples = corpus.samples
    chosen = np.array(evenly(len(samples), count))
    labels = samples.labels if samples.classes else None
    start = 0
    for shard, rows in samples.parts():
        here = chosen[(chosen >= start) & (chosen < start + len(rows))]
        columns = shard.fields(*_COLUMNS) if len(here) else {}
        for number in here.tolist():
            row = rows[number - start]
            label = -1 if labels is None else labels[number]
            yield Chip(
                key=shard.key(row),
                number=number,
                values=shard.physical(row),
                platform=str(columns["platform"][row]),
                time=int(columns["time"][row]),
                latitude=float(columns["latitude"][row]),
                longitude=float(columns["longitude"][row]),
                cloud_share=float(columns["cloud_share"][row]),
                night=bool(columns["night"][row]),
                label=samples.classes[label] if label >= 0 else None,
            )
        start += len(rows)
        shard.close()


def positions(corpus: CorpusData, *, most_days: int, most_corners: int) -> Positions:
    """Where the chips of up to `most_days` day files are, evenly spread over all of them.

    Args:
        corpus: A corpus of chips.
        most_days: How many day files are read.
        most_corners: Corners are read where there are no more chips than this in them.
    """
    counts = [len(rows) for _, rows in corpus.samples.parts()]
    chosen = set(evenly(len(counts), most_days))
    pairs = ["latitude", "longitude"]
    if sum(counts[place] for place in chosen) <= most_corners:
        pairs += ["corner_latitude", "corner_longitude"]
    found: dict[str, list[list[NDArray[np.float64]]]] = {}
    for place, (shard, rows) in enumerate(corpus.samples.parts()):
        if place not in chosen:
            continue
        columns = {name: values[rows] for name, values in shard.fields("platform", *pairs).items()}
        shard.close()
        # (n, 2), then (n, 4, 2) if corners are wanted.
        stacked = [
            np.stack([columns[north], columns[east]], axis=-1)
            for north, east in zip(pairs[::2], pairs[1::2], strict=True)
        ]
        for platform in np.unique(columns["platform"].astype(str)).tolist():
            of_it = columns["platform"] == platform
            found.setdefault(platform, []).append([values[of_it] for values in stacked])
    places = {}
    for platform in in_order(found):
        joined = [np.concatenate(parts) for parts in zip(*found[platform], strict=True)]
        corners = joined[1] if len(joined) > 1 else None
        places[platform] = Places(centres=joined[0], corners=corners)
    return Positions(places=places, days_read=len(chosen), days=len(counts))


@dataclass(frozen=True, kw_only=True)
class Scale:
    """What a band's values are shown as: the name of the quantity and its units."""

    quantity: str
    units: str

    @property
    def temperature(self) -> bool:
        """Whether it is a brightness temperature, in K."""
        return self.units == "K"


def shown_as(corpus: CorpusData, band: str, platforms: set[str]) -> Scale:
    """Brightness temperature where all these platforms have constants for it, else as stored."""
    first = corpus.samples.shards[0]
    if first.quantity == "radiance" and all((name, band) in BRIGHTNESS for name in platforms):
        return Scale(quantity="brightness temperature", units="K")
    return Scale(quantity=first.quantity or "physical value", units=first.units)


def in_scale(chip: Chip, channel: int, band: str, scale: Scale) -> NDArray[np.float32]:
    """(height, width) of one band, as temperature by its platform's own constants if asked for."""
    values = chip.values[channel]
    if scale.temperature:
        found = brightness_temperature(values, band=band, platform=chip.platform)
        return found.astype(np.float32)
    return values


def band_title(band: str) -> str:
    """`Band 31 (11.03 µm)`, without a wavelength where it is no MODIS band."""
    return f"Band {band} ({BANDS[band].wavelength:g} µm)" if band in BANDS else f"Band {band}"
