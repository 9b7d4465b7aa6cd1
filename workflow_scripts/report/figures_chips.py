"""Chips as people look at them: temperature in grey with cold clouds white, and false colour."""

from pathlib import Path
from typing import Any

import matplotlib
import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure, FigureBase
from matplotlib.patches import Rectangle
from matplotlib.ticker import FuncFormatter
from numpy.typing import NDArray

from workflow_scripts.report.chip_samples import (
    Chip,
    Scale,
    band_title,
    in_scale,
    sample_chips,
    shown_as,
)
from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.pictures import FalseColour, is_thermal, limits, map_band
from workflow_scripts.report.style import (
    FAINT,
    NO_VALUE,
    WIDTH,
    bare,
    mark_synthetic,
    plain,
    pretty_units,
    save,
)

CHIPS_SHOWN, LEAST_ACROSS = 6, 4
# Inches: between pictures, of a row's title, of a line of a caption, beside a row for its scale.
GAP, TITLE, LINE, BESIDE = 0.09, 0.36, 0.145, 0.95
# What the usual false colour looks like, as FalseColour paints (cold, 1.6 µm, 2.1 µm).
_LOOKS = (("ice cloud", "#e8967e"), ("water cloud", "#7fe3e3"), ("clear sea", "#10181c"))


def chips_figure(corpus: CorpusData, folder: Path) -> Path:
    """`data_<corpus>.svg`: above a thermal band, below three bands as colours, of the same chips.

    Up to six chips, evenly spread over the corpus, each with its time, position and cloud share.
    """
    bands = corpus.index["bands"]
    chips = list(sample_chips(corpus, CHIPS_SHOWN))
    channel = map_band(bands)
    scale = shown_as(corpus, bands[channel], {chip.platform for chip in chips})
    maps = np.stack([in_scale(chip, channel, bands[channel], scale) for chip in chips])
    stacked = np.stack([chip.values.transpose(1, 2, 0) for chip in chips])
    across = max(len(chips), LEAST_ACROSS)
    square = (WIDTH - BESIDE - GAP * (across - 1)) / across
    lines = max(len(chip.caption) for chip in chips)
    height = 2 * (TITLE + square) + lines * LINE + 0.05
    figure = plt.figure(figsize=(WIDTH, height))
    upper, lower = (
        _row(figure, len(chips), top=height - TITLE - place * (TITLE + square), square=square)
        for place in range(2)
    )
    _map_row(figure, upper, maps, scale=scale, band=bands[channel])
    _colour_row(lower, chips, FalseColour(stacked, bands), stacked)
    for axes, chip in zip(lower, chips, strict=True):
        _caption(axes, chip)
    mark_synthetic(figure, corpus.synthetic)
    data = _data(corpus, chips)
    return save(figure, folder, data.name, data)


def _data(corpus: CorpusData, chips: list[Chip]) -> Table:
    """Which chips are shown."""
    return Table(
        name=f"data_{corpus.name}",
        title=f"Chips of {corpus.label} that are shown",
        columns=[
            "key", "sample", "satellite", Column("granule begins", "UTC"),
            Column("latitude", "degrees north"), Column("longitude", "degrees east"),
            Column("cloudy", "%", absent="unknown"), "night", "class",
        ],
        rows=[
            [c.key, c.number, c.platform, c.when, c.latitude, c.longitude, 100 * c.cloud_share,
             c.night, c.label]
            for c in chips
        ],
        synthetic=corpus.synthetic,
        note="`sample` is its number in the packed corpus; positions are of centres.",
    )  # fmt: skip


def _row(figure: Figure, count: int, *, top: float, square: float) -> list[Axes]:
    """Bare axes side by side, in inches below `top`."""
    width, height = figure.get_size_inches()
    row = []
    for number in range(count):
        left = number * (square + GAP)
        place = left / width, (top - square) / height, square / width, square / height
        row.append(figure.add_axes(place))
        bare(row[-1])
    return row


def _title(axes: Axes, text: str) -> None:
    axes.text(
        0, 1.05, plain(text, 130), transform=axes.transAxes, fontsize=9.5, weight="bold",
        va="bottom",
    )  # fmt: skip


def _map_row(
    figure: Figure, row: list[Axes], maps: NDArray[Any], *, scale: Scale, band: str
) -> None:
    thermal = is_thermal(band)
    tail = ", cold is bright" if thermal else ""
    _title(row[0], f"{band_title(band)}: {scale.quantity.replace('_', ' ')}{tail}")
    picture = _grey(row, maps, thermal=thermal)
    width = figure.get_size_inches()[0]
    last = row[-1].get_position()
    place = last.x1 + 0.12 / width, last.y0, 0.1 / width, last.height
    bar = figure.colorbar(picture, cax=figure.add_axes(place))
    bar.outline.set_visible(False)
    if scale.temperature:
        bar.formatter = FuncFormatter(lambda value, _: f"{value:.0f} K")
    else:
        bar.set_label(pretty_units(scale.units or "physical units"))


def _colour_row(
    row: list[Axes], chips: list[Chip], colour: FalseColour, stacked: NDArray[Any]
) -> None:
    """(n, height, width, bands) as false colour, with a key at the right of what colours mean."""
    missing = np.isnan(stacked[..., colour.channels])
    gone = missing.all(axis=(1, 2)).any(axis=-1)  # in one of the three bands
    for number, axes in enumerate(row):
        if gone[number]:
            _nothing(axes, "no reflected\nlight at night" if chips[number].night else "no value")
        else:
            axes.imshow(colour(stacked[number]))
    _title(row[0], f"False colour: {colour.caption}")
    key = list(_LOOKS) if colour.usual and not gone.all() else []
    if missing[~gone].any():
        key.append(("no value", NO_VALUE))
    figure, box = row[-1].get_figure(), row[-1].get_position()
    assert isinstance(figure, Figure)
    width, height = figure.get_size_inches()
    for number, (name, shade) in enumerate(key):
        left, bottom = box.x1 + 0.12 / width, box.y1 - (0.14 + 0.22 * number) / height
        patch = Rectangle((left, bottom), 0.12 / width, 0.12 / height, color=shade, lw=0)
        patch.set_transform(figure.transFigure)
        figure.add_artist(patch)
        figure.text(left + 0.18 / width, bottom + 0.06 / height, name, fontsize=7.5, va="center")


def _nothing(axes: Axes, text: str = "no value") -> None:
    axes.set_facecolor(FAINT)
    axes.text(0.5, 0.5, text, transform=axes.transAxes, fontsize=8, ha="center", va="center")


def _caption(axes: Axes, chip: Chip) -> None:
    axes.text(
        0, -0.04, "\n".join(plain(line) for line in chip.caption), transform=axes.transAxes,
        fontsize=7, va="top", linespacing=1.35,
    )  # fmt: skip


def _grey(row: list[Axes], values: NDArray[Any], *, thermal: bool) -> ScalarMappable:
    """(n, height, width) in grey with one scale on as many axes; what has no value is painted.

    Returns what a scale bar is made from.
    """
    low, high = limits(values, (1, 99))
    cmap = matplotlib.colormaps["gray_r" if thermal else "gray"].with_extremes(bad=NO_VALUE)
    for axes, value in zip(row, values, strict=True):
        if np.isnan(value).all():
            _nothing(axes)
        else:
            axes.imshow(np.ma.masked_invalid(value), cmap=cmap, vmin=low, vmax=high)
    return ScalarMappable(Normalize(low, high), cmap)


def grey_maps(
    grid: NDArray[Any], values: NDArray[Any], *, units: str, figure: FigureBase, thermal: bool
) -> None:
    """(…, height, width) on as many axes with one scale, its bar at their right.

    Of a thermal band little radiance is bright: cold clouds look white, as people know them.
    """
    picture = _grey(list(grid.flat), values.reshape(-1, *values.shape[-2:]), thermal=thermal)
    bar = figure.colorbar(picture, ax=list(grid.flat), fraction=0.02, pad=0.01)
    bar.set_label(pretty_units(units or "physical units"))
    bar.outline.set_visible(False)
