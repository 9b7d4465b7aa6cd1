"""Pictures of energy: power and utilisation of a run over time, and accuracy against energy."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from numpy.typing import NDArray

from workflow_scripts.energy.climate import NOT_MEASURED, co2_kg, kwh
from workflow_scripts.energy.measured import measured
from workflow_scripts.probe.reading import Json, metrics, protocol_title
from workflow_scripts.report.collect import RunData
from workflow_scripts.report.energy_data import is_sampled, thinned
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_accuracy import look
from workflow_scripts.report.figures_accuracy import measured as judged
from workflow_scripts.report.panels import rate_axis
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    RED,
    bare,
    mark_synthetic,
    plain,
    plain_ticks,
    save,
)

ACCURACY = "energy_accuracy"
_COLUMNS = 3  # panels in a row


def power_figure(run: RunData, folder: Path) -> Path:
    """`power_<run>.svg`: power, utilisation and memory of the devices over time of training.

    A line that says so where nothing of it was measured.
    """
    values = thinned(run.power)
    data = _samples(run, values)
    if not is_sampled(run):
        figure, axes = plt.subplots(figsize=(10.5, 0.4))
        bare(axes)
        axes.text(0, 0.5, f"Power, utilisation and memory: {NOT_MEASURED}", color=GREY, va="center")
        mark_synthetic(figure, run.synthetic)
        return save(figure, folder, data.name, data)
    time, unit = _time(values["seconds"])
    panels = (
        ("Power of all nodes", "kW", values["watts"] / 1e3, RED),
        ("Utilisation, mean of ranks", "%", values["utilisation"] * 100, BLUE),
        ("Memory, rank with most", "GB", values["memory_bytes"] / 1e9, GREEN),
    )
    figure, grid = plt.subplots(1, 3, figsize=(10.5, 2.7), layout="constrained")
    for axes, (title, of, series, colour) in zip(grid, panels, strict=True):
        axes.set_title(title)
        if _series(axes, time, series, colour):
            axes.set_xlabel(f"{unit} of training")
            axes.set_ylabel(of)
    if grid[1].lines:
        grid[1].set_ylim(0, 105)
    mark_synthetic(figure, run.synthetic)
    return save(figure, folder, data.name, data)


def _series(
    axes: Axes, time: NDArray[np.float64], values: NDArray[np.float64], colour: str
) -> bool:
    """Draw a curve, or that it was not measured; whether it was."""
    if not np.isfinite(values).any():
        _missing(axes)
        return False
    axes.plot(time, values, color=colour, lw=1.2, marker="." if len(values) < 30 else "")
    axes.set_ylim(0, 1.1 * float(np.nanmax(values)) or 1.0)
    plain_ticks(axes)
    return True


def _missing(axes: Axes) -> None:
    bare(axes)
    axes.text(0.5, 0.5, NOT_MEASURED, transform=axes.transAxes, ha="center", color=GREY)


def _time(seconds: NDArray[np.float64]) -> tuple[NDArray[np.float64], str]:
    """Time in the unit that suits it, and the unit."""
    last = float(seconds.max(initial=0.0))
    for size, unit in ((3600.0, "hours"), (60.0, "minutes")):
        if last > 3 * size:
            return seconds / size, unit
    return seconds, "seconds"


def _samples(run: RunData, values: dict[str, NDArray[np.float64]]) -> Table:
    columns = [
        Column("time", "s"), Column("power", "W"), Column("utilisation"), Column("memory", "bytes"),
    ]  # fmt: skip
    return Table(
        name=f"power_{run.name}",
        title=f"{run.label}: power and utilisation over time",
        columns=columns,
        rows=list(zip(*values.values(), strict=True)),
        synthetic=run.synthetic,
        note=f"Empty: {NOT_MEASURED}.",
    )


def accuracy_table(
    probes: Sequence[ProbeData], runs: dict[str, RunData], energy: Json
) -> Table:  # fmt: skip
    """What each run's encoder is worth at its end, beside the energy of its pretraining.

    Args:
        probes: Of runs at their ends.
        runs: By name.
        energy: What energy means for the climate, of the report's recipe.
    """
    rows: list[list[str | float | None]] = []
    for probe in probes:
        joules = measured(runs[str(probe.run)].facts or {}).whole
        ours, floor = (judged(probe, probe.headline, who) for who in ("encoder", "random"))
        rows.append(
            [probe.label, probe.benchmark_label, protocol_title(probe.headline),
             *([None, None] if ours is None else [ours["mean"], ours["std"]]),
             None if floor is None else floor["mean"],
             *([None, None] if joules is None else [kwh(joules), co2_kg(joules, energy)])]
        )  # fmt: skip
    return Table(
        name=ACCURACY,
        title="Accuracy against energy of pretraining",
        columns=[
            "encoder", "benchmark", "protocol", Column("accuracy", "%", ".1f"),
            Column("spread of accuracy", "%", ".1f", spread=True),
            Column("random weights", "%", ".1f"),
            Column("energy", "kWh", absent=NOT_MEASURED), Column("CO2", "kg", absent=NOT_MEASURED),
        ],
        rows=rows,
        synthetic=any(probe.synthetic for probe in probes),
        note="Energy of the run alone: that of a start or teacher is not in it.",
    )  # fmt: skip


def accuracy_energy_figure(
    probes: Sequence[ProbeData], runs: dict[str, RunData], energy: Json, folder: Path
) -> Path:
    """`energy_accuracy.svg`: accuracy over kWh of pretraining, a panel for each benchmark.

    Args:
        probes: Of runs at their ends.
        runs: By name.
        energy: What energy means for the climate, of the report's recipe.
        folder: Where the figure goes.
    """
    names = list(dict.fromkeys(probe.benchmark for probe in probes))
    looks = {name: look(n) for n, name in enumerate(dict.fromkeys(p.encoder for p in probes))}
    lines = -(-len(names) // _COLUMNS)
    figure, grid = plt.subplots(
        lines, min(_COLUMNS, len(names)), figsize=(10.5, 3.4 * lines), squeeze=False,
        layout="constrained",
    )  # fmt: skip
    for axes in grid.flat[len(names) :]:
        axes.set_visible(False)
    for axes, name in zip(grid.flat, names, strict=False):
        _panel(axes, [probe for probe in probes if probe.benchmark == name], runs, looks)
    entries: dict[str, Artist] = {}
    for axes in grid.flat:
        entries |= {name: one for one, name in zip(*axes.get_legend_handles_labels(), strict=True)}
    if entries:
        figure.set_figheight(3.4 * lines + 0.22 * -(-len(entries) // 3))
        figure.legend(handles=list(entries.values()), loc="outside lower center", ncols=3)
    mark_synthetic(figure, any(probe.synthetic for probe in probes))
    return save(figure, folder, ACCURACY, accuracy_table(probes, runs, energy))


def _panel(
    axes: Axes, probes: Sequence[ProbeData], runs: dict[str, RunData],
    looks: dict[str, tuple[str, str]],
) -> None:  # fmt: skip
    title = metrics(probes[0].results[0])[0][1]
    axes.set_title(plain(probes[0].benchmark_label))
    used = []
    for probe in probes:
        joules = measured(runs[str(probe.run)].facts or {}).whole
        ours = judged(probe, probe.headline, "encoder")
        if joules is None or ours is None:
            continue
        colour, marker = looks[probe.encoder]
        axes.errorbar(
            kwh(joules), ours["mean"], yerr=ours["std"], fmt=marker, color=colour, capsize=3,
            label=plain(f"{probe.label}, {protocol_title(probe.headline)}", 44),
        )  # fmt: skip
        used.append(kwh(joules))
    if not used:
        _missing(axes)
        return
    axes.set_xlabel("energy of pretraining (kWh)")
    axes.set_ylabel(f"{title} (%)")
    axes.set_xlim(min(used) / 2.5, max(used) * 2.5)
    rate_axis(axes, axes.xaxis)
