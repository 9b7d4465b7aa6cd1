"""Pictures of the data: samples of each class, chips as people look at them."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure, FigureBase
from numpy.typing import NDArray

from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.pictures import (
    FalseColour,
    is_thermal,
    map_band,
    spread_out,
    thumbnail,
)
from workflow_scripts.report.style import mark_synthetic, plain, pretty_units, save
from workflow_scripts.shards.layout import IMAGES

MOST_CLASSES = 60
CHIPS_SHOWN = 6
WIDTH, GAP, LINE = 10.0, 0.18, 0.24  # inches: of the figure, between classes, of a class's name


def bare(axes: Axes) -> None:
    """Axes that only hold a picture."""
    axes.set_xticks([])
    axes.set_yticks([])
    axes.grid(False)
    for spine in axes.spines.values():
        spine.set_visible(False)


def data_figure(corpus: CorpusData, folder: Path, *, per_class: int) -> Path:
    """`data_<corpus>.svg`: sample images by class, or chips as grey map and false colour."""
    figure = images(corpus, per_class) if corpus.samples.kind == IMAGES else chips(corpus)
    mark_synthetic(figure, corpus.synthetic)
    return save(figure, folder, f"data_{corpus.name}")


def images(corpus: CorpusData, per_class: int) -> Figure:
    """A few samples of each class, side by side under the class's name."""
    labels = corpus.samples.labels
    groups = [
        (name, np.flatnonzero(labels == label)) for label, name in enumerate(corpus.samples.classes)
    ]
    groups = [(name, rows) for name, rows in groups if len(rows)][:MOST_CLASSES]
    if not groups:
        groups, per_class = [("", np.arange(len(labels)))], 16
    across = max(1, min(len(groups), 12 // per_class))
    down = -(-len(groups) // across)
    # Inches: each class has a block of `per_class` squares below a line for its name.
    block = (WIDTH + GAP) / across - GAP
    square = (block - (per_class - 1) * GAP / 4) / per_class
    height = down * (square + GAP + LINE) - GAP
    figure = plt.figure(figsize=(WIDTH, height))
    side = 96 if len(groups) * per_class <= 60 else 72
    for number, (name, rows) in enumerate(groups):
        down_at, across_at = divmod(number, across)
        left = across_at * (block + GAP)
        top = height - down_at * (square + GAP + LINE)
        figure.text(left / WIDTH, (top - LINE * 0.75) / height, plain(name, 30), weight="bold")
        for place, row in enumerate(spread_out(rows, per_class)):
            corner = left + place * (square + GAP / 4), top - LINE - square
            axes = figure.add_axes(
                (corner[0] / WIDTH, corner[1] / height, square / WIDTH, square / height)
            )
            axes.imshow(thumbnail(corpus.samples, row, side))
            axes.set_axis_off()
    return figure


def chips(corpus: CorpusData) -> Figure:
    """Above: one band as a grey map with its scale. Below: three bands as false colour."""
    bands = corpus.index["bands"]
    rows = spread_out(np.arange(len(corpus.samples)), CHIPS_SHOWN)
    found = np.stack([corpus.samples.physical(row).transpose(1, 2, 0) for row in rows])
    figure = plt.figure(figsize=(WIDTH, 2 * WIDTH / max(len(rows), 3) + 0.7), layout="constrained")
    channel, colour = map_band(bands), FalseColour(found, bands)
    thermal = is_thermal(bands[channel])
    title = f"band {plain(bands[channel])}{', cold is bright' if thermal else ''}"
    halves = figure.subfigures(2, 1, squeeze=False)[:, 0]
    grids = [half.subplots(1, len(rows), squeeze=False)[0] for half in halves]
    for half, text in zip(halves, (title, plain(colour.caption, 120)), strict=True):
        half.suptitle(text, x=0.005, ha="left", fontsize=9.5, weight="bold")
    units = corpus.samples.shards[0].units
    grey_maps(grids[0], found[..., channel], units=units, figure=halves[0], thermal=thermal)
    for axes, chip in zip(grids[1], found, strict=True):
        axes.imshow(colour(chip))
    for axes in (*grids[0], *grids[1]):
        bare(axes)
    return figure


def grey_maps(
    grid: NDArray[Any], values: NDArray[Any], *, units: str, figure: FigureBase, thermal: bool
) -> None:
    """(…, height, width) on as many axes with one scale, its bar at their right.

    Of a thermal band little radiance is bright: cold clouds look white, as people know them.
    """
    low, high = np.nanpercentile(values, (1, 99))
    pictures = values.reshape(-1, *values.shape[-2:])
    for axes, value in zip(grid.flat, pictures, strict=True):
        picture = axes.imshow(
            value, cmap="gray_r" if thermal else "gray", vmin=low, vmax=max(high, low + 1e-9)
        )
    bar = figure.colorbar(picture, ax=list(grid.flat), fraction=0.02, pad=0.01)
    bar.set_label(pretty_units(units or "physical units"))
    bar.outline.set_visible(False)
