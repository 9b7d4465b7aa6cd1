"""A run along its steps: what its encoder is worth as pretraining goes on."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from numpy.typing import NDArray

from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import Json, metrics, protocol_title
from workflow_scripts.report.figure_data import Table, Value
from workflow_scripts.report.figures_accuracy import measured, metric_columns
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    mark_synthetic,
    plain,
    save,
)

# The same in every such figure; few-shot protocols share a colour and are told by their names.
_COLOURS = {"linear": BLUE, "lars": ORANGE, "ridge": GREEN, "knn": RED, "finetune": SKY}

Points = list[tuple[int, Json]]  # step, metric


def along_figure(
    run: str, label: str, probes: Sequence[ProbeData], *, last_step: int, folder: Path
) -> Path:
    """`along_<run>_<benchmark>.svg`: the main metric over pretraining, a line for each protocol.

    Step 0 is the encoder with random weights. A protocol by which one step alone was judged has no
    line.

    Args:
        run: The run.
        label: What people call the run.
        probes: Of the run on one benchmark, at steps and, if it is judged, at its end.
        last_step: The step at its end.
        folder: Where the figure goes.
    """
    steps = [last_step if probe.step is None else probe.step for probe in probes]
    ordered = [probes[place] for place in np.argsort(steps, kind="stable")]
    figure, axes = plt.subplots(figsize=(9, 4.2), layout="constrained")
    ends = []
    data: list[list[Value]] = []
    for protocol in in_order({name for probe in probes for name in probe.protocols}):
        line, floor = _points(protocol, ordered, last_step)
        if len(line) < 2:
            continue
        kind = protocol.rpartition("_")[0]
        colour = _COLOURS.get(protocol, PURPLE if kind == "few_shot" else GREY)
        points = [(0, floor), *line] if floor is not None else line
        _line(axes, points, judged=len(line), colour=colour, dashed=kind == "few_shot")
        data += [
            [protocol_title(protocol), step, "random weights" if step == 0 else "encoder",
             one["mean"], one["std"], len(one["values"])]
            for step, one in points
        ]  # fmt: skip
        ends.append((*line[-1], f"{protocol_title(protocol)} {line[-1][1]['mean']:.1f}", colour))
    _axes(axes, probes[0], label, last=max(steps))
    names = apart(np.array([end[1]["mean"] for end in ends]), 0.05 * np.ptp(axes.get_ylim()))
    for (_, _, text, colour), place in zip(ends, names, strict=True):
        axes.text(
            1.015, place, text, transform=axes.get_yaxis_transform(), color=colour, fontsize=8.5,
            va="center", fontweight="bold",
        )  # fmt: skip
    mark_synthetic(figure, any(probe.synthetic for probe in probes))
    table = Table(
        name=f"along_{run}_{probes[0].benchmark}",
        title=f"{label} along its pretraining, judged on {probes[0].benchmark_label}",
        columns=["protocol", "step", "weights", *metric_columns(probes[0])],
        rows=data,
        synthetic=any(probe.synthetic for probe in probes),
    )
    return save(figure, folder, table.name, table)


def _points(
    protocol: str, ordered: Sequence[ProbeData], last_step: int
) -> tuple[Points, Json | None]:
    """The steps at which a protocol judged, with its metric, and that of the random floor."""
    judged = [probe for probe in ordered if protocol in probe.protocols]
    found = [
        (last_step if probe.step is None else probe.step, measured(probe, protocol, "encoder"))
        for probe in judged
    ]
    line = [(step, metric) for step, metric in found if metric is not None]
    return line, measured(judged[-1], protocol, "random")


def _line(axes: Axes, points: Points, *, judged: int, colour: str, dashed: bool) -> None:
    """A line through points, of which the last `judged` are of the encoder, one before is not."""
    steps = np.array([step for step, _ in points], float)
    means, spreads = (np.array([one[key] for _, one in points]) for key in ("mean", "std"))
    axes.fill_between(steps, means - spreads, means + spreads, color=colour, alpha=0.15, lw=0)
    axes.plot(steps, means, color=colour, ls=(0, (4, 1.5)) if dashed else "-")
    axes.plot(steps[-judged:], means[-judged:], "o", color=colour, ms=5, mec="white", mew=0.6)
    axes.plot(
        steps[:-judged], means[:-judged], "o", color=colour, mfc="white", ms=5.5, mew=1.4, zorder=4
    )


def _axes(axes: Axes, probe: ProbeData, label: str, *, last: int) -> None:
    title = metrics(probe.results[0])[0][1]
    axes.set_xlabel("optimiser step of pretraining (ring at 0: random weights)")
    axes.set_ylabel(f"{title}{'' if probe.multi_label else ' accuracy'} (%)")
    axes.set_title(f"{plain(label, 40)}, judged on {plain(probe.benchmark_label, 40)}")
    low, high = axes.get_ylim()
    axes.set_ylim(max(0, low), min(101, high))
    axes.set_xlim(-0.015 * last, 1.015 * last)
    axes.xaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")


def apart(places: NDArray[np.float64], least: float) -> NDArray[np.float64]:
    """Places moved as little as possible (least squares) until any two are `least` apart."""
    order = np.argsort(places, kind="stable")
    # Less what the places before take, they only have to rise: pools of those that would fall.
    pools: list[tuple[float, int]] = []
    for rank, place in enumerate(places[order]):
        mean, count = float(place) - rank * least, 1
        while pools and pools[-1][0] > mean:
            before, many = pools.pop()
            mean, count = (before * many + mean * count) / (many + count), many + count
        pools.append((mean, count))
    risen = np.concatenate([np.full(count, mean) for mean, count in pools] or [np.zeros(0)])
    moved = np.empty(len(places))
    moved[order] = risen + np.arange(len(places)) * least
    return moved
