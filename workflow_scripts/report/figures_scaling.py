"""Weak scaling of a study: images/s over nodes or ranks, against ideal lines, with efficiency."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.panels import (
    failed_by_size,
    failed_handles,
    heading,
    legend,
    mark_failed,
    more_in_the_table,
    nothing_measured,
    panels,
    rate_axis,
    shown_variants,
    size_axis,
    strategy_handles,
)
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.study_columns import ON_A_LINE, RATES, on_a_line
from workflow_scripts.report.style import GREY, save
from workflow_scripts.study.points import StudyData
from workflow_scripts.study.series import Series, efficiency, per_node, series, size_of

# Lines of one strategy that differ in something else.
DASHES = ("-", (0, (5, 1.5)), (0, (1, 1.2)), (0, (5, 1, 1, 1)))


def dashes(lines: Sequence[Series]) -> dict[str, object]:
    """A way of drawing for each detail that sets lines of one strategy apart."""
    details = dict.fromkeys(line.detail for line in lines if line.points)
    return {detail: DASHES[number % len(DASHES)] for number, detail in enumerate(details)}


def detail_handles(lines: Sequence[Series]) -> list[Artist]:
    """Entries of a legend for these, where there is more than one."""
    found = dashes(lines)
    return [
        Line2D([], [], color=GREY, ls=ls, label=detail or "otherwise")
        for detail, ls in found.items()
        if len(found) > 1
    ]


def scaling_figure(study: StudyData, folder: Path) -> Path:
    """`scaling_<study>.svg`: a panel for each encoder, a line for each strategy.

    Above images/s, both axes logarithmic, the dotted lines what each line's smallest point would
    give without loss; below, what is left of that.
    """
    mode, nodes = study.main_mode, per_node(study)
    lines, points = series(study, mode), study.of(mode)
    shown = shown_variants(points)
    figure, found = panels(len(shown), height=4.0, ratios=(2.1, 1))
    for number, (one, (rates, shares)) in enumerate(zip(shown, found, strict=True)):
        mine = [line for line in lines if line.variant == one]
        ticks = [size_of(p, nodes=nodes) for line in mine for p in (*line.points, *line.failed)]
        _rates(rates, mine, nodes=nodes, looks=dashes(lines))
        _shares(shares, mine, nodes=nodes, looks=dashes(lines))
        mark_failed(rates, failed_by_size(mine, nodes=nodes))
        heading(rates, one, shown)
        size_axis(rates, ticks, nodes=nodes, label=False)
        size_axis(shares, ticks, nodes=nodes)
        if number % 3 == 0:
            rates.set_ylabel("images/s of the job")
            shares.set_ylabel("efficiency (%)")
    handles = strategy_handles(strategies_in_order(line.strategy for line in lines))
    handles += detail_handles(lines)
    handles.append(Line2D([], [], color=GREY, ls=(0, (1, 2)), lw=1, label="without loss"))
    legend(figure, [*handles, *failed_handles(points)])
    more_in_the_table(figure, study, points)
    return save(figure, folder, f"scaling_{study.name}", scaling_table(study))


def _rates(axes: Axes, lines: Sequence[Series], *, nodes: bool, looks: dict[str, object]) -> None:
    for line in lines:
        if not line.points:
            continue
        colour, marker = strategy_look(line.strategy)
        sizes = [size_of(one, nodes=nodes) for one in line.points]
        rates = [one.rate for one in line.points if one.rate is not None]
        medians = [rate.median for rate in rates]
        arms = [[rate.arms[side] for rate in rates] for side in (0, 1)]
        ideal = [medians[0] * one.ranks / line.points[0].ranks for one in line.points]
        axes.plot(sizes, ideal, color=colour, ls=(0, (1, 2)), lw=1, alpha=0.8)
        axes.errorbar(
            sizes, medians, yerr=arms, fmt=marker, color=colour, ls=looks[line.detail], ms=5.5,
            mec="white", mew=0.5, capsize=2.5, elinewidth=1,
        )  # fmt: skip
    nothing_measured(axes, lines)
    rate_axis(axes)


def _shares(axes: Axes, lines: Sequence[Series], *, nodes: bool, looks: dict[str, object]) -> None:
    top = 105.0
    for line in lines:
        found = efficiency(line)
        if not found:
            continue
        colour, marker = strategy_look(line.strategy)
        sizes = [size_of(one, nodes=nodes) for one, *_ in found]
        medians = [100 * median for _, median, _, _ in found]
        arms = [[100 * (median - least) for _, median, least, _ in found],
                [100 * (most - median) for _, median, _, most in found]]  # fmt: skip
        axes.errorbar(
            sizes, medians, yerr=arms, fmt=marker, color=colour, ls=looks[line.detail], ms=4.5,
            mec="white", mew=0.5, capsize=2, elinewidth=0.9, lw=1.2,
        )  # fmt: skip
        top = max(top, *(1.05 * 100 * most for *_, most in found))
    axes.axhline(100, color=GREY, lw=1, ls=(0, (1, 2)))
    axes.set_ylim(0, top)


def scaling_table(study: StudyData) -> Table:
    """The data of the figure: every point of every line, a shared first point once a line."""
    rows: list[list[Any]] = []
    for line in series(study, study.main_mode):
        shares = {one.point: values for one, *values in efficiency(line)}
        for one in [*line.points, *line.failed]:
            share: list[Any] = [100 * value for value in shares.get(one.point, ())]
            share = share or [None] * 3
            rows.append([*on_a_line(line, one), *one.rates, *share])
    return Table(
        name=f"scaling_{study.name}",
        title=f"Weak scaling of {study.label}, {study.data_text}",
        columns=[
            *ON_A_LINE, *RATES,
            Column("efficiency, median", "%", ".1f"), Column("efficiency, least", "%", ".1f"),
            Column("efficiency, most", "%", ".1f"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
