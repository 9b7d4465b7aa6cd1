"""What figures of studies share: panels of one kind, axes of sizes, marks of what failed."""

from collections.abc import Iterable, Sequence
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, LogLocator, NullLocator

from workflow_scripts.report.strategy_looks import strategy_look
from workflow_scripts.report.style import GREY, INK, WIDTH, plain
from workflow_scripts.scaling.words import DONE, FAILED, OUT_OF_MEMORY, TIMEOUT
from workflow_scripts.study.points import PointData, StudyData
from workflow_scripts.study.series import Series, Variant, size_of, titles, variants
from workflow_scripts.study.words import STATUS_TEXTS

MOST_PANELS = 12  # more encoders, patch sizes and batches than these are in the table alone
_ACROSS = 3
_MOST_TICKS = 10
# How a point is marked that was tried and has no number, and what its mark means.
FAILED_MARKS = {OUT_OF_MEMORY: "x", TIMEOUT: "|", FAILED: "+"}


def shown_variants(points: Iterable[PointData]) -> list[Variant]:
    """What has a panel of its own: the first `MOST_PANELS`."""
    return variants(points)[:MOST_PANELS]


def panels(
    count: int, *, height: float, ratios: Sequence[float] = (1,)
) -> tuple[Figure, list[list[Axes]]]:
    """A figure of `count` panels, each of as many axes below each other as there are ratios.

    Args:
        count: Panels, three a row.
        height: Inches of a panel.
        ratios: Heights of its axes.

    Returns:
        The figure, and the axes of each panel; a figure without panels says that it has none.
    """
    across = min(max(count, 1), _ACROSS)
    down = -(-max(count, 1) // across)
    figure, grid = plt.subplots(
        down * len(ratios), across, squeeze=False, layout="constrained",
        figsize=(WIDTH if across > 1 else 7.5, height * down + 0.7),
        height_ratios=[*ratios] * down,
    )  # fmt: skip
    found = []
    for number in range(down * across):
        row, place = divmod(number, across)
        axes = [grid[row * len(ratios) + part][place] for part in range(len(ratios))]
        if number < count:
            found.append(axes)
        else:
            for one in axes:
                one.set_axis_off()
    if not count:
        _say_nothing(grid[0][0])
    return figure, found


def heading(axes: Axes, one: Variant, among: Sequence[Variant]) -> None:
    """A panel's title."""
    axes.set_title(plain(titles(among)[one], 44))


def size_axis(axes: Axes, sizes: Iterable[int], *, nodes: bool, label: bool = True) -> None:
    """A logarithmic axis of nodes or ranks, with these sizes as its ticks."""
    ticks = sorted(set(sizes)) or [1]
    axes.set_xscale("log", base=2)
    room = (ticks[-1] / ticks[0]) ** 0.06 * 1.12
    axes.set_xlim(ticks[0] / room, ticks[-1] * room)
    step = -(-len(ticks) // _MOST_TICKS)
    axes.xaxis.set_major_locator(FixedLocator([float(tick) for tick in ticks[::step]]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    if label:
        axes.set_xlabel("nodes" if nodes else "ranks")
    else:
        axes.tick_params(labelbottom=False)


def rate_axis(axes: Axes, axis: Axis | None = None) -> None:
    """A logarithmic axis of a quantity, with ordinary numbers at 1, 2 and 5 of each decade.

    Args:
        axes: Whose axis it is.
        axis: Which of its two; None: the vertical one.
    """
    axis = axis or axes.yaxis
    (axes.set_xscale if axis is axes.xaxis else axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    few = high / low > 300
    axis.set_major_locator(LogLocator(10, subs=(1.0,) if few else (1.0, 2.0, 5.0)))
    axis.set_minor_locator(NullLocator())
    axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))


def mark_failed(
    axes: Axes, marks: Iterable[tuple[PointData, float, str]], *, top: bool = False
) -> None:
    """Marks of points without a number at the edge of the axes, those of one size apart.

    Args:
        axes: Their other axis is left as it is.
        marks: Point, place on the horizontal axis, colour.
        top: At the upper edge (what needs too much), else at the lower one.
    """
    marks = list(marks)
    if marks and not top and axes.get_yscale() == "log":  # room below what was measured
        low, high = axes.get_ylim()
        axes.set_ylim(low / (high / low) ** 0.12, high)
    taken: dict[float, int] = {}
    for one, x, colour in marks:
        level = taken[x] = taken.get(x, -1) + 1
        height = 0.035 + 0.07 * level
        axes.plot(
            x, 1 - height if top else height, marker=FAILED_MARKS[one.status],
            transform=axes.get_xaxis_transform(), color=colour, ms=7, mew=2, clip_on=False,
            zorder=5,
        )  # fmt: skip


def failed_by_size(lines: Sequence[Series], *, nodes: bool) -> list[tuple[PointData, float, str]]:
    """Failed points of these lines at their sizes, in the colours of their strategies."""
    return [
        (one, float(size_of(one, nodes=nodes)), strategy_look(line.strategy)[0])
        for line in lines
        for one in line.failed
    ]


def nothing_measured(axes: Axes, lines: Sequence[Series]) -> None:
    """Say in the axes that no point of them has a number."""
    if not any(line.points for line in lines):
        _say_nothing(axes)


def _say_nothing(axes: Axes) -> None:
    axes.text(0.5, 0.55, "no point was measured", transform=axes.transAxes, ha="center", color=GREY)


def strategy_handles(strategies: Iterable[str | None], **more: Any) -> list[Artist]:
    """Entries of a legend."""
    return [
        Line2D([], [], color=strategy_look(name)[0], marker=strategy_look(name)[1], ms=5.5,
               mec="white", mew=0.5, label=plain(name or "–"), **more)
        for name in strategies
    ]  # fmt: skip


def failed_handles(points: Iterable[PointData]) -> list[Artist]:
    """Entries of a legend for the marks of those that failed."""
    seen = {one.status for one in points if one.status != DONE}
    return [
        Line2D([], [], ls="", marker=mark, color=INK, ms=7, mew=2, label=STATUS_TEXTS[kind])
        for kind, mark in FAILED_MARKS.items()
        if kind in seen
    ]  # fmt: skip


def legend(figure: Figure, handles: Sequence[Artist]) -> None:
    """One legend below all panels."""
    if handles:
        figure.legend(handles=handles, loc="outside lower center", ncols=min(5, len(handles)))


def more_in_the_table(figure: Figure, study: StudyData, points: Sequence[PointData]) -> None:
    """Say that there are more panels than are drawn."""
    more = len(variants(points)) - MOST_PANELS
    if more > 0:
        figure.suptitle(
            f"{plain(study.label)}: the first {MOST_PANELS} of {MOST_PANELS + more} combinations "
            "of encoder, patch and batch; all are in the table",
            fontsize=9, color=GREY,
        )  # fmt: skip
