"""A plan in one picture: what each layout costs in time and in node-hours, and what it loses."""

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
from matplotlib.axes import Axes
from matplotlib.axis import Axis
from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.panels import size_axis
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.style import GREY, INK, plain, save, styled

Json = dict[str, Any]

_SPAN = 2.0  # of a logarithmic axis at least: its upper end over its lower one
_FULL = 104.0  # % of the best at the upper edge, so that a mark at 100 is whole

_COLUMNS = (
    Column("nodes"), Column("strategy"), Column("devices"), Column("images a step"),
    Column("memory a device", "GB", ".1f"), Column("fits"), Column("step", "s", ".3f"),
    Column("waiting in a step", "s", ".3f"), Column("speed", "images/s", ",.0f"),
    Column("efficiency", "%", ".0f"), Column("epoch", "s"), Column("time", "h"),
    Column("jobs"), Column("time limit of a job", "min"), Column("node-hours"),
    Column("energy", "kWh"), Column("CO2", "kg"), Column("why not"),
    Column("recommended"),
)  # fmt: skip


def name_of(plan: str) -> str:
    """`plan_<plan>`, of the picture's files."""
    return f"plan_{plan}"


def plan_table(plan: Json) -> Table:
    """All layouts of a plan, a row each.

    Args:
        plan: As stage `forecast` writes it.
    """
    return Table(
        name=name_of(plan["plan"]),
        title=f"Layouts of {plan['label']}",
        columns=_COLUMNS,
        rows=[_row(one, is_best=_is_best(one, plan)) for one in plan["options"]],
        synthetic=False,
        note=plan["recommended"]["why"],
    )


def _row(one: Json, *, is_best: bool) -> list[Any]:
    def over(key: str, divisor: float) -> float | None:
        return None if one[key] is None else float(f"{one[key] / divisor:.6g}")

    return [
        one["nodes"], one["strategy"], one["ranks"], one["batch"], over("memory_bytes", 1e9),
        one["fits"], one["step_s"], one["communication_s"], one["images_per_s"],
        over("efficiency", 0.01), over("epoch_s", 1), over("total_s", 3600), one["segments"],
        one["walltime_minutes"], one["node_hours"], one["kwh"], one["kg_co2"], one["refused"],
        is_best,
    ]  # fmt: skip


def _is_best(one: Json, plan: Json) -> bool:
    best = plan["recommended"]
    return bool((one["strategy"], one["nodes"]) == (best["strategy"], best.get("nodes")))


def plan_figure(plan: Json, folder: Path) -> Path:
    """`plan_<plan>.svg`: time against node-hours, and efficiency over nodes, by strategy.

    A ring is the layout that is recommended, a cross one that cannot be.

    Args:
        plan: As stage `forecast` writes it.
        folder: Where it goes, with its data.
    """
    return save(_drawn(plan), folder, name_of(plan["plan"]), plan_table(plan))


def write_picture(plan: Json, path: Path) -> None:
    """The picture under a name of one's own, `<name>.svg`, with its data beside it."""
    with styled():
        save(_drawn(plan), path.parent, path.stem, plan_table(plan))


def _drawn(plan: Json) -> Figure:
    figure, (costs, losses) = plt.subplots(1, 2, figsize=(10.5, 4.4), layout="constrained")
    for strategy, rows in _by_strategy(plan):
        timed = [one for one in rows if one["total_s"] is not None]
        _line(costs, strategy, timed, lambda one: (one["total_s"] / 3600, _node_hours(one)))
        rated = [one for one in rows if one["efficiency"] is not None]
        _line(losses, strategy, rated, lambda one: (one["nodes"], 100 * one["efficiency"]))
    _mark(costs, losses, plan)
    costs.set(xlabel="hours, of all jobs", ylabel="node-hours")
    losses.set_ylabel("images/s of a node, % of the best")
    costs.set_title("Time against node-hours")
    losses.set_title("Efficiency")
    for axis in (costs.xaxis, costs.yaxis):
        if axis.get_scale() == "log":
            _widen(axis)
            axis.set_major_locator(LogLocator(subs=(1, 1.5, 2, 3, 5, 7)))
        axis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.6g}"))
        axis.set_minor_formatter(NullFormatter())
    size_axis(losses, (one["nodes"] for one in plan["options"]), nodes=True)
    losses.set_ylim(0, max(losses.get_ylim()[1], _FULL))
    handles, labels = losses.get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=6, fontsize=8)
    return figure


def _widen(axis: Axis) -> None:
    """Let a logarithmic axis span a factor at least: layouts that are nearly equal look so."""
    low, high = axis.get_view_interval()
    if high / low < _SPAN:
        middle = (low * high) ** 0.5
        ends = (middle / _SPAN**0.5, middle * _SPAN**0.5)
        (axis.axes.set_xlim if axis is axis.axes.xaxis else axis.axes.set_ylim)(*ends)


def _by_strategy(plan: Json) -> Iterator[tuple[str, list[Json]]]:
    for name in strategies_in_order(one["strategy"] for one in plan["options"]):
        yield name, [one for one in plan["options"] if one["strategy"] == name]


def _node_hours(one: Json) -> float:
    """Also of what cannot be, whose place in the picture is told by its time."""
    return float(one["nodes"] * one["total_s"] / 3600)


def _line(axes: Axes, strategy: str, rows: list[Json], at: Any) -> None:
    """A strategy over its numbers of nodes: a marker for what can be, a cross for what cannot."""
    colour, marker = strategy_look(strategy)
    places = [at(one) for one in rows]
    if not places:
        return
    axes.plot(*zip(*places, strict=True), color=colour, lw=1, alpha=0.5)
    able = [place for place, one in zip(places, rows, strict=True) if one["refused"] is None]
    other = [place for place, one in zip(places, rows, strict=True) if one["refused"] is not None]
    axes.plot(*_columns(able), marker, color=colour, ms=5, ls="", label=plain(strategy))
    axes.plot(*_columns(other), "x", color=GREY, ms=6, ls="")


def _columns(places: list[tuple[float, float]]) -> tuple[list[float], list[float]]:
    return [x for x, _ in places], [y for _, y in places]


def _mark(costs: Axes, losses: Axes, plan: Json) -> None:
    """Ring what is recommended, and set the scales."""
    if any(one["total_s"] for one in plan["options"]):
        costs.set(xscale="log", yscale="log")
    ring: Json = {"marker": "o", "ms": 13, "mfc": "none", "mec": INK, "mew": 1.6, "ls": ""}
    best = plan["recommended"]
    if best["strategy"]:
        costs.plot([best["total_s"] / 3600], [best["node_hours"]], **ring)
        costs.annotate(
            f"{best['strategy']}, {best['nodes']} node{'s' if best['nodes'] > 1 else ''}",
            (best["total_s"] / 3600, best["node_hours"]), xytext=(0, 12),
            textcoords="offset points", ha=_inwards(costs, best["total_s"] / 3600), fontsize=8,
            bbox={"fc": "white", "ec": "none", "alpha": 0.8, "pad": 1}, zorder=6,
        )  # fmt: skip
        losses.plot([best["nodes"]], [100 * best["efficiency"]], **ring, label="recommended")
    if any(one["refused"] for one in plan["options"]):
        losses.plot([], [], "x", color=GREY, ms=6, ls="", label="does not fit, or cannot be")


def _inwards(axes: Axes, x: float) -> str:
    """How a text at `x` is aligned so that it stays inside a logarithmic axis."""
    low, high = axes.get_xlim()
    place = math.log(x / low) / math.log(high / low)
    return "left" if place < 1 / 3 else "right" if place > 2 / 3 else "center"
