"""Plans on the terminal: the table of layouts, the recommended one, and the planner's errors."""

import statistics
from collections.abc import Sequence
from typing import Any

from workflow_scripts.energy.climate import grid_words
from workflow_scripts.forecast.measured import errors
from workflow_scripts.forecast.words import hours, short_time

Json = dict[str, Any]

_HEAD = (
    "nodes", "strategy", "GB a device", "step", "waiting", "images/s", "efficiency", "epoch",
    "total", "jobs", "node-hours", "kWh", "kg CO2",
)  # fmt: skip
_POINTS = ("point", "images/s", "planned", "error")
_LEFT = frozenset({"strategy", "jobs", "point"})


def lines(plan: Json) -> list[str]:
    """A plan as text.

    Args:
        plan: As the stage writes it.
    """
    machine = plan["machine"]
    energy = plan["recipe"]["energy"]
    head = [
        f"{plan['label']}: {plan['images']:,} images, {plan['epochs']} epochs, "
        f"{plan['parameters'] / 1e6:,.1f} M trained numbers, on {machine['label']}",
        f"constants: {plan['constants']['source']}; a job begins after "
        f"{machine['start_minutes']:g} min, checkpoints every "
        f"{plan['recipe']['checkpoint_every']} steps at "
        f"{machine['storage_gb_s']:g} GB/s a node; queues and failures are not planned",
        "",
    ]
    table = text_table(_HEAD, [_row(one, plan) for one in plan["options"]])
    told = ["", plan["recommended"]["why"]]
    if machine["node_watts"] is None:
        told.append("Energy is not planned: the machine's node_watts is not given.")
    else:
        told.append(f"CO2: {grid_words(energy)}.")
    return [*head, *table, *told, *_measured(plan)]


def _row(one: Json, plan: Json) -> tuple[str, ...]:
    best = plan["recommended"]
    is_best = (one["strategy"], one["nodes"]) == (best["strategy"], best.get("nodes"))
    shown = (
        f"{'→ ' if is_best else ''}{one['nodes']}",
        one["strategy"],
        f"{one['memory_bytes'] / 1e9:.1f}",
    )
    if one["refused"]:
        reason = "too much" if not one["fits"] else one["refused"]
        return (*shown, reason)
    jobs = f"{one['segments']} × {short_time(60 * one['walltime_minutes'])}"
    return (
        *shown,
        f"{one['step_s']:.3f} s",
        f"{one['communication_s'] / one['step_s']:.0%}",
        f"{one['images_per_s']:,.0f}",
        "–" if one["efficiency"] is None else f"{one['efficiency']:.0%}",
        short_time(one["epoch_s"]),
        short_time(one["total_s"]),
        jobs,
        hours(one["node_hours"]),
        "–" if one["kwh"] is None else hours(one["kwh"]),
        "–" if one["kg_co2"] is None else hours(one["kg_co2"]),
    )


def _measured(plan: Json) -> list[str]:
    rows = plan["measured"]
    if not rows:
        return []
    cells = [
        (
            row["point"],
            f"{row['images_per_s']:,.1f}",
            f"{row['predicted_images_per_s']:,.1f}",
            f"{row['predicted_images_per_s'] / row['images_per_s'] - 1:+.0%}",
        )
        for row in rows
    ]
    middle = statistics.median(errors(rows))
    return [
        "",
        f"The planner against study {plan['constants']['source']}, to which it is fitted: median "
        f"error {middle:.0%}",
        *text_table(_POINTS, cells),
    ]


def text_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Columns side by side; a row may end early, with a remark that reaches beyond its column."""
    full = [row for row in [tuple(head), *rows] if len(row) == len(head)]
    widths = [max(len(row[place]) for row in full) for place in range(len(head))]
    for row in rows:  # cells before a remark count, too
        for place, cell in enumerate(row[:-1]):
            widths[place] = max(widths[place], len(cell))
    return [_line(head, row, widths).rstrip() for row in [tuple(head), *rows]]


def _line(head: Sequence[str], row: Sequence[str], widths: Sequence[int]) -> str:
    cells = []
    for place, cell in enumerate(row):
        remark = len(row) < len(head) and place == len(row) - 1
        to_left = remark or head[place] in _LEFT
        cells.append(f"{cell:<{widths[place]}}" if to_left else f"{cell:>{widths[place]}}")
    return "  ".join(cells)
