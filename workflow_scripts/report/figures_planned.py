"""The planner against what a study measured: images/s and memory, point by point."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.panels import legend, rate_axis, strategy_handles
from workflow_scripts.report.plan_data import Json, PlanData
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.style import GREY, bare, save

BAND = 0.15  # share by which the planner may be wrong, median of held-out models
# Of a quantity: its key in the plan's rows, title, unit, what it is divided by, and where it was
# not measured if nothing was: resident memory of a CPU's process is not what the planner foretells.
_QUANTITIES = (
    ("images_per_s", "Images/s of the job", "images/s", 1.0, ""),
    ("memory_bytes", "Memory of a device", "GB", 1e9, " on a GPU"),
)


def pairs(plan: PlanData, key: str) -> list[tuple[Json, float, float]]:
    """Row, measured and predicted value of each point that has both, above zero."""
    found = [(row, row.get(key), row.get(f"predicted_{key}")) for row in plan.measured]
    return [(row, float(a), float(b)) for row, a, b in found if a and b and a > 0 and b > 0]


def median_error(found: Sequence[tuple[Json, float, float]]) -> float | None:
    """The median of |predicted / measured − 1|; None without points."""
    return float(np.median([abs(b / a - 1) for _, a, b in found])) if found else None


def planned_figure(plan: PlanData, folder: Path) -> Path:
    """`planned_<plan>.svg`: predicted over measured, for images/s and memory.

    On the line both are the same; the band is ±15 %. The planner's constants were fitted to these
    points (`forecast.measured.to_fit`): this shows how well its form fits, not what it makes of a
    model it has not seen.
    """
    figure, axes = plt.subplots(1, 2, figsize=(9, 4.6), layout="constrained")
    for one, (key, title, unit, divisor, where) in zip(axes, _QUANTITIES, strict=True):
        found = pairs(plan, key)
        if not found:
            bare(one)
            one.set_title(title)
            one.text(0.5, 0.5, f"nothing was measured{where}", transform=one.transAxes,
                     ha="center", color=GREY)  # fmt: skip
            continue
        _scatter(one, found, divisor)
        one.set_title(title)
        one.set_xlabel(f"measured ({unit})")
        one.set_ylabel(f"predicted ({unit})")
    names = strategies_in_order(row["strategy"] for row in plan.measured)
    handles: list[Artist] = strategy_handles(names, ls="")
    handles.append(Line2D([], [], color=GREY, lw=1, label="equal"))
    handles.append(Patch(fc=GREY, alpha=0.2, label=f"±{100 * BAND:.0f} %"))
    legend(figure, handles)
    return save(figure, folder, f"planned_{plan.name}", planned_table(plan))


def _scatter(axes: Axes, found: Sequence[tuple[Json, float, float]], divisor: float) -> None:
    values = [value / divisor for _, *both in found for value in both]
    low, high = min(values) / 1.3, max(values) * 1.3
    line = np.array([low, high])
    axes.fill_between(line, line * (1 - BAND), line * (1 + BAND), color=GREY, alpha=0.2, lw=0)
    axes.plot(line, line, color=GREY, lw=1)
    for row, measured, predicted in found:
        colour, marker = strategy_look(row["strategy"])
        axes.plot(measured / divisor, predicted / divisor, marker, color=colour, ms=6, mec="white",
                  mew=0.5, alpha=0.9)  # fmt: skip
    axes.set_xlim(low, high)
    axes.set_ylim(low, high)
    for axis in (axes.xaxis, axes.yaxis):
        rate_axis(axes, axis)
    axes.set_aspect("equal")
    error = median_error(found) or 0.0
    count = f"{len(found):,} point{'s' if len(found) > 1 else ''}"
    axes.text(0.03, 0.97, f"{count}, median error {100 * error:.1f} %", transform=axes.transAxes,
              va="top", fontsize=8.5)  # fmt: skip


def planned_table(plan: PlanData) -> Table:
    """The data of the figure."""

    def ratio(row: Json, key: str) -> float | None:
        a, b = row.get(key), row.get(f"predicted_{key}")
        return 100 * (b / a - 1) if a and b else None

    return Table(
        name=f"planned_{plan.name}",
        title=f"The planner against the points of {plan.study or 'no study'}, {plan.label}",
        columns=[
            "point", "strategy", "nodes", "ranks", Column("images/s, measured", "1/s"),
            Column("images/s, predicted", "1/s"), Column("images/s, off by", "%", "+.1f"),
            Column("memory, measured", "bytes"), Column("memory, predicted", "bytes"),
            Column("memory, off by", "%", "+.1f"),
        ],
        rows=[
            [row["point"], row["strategy"], row["nodes"], row["ranks"], row.get("images_per_s"),
             row.get("predicted_images_per_s"), ratio(row, "images_per_s"), row.get("memory_bytes"),
             row.get("predicted_memory_bytes"), ratio(row, "memory_bytes")]
            for row in plan.measured
        ],
        synthetic=False,
        note="The planner's constants were fitted to these points: to those fed from a batch in "
        "memory, where there are any.",
    )  # fmt: skip
