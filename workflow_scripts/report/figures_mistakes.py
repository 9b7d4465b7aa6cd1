"""What an encoder takes for something else, shown with its images: the most confident mistakes."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from workflow_scripts.probe.reading import protocol_title
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.pictures import FalseColour, Rgb, thumbnail
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import (
    GREEN,
    GREY,
    INK,
    RED,
    WIDTH,
    bare,
    mark_synthetic,
    plain,
    save,
)
from workflow_scripts.shards.layout import IMAGES

MOST, ACROSS = 12, 6
SIDE = 128  # pixels of a shown image
# Inches: the figure's title, a line of text, between columns, and between rows of images.
_TITLE, _LINE, _GAP, _BETWEEN = 0.3, 0.22, 0.2, 0.58


def mistakes(pictures: dict[str, NDArray[Any]]) -> NDArray[np.int64]:
    """Places among the test samples of the wrong ones, the most confident first.

    With several labels a sample is wrong if the class it is surest of is none of its own.
    """
    labels, predicted = pictures["labels"], pictures["predicted"]
    several = labels.ndim == 2
    wrong = ~labels[np.arange(len(labels)), predicted] if several else labels != predicted
    places = np.flatnonzero(wrong)
    return places[np.argsort(-pictures["confidence"][places], kind="stable")]


def true_names(labels: NDArray[Any], classes: list[str]) -> str:
    """The class of a sample, or all of its several."""
    if labels.ndim == 0:
        return classes[int(labels)]
    return ", ".join(classes[label] for label in np.flatnonzero(labels)) or "no class"


def shown(probe: ProbeData, rows: NDArray[np.int64]) -> list[Rgb]:
    """The samples as people look at them; chips in the false colour of all of them together."""
    if probe.samples.kind == IMAGES:
        return [thumbnail(probe.samples, int(row), SIDE) for row in rows]
    chips = np.stack([probe.samples.physical(int(row)).transpose(1, 2, 0) for row in rows])
    colour = FalseColour(chips, probe.samples.index["bands"])
    return [colour(chip) for chip in chips]


def mistakes_figure(probe: ProbeData, folder: Path) -> Path:
    """`mistakes_<encoder>_<benchmark>.svg`: up to twelve, each with both classes."""
    assert probe.pictures is not None
    found = probe.pictures
    wrong = mistakes(found)
    chosen = wrong[:MOST]
    data = _data(probe, chosen)
    if not len(chosen):
        figure, axes = plt.subplots(figsize=(6, 0.8))
        bare(axes)
        axes.text(0.5, 0.5, f"None of {len(found['labels']):,} test samples was taken for another.",
                  ha="center", va="center", color=GREY)  # fmt: skip
        mark_synthetic(figure, probe.synthetic)
        return save(figure, folder, data.name, data)
    down, across = -(-len(chosen) // ACROSS), min(ACROSS, len(chosen))
    square = (WIDTH + _GAP) / ACROSS - _GAP
    width, height = max(across, 3) * (square + _GAP) - _GAP, down * (square + _BETWEEN) + _TITLE
    figure = plt.figure(figsize=(width, height))
    images = shown(probe, found["test_rows"][chosen])
    for number, (place, image) in enumerate(zip(chosen, images, strict=True)):
        down_at, across_at = divmod(number, ACROSS)
        left = across_at * (square + _GAP)
        bottom = height - _TITLE - _LINE - square - down_at * (square + _BETWEEN)
        axes = figure.add_axes((left / width, bottom / height, square / width, square / height))
        bare(axes)
        axes.imshow(image)
        _captions(axes, probe, int(place))
    title = f"{_count(len(chosen), len(wrong))} among {len(found['labels']):,} test samples"
    figure.text(0, 1, title, fontweight="bold", fontsize=9.5, va="top")
    mark_synthetic(figure, probe.synthetic)
    return save(figure, folder, data.name, data)


def _data(probe: ProbeData, chosen: NDArray[np.int64]) -> Table:
    """Which samples are shown, and what they were taken for."""
    assert probe.pictures is not None
    labels, predicted, confidence, rows = (
        probe.pictures[name][chosen] for name in ("labels", "predicted", "confidence", "test_rows")
    )
    return Table(
        name=f"mistakes_{probe.file_name}",
        title=f"The surest mistakes of {probe.label} on {probe.benchmark_label}, "
        f"{protocol_title(probe.headline)}",
        columns=["key", "sample", "true class", "predicted class", Column("how sure", "%", ".0f")],
        rows=[
            [probe.samples.key(int(row)), int(row), true_names(label, probe.classes),
             probe.classes[int(taken)], 100 * float(sure)]
            for row, label, taken, sure in zip(rows, labels, predicted, confidence, strict=True)
        ],
        synthetic=probe.synthetic,
        note="`sample` is its number in the packed benchmark.",
    )  # fmt: skip


def _count(shown: int, all_of_them: int) -> str:
    """How many mistakes are shown; short where they are few, as the figure is narrow then."""
    if all_of_them == 1:
        return "The only mistake"
    if shown == all_of_them:
        return f"All {shown} mistakes"
    return f"The {shown} most confident of {all_of_them:,} mistakes"


def _captions(axes: Axes, probe: ProbeData, place: int) -> None:
    """Above an image its true class, below it the predicted one and how sure that was."""
    assert probe.pictures is not None
    true = true_names(probe.pictures["labels"][place], probe.classes)
    predicted = probe.classes[int(probe.pictures["predicted"][place])]
    sure = float(probe.pictures["confidence"][place])
    both: dict[str, Any] = {"transform": axes.transAxes, "fontsize": 8}
    axes.text(0, 1.03, plain(true, 24), color=GREEN, va="bottom", fontweight="bold", **both)
    axes.text(0, -0.03, plain(predicted, 19), color=RED, va="top", **both)
    axes.text(1, -0.03, f"{100 * sure:.0f} %", color=INK, ha="right", va="top", **both)
