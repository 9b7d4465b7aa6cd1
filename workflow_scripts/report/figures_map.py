"""Where on Earth the chips are."""

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PolyCollection
from matplotlib.colors import LogNorm, Normalize, to_rgba
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator
from numpy.typing import NDArray

from workflow_scripts.report.chip_samples import Positions, degrees, positions
from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.figure_data import Column, Table, Value
from workflow_scripts.report.style import (
    FAINT,
    GREY,
    WIDTH,
    mark_synthetic,
    plain,
    platform_style,
    save,
)

MOST_DAYS = 60  # day files whose positions are read
MOST_POINTS = 2000  # above this many a point each makes the file large and hides what is below
_SEA = "#f4f7fa"
_STEPS = (0.5, 1, 2, 5, 10, 15, 30)  # degrees between lines of the graticule


@dataclass(frozen=True, kw_only=True)
class View:
    """The part of the Earth that is shown: longitudes may run past 180."""

    west: float
    east: float
    south: float
    north: float

    @property
    def whole(self) -> bool:
        """Whether it is all of the Earth."""
        return self.east - self.west >= 360

    @property
    def step(self) -> float:
        """Degrees between two lines of the graticule: some six to twelve across."""
        return next((s for s in _STEPS if (self.east - self.west) / s <= 12), _STEPS[-1])

    @property
    def cell(self) -> float:
        """Degrees, height and width of a cell in which chips are counted."""
        return max(round(self.step / 15 * 2) / 2, 0.5)  # a chip is about a degree wide

    @property
    def aspect(self) -> float:
        """A degree of latitude over one of longitude, true in the middle of a zoomed view."""
        middle = np.radians((self.south + self.north) / 2)
        return 1.0 if self.whole else float(1 / max(np.cos(middle), 0.2))

    def wrapped(self, longitude: NDArray[np.float64]) -> NDArray[np.float64]:
        """Longitudes moved by full turns into the view."""
        return (longitude - self.west) % 360 + self.west


WHOLE = View(west=-180, east=180, south=-90, north=90)


def choose_view(latitude: NDArray[np.float64], longitude: NDArray[np.float64]) -> View:
    """Where these points are with a margin, if that is a small part of the Earth, else all of it.

    Longitudes go round: the view leaves out the widest stretch without a point, so that points on
    both sides of the date line stay together.
    """
    turned = np.sort(longitude % 360)
    gaps = np.diff(turned, append=turned[0] + 360)
    widest = int(gaps.argmax())
    west, wide = float(turned[(widest + 1) % len(turned)]), 360 - float(gaps[widest])
    south, high = float(latitude.min()), float(np.ptp(latitude))
    if wide > 120 or high > 60 or np.abs(latitude).max() > 75:
        return WHOLE
    # A page's shape, twice as wide as high in kilometres, whatever the shape of the points.
    shrink = float(np.cos(np.radians(south + high / 2)))
    height = max(1.2 * high, 0.6 * wide * shrink, 4.0)
    width = 2 * height / shrink
    middle = (west + wide / 2 + 180) % 360 - 180, south + high / 2
    return View(
        west=middle[0] - width / 2, east=middle[0] + width / 2,
        south=middle[1] - height / 2, north=middle[1] + height / 2,
    )  # fmt: skip


def _graticule(axes: Axes, view: View, *, narrow: bool = False) -> None:
    step = view.step * (2 if narrow else 1)
    axes.set_xlim(view.west, view.east)
    axes.set_ylim(view.south, view.north)
    axes.set_xticks(np.arange(np.ceil(view.west / step) * step, view.east + step / 100, step))
    # Not at the poles: their labels would meet those of the meridians.
    axes.set_yticks(
        np.arange(np.ceil(max(view.south, -89) / step) * step, min(view.north, 89), step)
    )
    digits = 0 if step == int(step) else 1

    def meridian(value: float, _: float) -> str:
        value = (value + 180) % 360 - 180
        return "180°" if abs(value) == 180 else degrees(value, "EW", digits)

    axes.xaxis.set_major_formatter(FuncFormatter(meridian))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: degrees(value, "NS", digits)))
    axes.tick_params(labelsize=7.5)
    axes.set_aspect(view.aspect)
    axes.set_facecolor(_SEA)
    axes.grid(linewidth=0.5)
    axes.axhline(0, color=GREY, lw=0.8, zorder=0.9)
    for spine in axes.spines.values():
        spine.set_visible(True)
        spine.set_color(FAINT)


def map_figure(corpus: CorpusData, folder: Path) -> Path:
    """`map_<corpus>.svg`: chips by platform: outlines and centres or, of many, densities."""
    found = positions(corpus, most_days=MOST_DAYS, most_corners=MOST_POINTS)
    view = choose_view(*found.centres.T)
    single = len(found.centres) <= MOST_POINTS
    figure = _points(found, view) if single else _densities(found, view)
    figure.suptitle(_title(corpus, found), x=0.01, ha="left", fontsize=9.5, weight="bold")
    mark_synthetic(figure, corpus.synthetic)
    columns, rows = _single_chips(found) if single else _cells(found, view)
    data = Table(
        name=f"map_{corpus.name}", title=_title(corpus, found), columns=columns, rows=rows,
        synthetic=corpus.synthetic,
    )  # fmt: skip
    return save(figure, folder, data.name, data)


def _single_chips(found: Positions) -> tuple[list[Column], list[list[Value]]]:
    """A row for each chip: its centre, then its corners, going round it."""
    places = ["centre", *(f"corner {number}" for number in range(1, 5))]
    columns = [Column("satellite")]
    for place in (
        places if all(p.corners is not None for p in found.places.values()) else places[:1]
    ):
        columns.append(Column(f"{place} latitude", "degrees north"))
        columns.append(Column(f"{place} longitude", "degrees east"))
    rows: list[list[Value]] = []
    for platform, of_it in found.places.items():
        parts = [of_it.centres[:, None]] + ([] if of_it.corners is None else [of_it.corners])
        numbers = np.concatenate(parts, axis=1).reshape(len(of_it.centres), -1)  # north, east, …
        rows += [[platform, *row] for row in numbers.tolist()]
    return columns, rows


def _cells(found: Positions, view: View) -> tuple[list[Column], list[list[Value]]]:
    """A row for each cell with a chip: its southern and western edge and the chips in it."""
    columns = [
        Column("satellite"), Column("south", "degrees north"), Column("west", "degrees east"),
        Column("height and width", "degrees"), Column("chips"),
    ]  # fmt: skip
    rows: list[list[Value]] = []
    for platform, of_it in found.places.items():
        counts, south, west = cells(of_it.centres, view)
        for down, across in np.argwhere(counts).tolist():
            east = (west[across] + 180) % 360 - 180
            rows.append([platform, south[down], east, view.cell, int(counts[down, across])])
    return columns, rows


def _title(corpus: CorpusData, found: Positions) -> str:
    count = len(found.centres)
    if found.days_read == found.days:
        return "Where the chip is" if count == 1 else f"Where all {count:,} chips are"
    return (
        f"Where {count:,} of {len(corpus.samples):,} chips are: "
        f"those of {found.days_read} of {found.days:,} day files, evenly spread"
    )


def _points(found: Positions, view: View) -> Figure:
    figure, axes = plt.subplots(figsize=(WIDTH, 5.2), layout="constrained")
    _graticule(axes, view)
    for platform, places in found.places.items():
        colour, marker = platform_style(platform)
        latitude, longitude = places.centres.T
        wrapped = view.wrapped(longitude)
        if places.corners is not None:
            _outlines(axes, places.corners, longitude=longitude, wrapped=wrapped, colour=colour)
        axes.plot(
            wrapped, latitude, marker, color=colour, mew=0, ms=2 if view.whole else 4,
            label=_label(platform, len(latitude)),
        )  # fmt: skip
    figure.legend(loc="outside lower right", ncols=4, markerscale=3 if view.whole else 1.5)
    return figure


def _label(platform: str, count: int) -> str:
    return plain(f"{platform}, {count:,} {'chip' if count == 1 else 'chips'}")


def _outlines(
    axes: Axes, corners: NDArray[np.float64], *, longitude: NDArray[np.float64],
    wrapped: NDArray[np.float64], colour: str,
) -> None:  # fmt: skip
    """Chips as four-sided figures; not those around a pole, which have no outline on this map."""
    east = (corners[..., 1] - longitude[:, None] + 180) % 360 - 180
    outlines = np.stack([wrapped[:, None] + east, corners[..., 0]], axis=-1)
    shown = outlines[np.ptp(east, axis=1) < 90]
    axes.add_collection(
        PolyCollection(list(shown), facecolors=to_rgba(colour, 0.22), edgecolors=colour, lw=0.6),
        autolim=False,
    )


def cells(
    centres: NDArray[np.float64], view: View
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """How many of (n, 2) centres are in each cell of a view.

    Returns:
        Counts (rows, columns), and the edges of rows and columns in degrees.
    """
    rows = np.arange(view.south, view.north + view.cell, view.cell)
    columns = np.arange(view.west, view.east + view.cell, view.cell)
    counts, *_ = np.histogram2d(centres[:, 0], view.wrapped(centres[:, 1]), bins=(rows, columns))
    return counts, rows, columns


def _densities(found: Positions, view: View) -> Figure:
    """A map a platform, side by side, with one scale: chips in a cell of latitude and longitude."""
    count = len(found.places)
    figure, grid = plt.subplots(
        1, count, figsize=(WIDTH, 5.4 if count == 1 else 3.0), squeeze=False, layout="constrained"
    )
    every = {name: cells(places.centres, view) for name, places in found.places.items()}
    _, rows, columns = next(iter(every.values()))
    counts = {name: numbers for name, (numbers, _, _) in every.items()}
    most = max(numbers.max() for numbers in counts.values())
    norm = LogNorm(1, most) if most > 30 else Normalize(1, max(most, 2))
    for axes, (name, numbers) in zip(grid[0], counts.items(), strict=True):
        _graticule(axes, view, narrow=count > 1)
        picture = axes.imshow(
            np.ma.masked_equal(numbers, 0), origin="lower", norm=norm, cmap="viridis_r",
            extent=(columns[0], columns[-1], rows[0], rows[-1]), aspect=view.aspect,
        )  # fmt: skip
        axes.set_xlim(view.west, view.east)
        axes.set_ylim(view.south, view.north)
        axes.set_title(_label(name, len(found.places[name].centres)), fontsize=8.5)
    bar = figure.colorbar(picture, ax=list(grid[0]), fraction=0.025, pad=0.01, shrink=0.85)
    bar.set_label(f"chips in a cell of {view.cell:g}° × {view.cell:g}°")
    bar.locator = LogLocator(subs=(1, 2, 5)) if most > 30 else MaxNLocator(5, integer=True)
    bar.formatter = FuncFormatter(lambda value, _: f"{value:,.0f}")
    bar.ax.minorticks_off()
    bar.outline.set_visible(False)
    return figure
