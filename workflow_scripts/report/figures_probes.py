"""Pictures of one encoder on a benchmark: which classes it tells apart, and the floor."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PatchCollection
from matplotlib.colors import Normalize
from matplotlib.patches import Rectangle
from numpy.typing import NDArray

from workflow_scripts.probe.reading import protocol_title
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import BLUE, GREY, INK, mark_synthetic, plain, save

MOST_NUMBERS = 24  # above this many classes a cell is too small for a number


def probe_figure(probe: ProbeData, folder: Path) -> Path:
    """`probe_<encoder>_<benchmark>.svg`: confusion matrix and accuracy by class.

    By the headline's protocol, all splits and seeds together. With several labels a sample there is
    no confusion matrix, and the bars are average precisions.
    """
    classes = [plain(name, 24) for name in probe.classes]
    height = max(3.2, 1.4 + 0.24 * len(classes))
    verdict = probe.verdict(probe.headline) or {}
    if "confusion" in verdict:
        figure, (left, right) = plt.subplots(
            1, 2, figsize=(11, height), layout="constrained", width_ratios=[1.25, 1]
        )
        _confusion(left, np.array(verdict["confusion"], float), classes)
    else:
        figure, right = plt.subplots(figsize=(7, height), layout="constrained")
    _by_class(right, probe, classes)
    mark_synthetic(figure, probe.synthetic)
    data = _data(probe)
    return save(figure, folder, data.name, data)


def _data(probe: ProbeData) -> Table:
    """A row for each true class; of one label a sample, how many were taken for each class."""
    counts = (probe.verdict(probe.headline) or {}).get("confusion")
    classes = probe.classes
    what = "average precision" if probe.multi_label else "accuracy"
    columns: list[Column | str] = [
        "class",
        Column(what, "%", ".1f", absent="no test sample"),
        Column(f"{what} of random weights", "%", ".1f"),
    ]
    values = _values(probe, "encoder").tolist(), _values(probe, "random").tolist()
    rows = [list(row) for row in zip(classes, *values, strict=True)]
    if counts is not None:
        columns += [Column(f"taken for {name}") for name in classes]
        rows = [[*row, *taken] for row, taken in zip(rows, counts, strict=True)]
    return Table(
        name=f"probe_{probe.file_name}",
        title=f"{probe.label} on {probe.benchmark_label} by class, "
        f"{protocol_title(probe.headline)}",
        columns=columns,
        rows=rows,
        synthetic=probe.synthetic,
        note="All splits and seeds together; verdicts on test samples by true and predicted class.",
    )


def _confusion(axes: Axes, counts: NDArray[Any], classes: list[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    share = 100 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    rows, columns = np.nonzero(share)
    # Cells as shapes: as an image they would be blurred by viewers that smooth what they enlarge.
    cells = PatchCollection(
        [Rectangle((x - 0.5, y - 0.5), 1, 1) for x, y in zip(columns, rows, strict=True)],
        cmap="Blues", norm=Normalize(0, 100), lw=0, antialiased=False,
    )  # fmt: skip
    cells.set_array(share[rows, columns])
    axes.add_collection(cells)
    axes.set_facecolor(cells.cmap(0.0))
    axes.set_xlim(-0.5, len(classes) - 0.5)
    axes.set_ylim(len(classes) - 0.5, -0.5)
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90, fontsize=7.5)
    axes.set_yticks(ticks, classes, fontsize=7.5)
    axes.grid(False)
    axes.set_title("Confusion")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(classes) <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(share >= 0.5), strict=True):
            value = share[row, column]
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                color="white" if value > 55 else INK,
            )  # fmt: skip
    bar = axes.figure.colorbar(cells, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("share of the true class (%)")
    bar.outline.set_visible(False)


def _values(probe: ProbeData, who: str) -> NDArray[np.float64]:
    """By class, in percent; NaN where the test part has no sample or nothing was judged."""
    found = (probe.verdict(probe.headline, who) or {}).get("per_class", {})
    values = [found.get(name) for name in probe.classes]
    return np.array([np.nan if value is None else value for value in values], float)


def _by_class(axes: Axes, probe: ProbeData, classes: list[str]) -> None:
    ours, floor = _values(probe, "encoder"), _values(probe, "random")
    rows = np.arange(len(classes))
    axes.barh(rows, np.nan_to_num(ours), height=0.62, color=BLUE, label=plain(probe.label))
    axes.plot(floor, rows, "|", color=INK, ms=9, mew=1.6, label="random weights")
    for row in rows[np.isnan(ours)]:
        axes.text(1, row, "no test sample", va="center", fontsize=7, color=GREY)
    axes.set_yticks(rows, classes, fontsize=7.5)
    axes.set_ylim(len(classes) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    what = "average precision" if probe.multi_label else "accuracy"
    axes.set_title(f"{what.capitalize()} by class, {protocol_title(probe.headline)}")
    axes.set_xlabel(f"{'' if probe.multi_label else 'top-1 '}{what} (%)")
    below = 0.5 / (0.24 * len(classes) + 0.5)  # of the axes' height: half an inch
    axes.legend(loc="upper right", bbox_to_anchor=(1, -below), ncols=2, borderaxespad=0)
