"""Pictures of a comparison; a folder of results keeps its colour and marker in all of them."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from workflow_scripts.compare.pairs import Group, runs_of
from workflow_scripts.compare.scaling import Measured
from workflow_scripts.compare.site import Site
from workflow_scripts.compare.tables import Judged
from workflow_scripts.probe.reading import protocol_title
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.figures_accuracy import look
from workflow_scripts.report.panels import rate_axis
from workflow_scripts.report.style import WIDTH, mark_synthetic, plain, plain_ticks, save

ACROSS = 3  # panels side by side
MOST_PANELS, MOST_ROWS = 12, 60  # what one picture can hold; the tables have all
_LANE = 0.3  # inches a row

Number = float | None


def losses_figure(groups: Sequence[Group], sites: Sequence[Site], folder: Path) -> Path | None:
    """`losses.svg`: a panel for each run that several folders have, a line for each folder.

    None if there is no such run.
    """
    shown = [group for group in groups if len(group.members) > 1]
    if not shown:
        return None
    rows = [
        [group.label, site.label, *point]
        for group in shown
        for site, run in zip(sites, runs_of(group, sites), strict=True)
        for point in (run["loss"] if run else [])
    ]
    drawn = shown[:MOST_PANELS]
    down, across = -(-len(drawn) // ACROSS), min(ACROSS, len(drawn))
    figure, grid = plt.subplots(
        down, across, figsize=(max(WIDTH / ACROSS * across, 5), 2.6 * down + 0.4),
        squeeze=False, layout="constrained",
    )  # fmt: skip
    for axes, group in zip(grid.flat, drawn, strict=False):
        for number, run in enumerate(runs_of(group, sites)):
            if run and run["loss"]:
                steps, losses = np.array(run["loss"], float).T
                dash = "o" if len(steps) == 1 else "--" if number % 2 else "-"
                axes.plot(steps, losses, dash, color=look(number)[0], lw=1.3)
        axes.set_title(plain(group.label))
        axes.set_xlabel("optimiser step")
        axes.set_ylabel("loss")
        plain_ticks(axes, x_whole=True)
    for axes in list(grid.flat)[len(drawn) :]:
        axes.set_visible(False)
    handles = [
        plt.Line2D([], [], color=look(n)[0], ls="-" if n % 2 == 0 else "--", label=plain(s.label))
        for n, s in enumerate(sites)
    ]
    figure.legend(handles=handles, loc="outside upper left", ncols=4)
    synthetic = any(run["synthetic"] for group in shown for run in runs_of(group, sites) if run)
    mark_synthetic(figure, synthetic)
    data = Table(
        name="losses", title="Loss of runs that correspond", rows=rows, synthetic=synthetic,
        columns=["run", "results", "step", "loss"],
    )  # fmt: skip
    return save(figure, folder, "losses", data)


def dots_figure(
    rows: Sequence[tuple[str, Sequence[Number]]],
    sites: Sequence[Site],
    folder: Path,
    *,
    data: Table,
    unit: str,
    log: bool = False,
) -> Path | None:
    """`<name of the data>.svg`: a row for each thing compared, a mark for each folder of results.

    Args:
        rows: What is compared, and its number in each folder.
        sites: The folders.
        folder: Where the figure goes.
        data: The whole table; the picture has its first rows.
        unit: Of the numbers, with what they are.
        log: Whether the axis is logarithmic.

    Returns:
        The file, None if no folder has a number.
    """  # fmt: skip
    shown = [(name, values) for name, values in rows if any(v is not None for v in values)]
    if not shown:
        return None
    drawn = shown[:MOST_ROWS]
    figure, axes = plt.subplots(figsize=(WIDTH, _LANE * len(drawn) + 1.0), layout="constrained")
    for place, (_, values) in enumerate(drawn):
        known = [value for value in values if value is not None]
        axes.plot([min(known), max(known)], [place, place], color="#c3c9d1", lw=2, zorder=1)
    for number, site in enumerate(sites):
        colour, marker = look(number)
        # Side by side in their lane, so that equal ones do not hide each other.
        off = 0.5 * ((number + 0.5) / len(sites) - 0.5)
        points = [
            (value, place + off)
            for place, (_, values) in enumerate(drawn)
            if (value := values[number]) is not None
        ]
        axes.plot(*zip(*points, strict=True) if points else ([], []), marker, color=colour,
                  label=plain(site.label), ms=6, alpha=0.9)  # fmt: skip
    axes.set_yticks(range(len(drawn)), [plain(name, 60) for name, _ in drawn], fontsize=8)
    axes.set_ylim(len(drawn) - 0.5, -0.5)
    if log:
        rate_axis(axes, axes.xaxis)
    axes.set_xlabel(unit)
    figure.legend(loc="outside upper left", ncols=4)
    mark_synthetic(figure, data.synthetic)
    return save(figure, folder, data.name, data)


def accuracy_figure(
    rows: Sequence[Judged], sites: Sequence[Site], folder: Path, data: Table
) -> Path | None:
    """`accuracy.svg`: the headline protocol of every encoder and benchmark that correspond."""
    dots = [
        (f"{one.encoder} on {one.benchmark}, {protocol_title(one.protocol)}",
         [row["mean"] if row else None for row in one.found])
        for one in rows
        if one.headline
    ]  # fmt: skip
    return dots_figure(dots, sites, folder, data=data, unit="accuracy or average precision (%)")


def table_figure(table: Table, sites: Sequence[Site], folder: Path, unit: str) -> Path | None:
    """`<name>.svg` of a table whose first column names what the columns of folders give."""
    labels = [site.label for site in sites]
    rows = [
        (str(row[0]), [row[table.names.index(label)] for label in labels]) for row in table.rows
    ]
    return dots_figure(rows, sites, folder, data=table, unit=unit)


def scaling_figure(
    rows: Sequence[Measured], sites: Sequence[Site], folder: Path, tables: Sequence[Table]
) -> Path | None:
    """`scaling.svg`: throughput of every point of a study that several folders measured."""
    several = len({one.study for one in rows}) > 1
    dots = [
        (f"{one.point} ({one.study})" if several else one.point, one.values("images_per_s"))
        for one in rows
    ]
    data = next((table for table in tables if table.name == "scaling"), None)
    if data is None:
        return None
    return dots_figure(dots, sites, folder, data=data, unit="images/s", log=True)
