"""Strategies of a study beside each other: images/s of a rank, and memory."""

from collections.abc import Sequence
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_scaling import dashes, detail_handles
from workflow_scripts.report.panels import (
    failed_by_size,
    failed_handles,
    heading,
    legend,
    mark_failed,
    more_in_the_table,
    nothing_measured,
    panels,
    shown_variants,
    size_axis,
    strategy_handles,
)
from workflow_scripts.report.plan_data import PlanData
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.study_columns import ON_A_LINE, on_a_line
from workflow_scripts.report.style import GREY, INK, plain_ticks, save
from workflow_scripts.scaling.words import DONE
from workflow_scripts.study.points import PointData, StudyData
from workflow_scripts.study.series import Series, per_node, series, size_of

_GB = 1e9
_FAR = 2.5  # times what was needed: a limit beyond is told in words


def _in_order(lines: Sequence[Series]) -> list[Series]:
    ranked = strategies_in_order(line.strategy for line in lines)
    return sorted(lines, key=lambda line: ranked.index(line.strategy) if line.strategy else -1)


def strategies_figure(study: StudyData, folder: Path) -> Path:
    """`strategies_<study>.svg`: images/s of a rank by strategy, side by side at each size.

    Of a rank, so that all sizes share one axis that begins at nothing.
    """
    nodes, points = per_node(study), study.of(study.main_mode)
    lines = _in_order(series(study, study.main_mode))
    shown = shown_variants(points)
    figure, found = panels(len(shown), height=3.0)
    for number, (one, (axes,)) in enumerate(zip(shown, found, strict=True)):
        mine = [line for line in lines if line.variant == one]
        every = [point for line in mine for point in (*line.points, *line.failed)]
        cut = [one for one in every if one.ranks > 1 or one.status != DONE] or every
        sizes = sorted({size_of(one, nodes=nodes) for one in cut})
        _alone(axes, [point for point in every if point not in cut])
        _stand(axes, mine, sizes, nodes=nodes)
        heading(axes, one, shown)
        axes.set_xlabel("nodes" if nodes else "ranks")
        if number % 3 == 0:
            axes.set_ylabel("images/s of a rank")
    names = strategies_in_order(line.strategy for line in lines)
    handles = [*strategy_handles(names, ls=""), *_filled(lines)]
    if len({one.ranks == 1 for one in points}) > 1:
        handles.append(Line2D([], [], color=INK, ls=(0, (4, 2)), lw=1, label="one rank alone"))
    legend(figure, [*handles, *failed_handles(points)])
    more_in_the_table(figure, study, points)
    return save(figure, folder, f"strategies_{study.name}", strategies_table(study))


def _filled(lines: Sequence[Series]) -> list[Artist]:
    details = list(dict.fromkeys(line.detail for line in lines if line.points))
    return [
        Line2D([], [], ls="", marker="o", color=GREY, mfc=GREY if number == 0 else "white",
               label=detail or "otherwise")
        for number, detail in enumerate(details[:2])
        if len(details) == 2
    ]  # fmt: skip


def _alone(axes: Axes, points: Sequence[PointData]) -> None:
    """What one rank gives alone: on it every strategy is the plain model."""
    for rate in dict.fromkeys(one.rate for one in points if one.rate is not None):
        axes.axhline(rate.median, color=INK, ls=(0, (4, 2)), lw=1)


def _stand(axes: Axes, lines: Sequence[Series], sizes: Sequence[int], *, nodes: bool) -> None:
    """A stem with a mark for each strategy, those of one size close to each other."""
    step = 0.8 / max(1, len(lines))
    offsets = {id(line): (n - (len(lines) - 1) / 2) * step for n, line in enumerate(lines)}
    details = list(dict.fromkeys(line.detail for line in lines if line.points))

    def place(point: PointData, line: Series) -> float:
        return sizes.index(size_of(point, nodes=nodes)) + offsets[id(line)]

    for line in lines:
        colour, marker = strategy_look(line.strategy)
        hollow = len(details) == 2 and line.detail == details[1]
        for one in line.points:
            if size_of(one, nodes=nodes) not in sizes:
                continue  # one rank, of which there is a line
            assert one.rate is not None
            rate, x = one.rate, place(one, line)
            axes.plot([x, x], [0, rate.median / one.ranks], color=colour, lw=1.4, alpha=0.45)
            axes.errorbar(
                x, rate.median / one.ranks, yerr=[[arm / one.ranks] for arm in rate.arms],
                fmt=marker, color=colour, ms=4.5, mfc="white" if hollow else colour,
                mec=colour if hollow else "white", mew=1 if hollow else 0.4, capsize=1.8,
                elinewidth=0.9,
            )  # fmt: skip
    axes.set_ylim(bottom=0)
    plain_ticks(axes)
    axes.set_xticks(range(len(sizes)), [f"{size:,}" for size in sizes])
    axes.set_xlim(-0.5, max(len(sizes), 1) - 0.5)
    axes.grid(axis="x", visible=False)
    for edge in range(1, len(sizes)):
        axes.axvline(edge - 0.5, color=GREY, lw=0.4, alpha=0.5)
    nothing_measured(axes, lines)
    failed = [(one, place(one, line), strategy_look(line.strategy)[0])
              for line in lines for one in line.failed]  # fmt: skip
    mark_failed(axes, failed)


def strategies_table(study: StudyData) -> Table:
    """The data of the figure."""
    rows = []
    for line in _in_order(series(study, study.main_mode)):
        for one in [*line.points, *line.failed]:
            rows.append([
                *on_a_line(line, one), *(v / one.ranks if v else None for v in one.rates),
                one.tflops, 100 * one.mfu if one.mfu is not None else None,
            ])  # fmt: skip
    return Table(
        name=f"strategies_{study.name}",
        title=f"Images/s of a rank by strategy of {study.label}, {study.data_text}",
        columns=[
            *ON_A_LINE, Column("images/s of a rank, median", "1/s"),
            Column("images/s of a rank, least", "1/s"), Column("images/s of a rank, most", "1/s"),
            Column("achieved", "TFLOP/s"), Column("of the peak", "%", ".1f"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip


def limit_of(study: StudyData, plans: Sequence[PlanData]) -> float | None:
    """Bytes of a device's memory, as the machine that is fitted to this study has them."""
    found = (plan.machine.get("memory_bytes") for plan in plans if plan.study == study.name)
    return next((float(value) for value in found if value is not None), None)


def predicted(study: StudyData, plans: Sequence[PlanData]) -> dict[str, float]:
    """Bytes that the planner says a point takes, by the point's name."""
    return {
        row["point"]: float(row["predicted_memory_bytes"])
        for plan in plans
        if plan.study == study.name
        for row in plan.measured
        if row.get("predicted_memory_bytes") is not None
    }


def memory_figure(study: StudyData, plans: Sequence[PlanData], folder: Path) -> Path:
    """`memory_<study>.svg`: peak memory of a rank by strategy, over nodes or ranks.

    Rings are what the planner says, where a plan is fitted to the study; a dashed line is the
    device's memory, where that is known.
    """
    mode, nodes = study.main_mode, per_node(study)
    lines, points = _in_order(series(study, mode)), study.of(mode)
    limit, said = limit_of(study, plans), predicted(study, plans)
    shown = shown_variants(points)
    drawn = False
    figure, found = panels(len(shown), height=3.0)
    for number, (one, (axes,)) in enumerate(zip(shown, found, strict=True)):
        mine = [line for line in lines if line.variant == one]
        _memory(axes, mine, said, nodes=nodes, looks=dashes(lines))
        mark_failed(axes, failed_by_size(mine, nodes=nodes), top=True)
        heading(axes, one, shown)
        ticks = [size_of(p, nodes=nodes) for line in mine for p in (*line.points, *line.failed)]
        size_axis(axes, ticks, nodes=nodes)
        drawn |= _limit(axes, limit)
        if number % 3 == 0:
            axes.set_ylabel("peak memory of a rank (GB)")
    handles = strategy_handles(strategies_in_order(line.strategy for line in lines))
    handles += detail_handles(lines)
    if any(one.point in said for one in points):
        handles.append(Line2D([], [], ls="", marker="o", mfc="none", mec=INK, ms=9,
                              label="the planner says"))  # fmt: skip
    if drawn:
        handles.append(Line2D([], [], color=INK, ls="--", lw=1.2, label="memory of the device"))
    legend(figure, [*handles, *failed_handles(points)])
    more_in_the_table(figure, study, points)
    return save(figure, folder, f"memory_{study.name}", memory_table(study, plans))


def _memory(
    axes: Axes, lines: Sequence[Series], said: dict[str, float], *, nodes: bool,
    looks: dict[str, object],
) -> None:  # fmt: skip
    for line in lines:
        colour, marker = strategy_look(line.strategy)
        known = [(size_of(one, nodes=nodes), one.peak_memory_bytes / _GB) for one in line.points
                 if one.peak_memory_bytes is not None]  # fmt: skip
        if known:
            axes.plot(*zip(*known, strict=True), color=colour, marker=marker, ls=looks[line.detail],
                      ms=5.5, mec="white", mew=0.5)  # fmt: skip
        told = [(size_of(one, nodes=nodes), said[one.point] / _GB)
                for one in [*line.points, *line.failed] if one.point in said]  # fmt: skip
        if told:
            axes.plot(*zip(*told, strict=True), "o", mfc="none", mec=colour, ms=9, mew=1)
    nothing_measured(axes, lines)
    axes.set_ylim(0, 1.12 * axes.get_ylim()[1])
    plain_ticks(axes)


def _limit(axes: Axes, limit: float | None) -> bool:
    """The device's memory: a line where it is near (then true), words where it is far above."""
    top = axes.get_ylim()[1]
    if limit is None:
        return False
    near = limit / _GB <= _FAR * top
    if near:
        axes.axhline(limit / _GB, color=INK, ls="--", lw=1.2)
        axes.set_ylim(0, max(top, 1.08 * limit / _GB))
    else:
        axes.set_xlabel(f"{axes.get_xlabel()} (the device has {limit / _GB:.3g} GB)")
    return near


def memory_table(study: StudyData, plans: Sequence[PlanData]) -> Table:
    """The data of the figure."""
    said = predicted(study, plans)
    limit = limit_of(study, plans)
    rows = [
        [*on_a_line(line, one), one.peak_memory_bytes, said.get(one.point), limit]
        for line in _in_order(series(study, study.main_mode))
        for one in [*line.points, *line.failed]
    ]  # fmt: skip
    return Table(
        name=f"memory_{study.name}",
        title=f"Peak memory of a rank by strategy of {study.label}, {study.data_text}",
        columns=[
            *ON_A_LINE, Column("peak memory", "bytes"),
            Column("the planner says", "bytes"), Column("memory of the device", "bytes"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
