"""The losses of all runs together, over the samples that they had seen."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.lines import Line2D
from numpy.typing import NDArray

from workflow_scripts.report.collect import RunData
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_accuracy import look
from workflow_scripts.report.figures_runs import column
from workflow_scripts.report.panels import legend, panels
from workflow_scripts.report.style import GREY, mark_synthetic, plain, plain_ticks, save

MOST_POINTS = 300  # of a curve; more logged lines than these are averaged in groups of neighbours

Curve = tuple[NDArray[np.float64], NDArray[np.float64]]


def thinned(x: NDArray[np.float64], y: NDArray[np.float64], most: int = MOST_POINTS) -> Curve:
    """Means of as many neighbours each as leave at most `most` points; what is not finite is out.

    Args:
        x: Of each point, (n,).
        y: Of each point, (n,).
        most: Points that are left at most.
    """
    known = np.isfinite(x) & np.isfinite(y)
    x, y = x[known], y[known]
    if len(x) <= most:
        return x, y
    starts = np.arange(0, len(x), -(-len(x) // most))
    counts = np.diff([*starts, len(x)])
    return np.add.reduceat(x, starts) / counts, np.add.reduceat(y, starts) / counts


def comparable(runs: Sequence[RunData]) -> dict[str, list[RunData]]:
    """Runs by what their loss is: those of different objectives or targets are in other units."""
    found: dict[str, list[RunData]] = {}
    for run in runs:
        mask = (run.summary.get("recipe") or {}).get("mask") or {}
        title = run.objective + (", patches normalised" if mask.get("norm_pix") else "")
        found.setdefault(title, []).append(run)
    return found


def curve(run: RunData) -> Curve:
    """Samples seen and loss of a run."""
    return thinned(column(run.history, "samples"), column(run.history, "loss"))


def losses_figure(runs: Sequence[RunData], folder: Path) -> Path:
    """`losses.svg`: a panel for each kind of loss, a curve for each run, over samples seen."""
    groups = comparable(runs)
    figure, found = panels(len(groups), height=3.3)
    looks = {run.name: look(number) for number, run in enumerate(runs)}
    for number, ((title, members), (axes,)) in enumerate(zip(groups.items(), found, strict=True)):
        for run in members:
            colour, marker = looks[run.name]
            samples, loss = curve(run)
            axes.plot(
                samples, loss, color=colour, marker=marker, ms=5, mec="white", mew=0.5, lw=1.3,
                markevery=max(1, len(samples) // 6),
            )  # fmt: skip
        if not any(len(curve(run)[0]) for run in members):
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
        axes.set_title(plain(title, 44))
        axes.set_xlabel("samples seen")
        if number % 3 == 0:
            axes.set_ylabel("loss")
        plain_ticks(axes, x_whole=True)
    legend(figure, [
        Line2D([], [], color=looks[run.name][0], marker=looks[run.name][1], ms=5, mec="white",
               mew=0.5, label=plain(run.label, 36) + (" (synthetic)" if run.synthetic else ""))
        for run in runs
    ])  # fmt: skip
    mark_synthetic(figure, any(run.synthetic for run in runs))
    return save(figure, folder, "losses", losses_table(runs))


def losses_table(runs: Sequence[RunData]) -> Table:
    """The data of the figure: the points of every curve."""
    rows = [
        [run.name, run.label, title, float(samples), float(loss), run.synthetic]
        for title, members in comparable(runs).items()
        for run in members
        for samples, loss in zip(*curve(run), strict=True)
    ]
    return Table(
        name="losses",
        title="Loss of all runs over the samples seen",
        columns=["run", "label", "objective", Column("samples seen", "", ",.0f"), "loss",
                 "synthetic"],
        rows=rows,
        synthetic=any(run.synthetic for run in runs),
        note="Losses of different objectives are in different units and cannot be compared.",
    )  # fmt: skip
