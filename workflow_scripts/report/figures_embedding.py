"""Features of the test images in a plane, each class with a look and its name at its median."""

import colorsys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.text import Text
from matplotlib.transforms import Bbox
from numpy.typing import NDArray

from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    bare,
    mark_synthetic,
    plain,
    save,
)

_FEW = (BLUE, ORANGE, GREEN, RED, PURPLE, SKY, "#7a5195", "#8c6d31")
_MARKERS = "os^DvP*X"
_HUES = 12
PAPER = "#f6f7f9"  # behind the points, so that the plane has an edge
_ROUNDS = 300  # of moving names apart


def class_looks(count: int) -> list[tuple[Any, str]]:
    """A colour and a marker for each class; no two classes have both in common up to 96.

    Up to eight classes have the palette's colours. Of more, neighbours in number have hues far
    apart, and where hues come again the marker and the lightness change.
    """
    if count <= len(_FEW):
        return [(colour, "o") for colour in _FEW[:count]]
    found: list[tuple[Any, str]] = []
    for number in range(count):
        turn, place = divmod(number, _HUES)
        hue = (place * 5 % _HUES + 0.5 * (turn % 2)) / _HUES  # 5 and 12 share no factor
        lightness = (0.42, 0.56, 0.34)[turn % 3]
        found.append((colorsys.hls_to_rgb(hue, lightness, 0.72), _MARKERS[turn % len(_MARKERS)]))
    return found


def embedding_figure(probe: ProbeData, folder: Path) -> Path:
    """`embedding_<encoder>_<benchmark>.svg`: where the encoder puts the test images."""
    assert probe.pictures is not None
    data = _data(probe)
    places, labels = probe.pictures["embedding"], probe.pictures["embedding_labels"]
    if not len(places):
        figure, axes = plt.subplots(figsize=(6, 0.8))
        bare(axes)
        axes.text(0.5, 0.5, "Samples with several labels have no one colour: no plane was made.",
                  ha="center", va="center", color=GREY)  # fmt: skip
        mark_synthetic(figure, probe.synthetic)
        return save(figure, folder, data.name, data)
    there = np.unique(labels)
    figure, axes = plt.subplots(figsize=(10, 7.2 if len(there) > 12 else 6))
    figure.subplots_adjust(0, 0, 1, 1)
    bare(axes)
    axes.set_facecolor(PAPER)
    looks = class_looks(len(probe.classes))
    size = 26 if len(places) < 600 else 13
    names = []
    for label in there:
        of_it = places[labels == label]
        colour, marker = looks[label]
        axes.scatter(
            of_it[:, 0], of_it[:, 1], s=size, color=[colour], marker=marker, alpha=0.75, lw=0
        )
        # The sample nearest to the median: of a class in two groups the median lies in neither.
        middle = of_it[np.abs(of_it - np.median(of_it, axis=0)).sum(axis=1).argmin()]
        names.append(_name(axes, middle, plain(probe.classes[label], 24), colour))
    axes.margins(0.03)
    _move_apart(axes, names)
    perplexity = float(probe.pictures["perplexity"])
    how = f"t-SNE, perplexity {perplexity:.3g}" if perplexity else "first two principal components"
    axes.text(
        0, -0.01, f"{len(places):,} test images, {len(there)} classes; {how}",
        transform=axes.transAxes, va="top", fontsize=8, color=GREY,
    )  # fmt: skip
    mark_synthetic(figure, probe.synthetic)
    return save(figure, folder, data.name, data)


def _data(probe: ProbeData) -> Table:
    """Where each sample is in the plane."""
    assert probe.pictures is not None
    of_each = zip(
        *(probe.pictures[f"embedding{part}"].tolist() for part in ("_rows", "_labels", "")),
        strict=True,
    )
    return Table(
        name=f"embedding_{probe.file_name}",
        title=f"Features of {probe.benchmark_label} by {probe.label}, in a plane",
        columns=["sample", "class", "x", "y"],
        rows=[[row, probe.classes[label], *place] for row, label, place in of_each],
        synthetic=probe.synthetic,
        note="`sample` is its number in the packed benchmark; the axes have no meaning of their "
        f"own. Perplexity of t-SNE: {float(probe.pictures['perplexity']):.3g} (0: the first two "
        "principal components).",
    )


def _name(axes: Axes, place: NDArray[Any], text: str, colour: Any) -> Text:
    return axes.text(
        float(place[0]), float(place[1]), text, fontsize=7.5, ha="center", va="center", color=INK,
        fontweight="bold", zorder=5,
        bbox={"boxstyle": "round,pad=0.18", "fc": "white", "ec": colour, "lw": 1.1, "alpha": 0.85},
    )  # fmt: skip


def _move_apart(axes: Axes, names: list[Text]) -> None:
    """Lift names off the middle of their class, apart from each other, and into the picture."""
    figure = axes.figure
    figure.canvas.draw()
    boxes = [name.get_window_extent().padded(4) for name in names]
    sizes = np.array([[box.width, box.height] for box in boxes]) / 2
    spots = np.array([[box.x0 + box.x1, box.y0 + box.y1 + 3 * box.height] for box in boxes]) / 2
    frame: Bbox = axes.get_window_extent()
    spots = moved_apart(spots, sizes, np.array([[frame.x0, frame.y0], [frame.x1, frame.y1]]))
    back = axes.transData.inverted().transform(spots)
    for name, place in zip(names, back, strict=True):
        name.set_position(tuple(place))


def moved_apart(
    spots: NDArray[np.float64], sizes: NDArray[np.float64], frame: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Centres of boxes pushed until they do not overlap, or for a fixed number of rounds.

    Args:
        spots: (n, 2) centres.
        sizes: (n, 2) half widths and heights.
        frame: (2, 2) lower and upper corner of where they may be.
    """
    # Equal centres would have no direction to go.
    spots = spots + 1e-3 * np.arange(len(spots))[:, None]
    for _ in range(_ROUNDS):
        apart = spots[:, None] - spots[None]
        room = sizes[:, None] + sizes[None] - np.abs(apart)  # > 0 in both: they overlap
        over = (room > 0).all(axis=2) & ~np.eye(len(spots), dtype=bool)
        if not over.any():
            break
        upright = room[..., 1] <= room[..., 0]  # the shorter way out
        push = np.where(over, np.where(upright, room[..., 1], room[..., 0]), 0) / 2
        sign = np.where(apart >= 0, 1.0, -1.0)
        spots[:, 0] += 0.5 * (np.where(upright, 0, push) * sign[..., 0]).sum(axis=1)
        spots[:, 1] += 0.5 * (np.where(upright, push, 0) * sign[..., 1]).sum(axis=1)
        spots = np.clip(spots, frame[0] + sizes, frame[1] - sizes)
    return spots
