"""Pictures of the runs: curves, and what the network fills in."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgba
from matplotlib.layout_engine import ConstrainedLayoutEngine
from numpy.typing import NDArray

from workflow_scripts.pretrain.history import NOT_TERMS
from workflow_scripts.report.collect import RunData
from workflow_scripts.report.figure_data import Column, Table, Value
from workflow_scripts.report.figures_chips import grey_maps
from workflow_scripts.report.pictures import FalseColour, cover, is_thermal, map_band, unit_rgb
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    HIDDEN,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    bare,
    mark_synthetic,
    plain,
    plain_ticks,
    save,
)


def column(history: list[dict[str, Any]], name: str) -> NDArray[np.float64]:
    """One value of each logged step, NaN where it was not logged."""
    values = [row.get(name) for row in history]
    return np.array([np.nan if value is None else value for value in values], float)


def smooth(values: NDArray[np.float64], width: int) -> NDArray[np.float64]:
    """Running mean over `width` neighbours, shorter at the ends, of what is finite."""
    kernel = np.ones(width)
    known = np.isfinite(values)
    total = np.convolve(np.where(known, values, 0.0), kernel, "same")
    count = np.convolve(known.astype(float), kernel, "same")
    return np.divide(total, count, out=np.full(len(values), np.nan), where=count > 0)


def _curve(axes: Axes, steps: Any, values: Any, *, colour: str, label: str = "") -> None:
    if not np.isfinite(values).any():
        return
    width = max(1, len(values) // 25)
    axes.plot(steps, values, _line(steps), color=colour, alpha=0.35 if width > 1 else 1, lw=1)
    if width > 1:
        axes.plot(steps, smooth(values, width), color=colour)
    axes.plot([], [], color=colour, label=plain(label))


def _line(steps: Any) -> str:
    """How a curve is drawn: a line through one point alone would not be seen."""
    return "-" if len(steps) > 1 else "o"


def run_figure(run: RunData, folder: Path) -> Path:
    """`run_<run>.svg`: loss and its terms, learning rate, images/s over steps."""
    figure, (loss, rate, speed) = plt.subplots(
        1, 3, figsize=(10.5, 3.0), layout="constrained", width_ratios=[1.5, 1, 1]
    )
    steps = column(run.history, "step")
    _curve(loss, steps, column(run.history, "loss"), colour=BLUE, label="loss")
    terms = _terms(run.history)
    for name, colour in zip(terms, (ORANGE, GREEN, PURPLE, RED), strict=False):
        _curve(loss, steps, column(run.history, name), colour=colour, label=name)
    if terms:
        loss.legend(
            loc="lower right", bbox_to_anchor=(1, 0.98), ncols=4, fontsize=8, borderpad=0,
            handlelength=1.2, columnspacing=1.2,
        )  # fmt: skip
    rate.plot(steps, column(run.history, "lr"), _line(steps), color=GREEN)
    _curve(speed, steps, column(run.history, "images_per_s"), colour=SKY)
    speed.set_ylim(bottom=0)
    titles = ("Loss", "Learning rate", "Speed"), ("loss", "learning rate", "images per second")
    for axes, title, unit in zip((loss, rate, speed), *titles, strict=True):
        axes.set_title(title)
        axes.set_ylabel(unit)
        axes.set_xlabel("optimiser step")
        plain_ticks(axes, x_whole=True)
        if not any(np.isfinite(line.get_ydata()).any() for line in axes.lines):
            axes.text(0.5, 0.5, "not recorded", transform=axes.transAxes, ha="center", color=GREY)
    mark_synthetic(figure, run.synthetic)
    data = _curves(run)
    return save(figure, folder, data.name, data)


def _terms(history: list[dict[str, Any]]) -> list[str]:
    """Terms of the loss that were logged."""
    names = {name for row in history for name, v in row.items() if isinstance(v, int | float)}
    return sorted(names - NOT_TERMS)


def _curves(run: RunData) -> Table:
    """Each logged step, as it was logged: the picture smooths."""
    columns = [Column("step"), Column("samples"), Column("loss")]
    columns += [Column(name) for name in _terms(run.history)]
    columns += [Column("learning rate"), Column("speed", "images/s")]
    keys = [{"learning rate": "lr", "speed": "images_per_s"}.get(c.name, c.name) for c in columns]
    return Table(
        name=f"run_{run.name}",
        title=f"{run.label}: loss, learning rate and speed",
        columns=columns,
        rows=[[row.get(key) for key in keys] for row in run.history],
        synthetic=run.synthetic,
    )


def reconstruction_figure(run: RunData, folder: Path, *, units: str = "") -> Path | None:
    """`reconstruction_<run>.svg`: input, what was left of it, and the prediction pasted in.

    None for a run that reconstructs nothing. `units` are those of chips' values.
    """
    if not run.pictures:
        return None
    given, predicted, mask = (run.pictures[name] for name in ("input", "prediction", "mask"))
    physical = run.model["normalisation"]["scale"] == "physical"
    count, rows = len(given), 6 if physical else 3
    figure, grid = plt.subplots(
        rows, count, figsize=(10, 10 / max(count, 4) * rows + 0.3), squeeze=False,
        layout=ConstrainedLayoutEngine(w_pad=0.02, h_pad=0.02, wspace=0.01, hspace=0.01),
    )  # fmt: skip
    bands = run.model["bands"]
    colour = FalseColour(given, bands) if physical else unit_rgb
    for number in range(count):
        picture = colour(given[number])
        shown = picture, cover(picture, mask[number], HIDDEN), colour(predicted[number])
        for axes, image in zip(grid[:3, number], shown, strict=True):
            axes.imshow(image)
    if physical:
        channel = map_band(bands)
        values = given[..., channel], given[..., channel], predicted[..., channel]
        thermal = is_thermal(bands[channel])
        grey_maps(grid[3:], np.stack(values), units=units, figure=figure, thermal=thermal)
        for axes, hidden in zip(grid[4], mask, strict=True):
            axes.imshow(hidden[..., None] * np.array(to_rgba(HIDDEN)))
    for axes in grid.flat:
        bare(axes)
    names = ["input", "masked", "prediction"]
    band = f"band {bands[map_band(bands)]} " if physical else ""
    for number in range(rows):
        grid[number][0].set_ylabel(plain((band if number > 2 else "") + names[number % 3]))
    mark_synthetic(figure, run.synthetic)
    data = _errors(run, units=units if physical else "")
    return save(figure, folder, data.name, data)


def _errors(run: RunData, *, units: str) -> Table:
    """How far the prediction is off where the picture was hidden, by picture and channel.

    Beside it stands the deviation of the hidden pixels: whoever predicts their mean errs so much.
    """
    given, predicted, mask, keys = (
        run.pictures[name] for name in ("input", "prediction", "mask", "keys")
    )
    rows: list[list[Value]] = []
    for key, true, found, hidden in zip(keys.tolist(), given, predicted, mask, strict=True):
        for channel, band in enumerate(run.model["bands"]):
            values = true[hidden, channel].astype(float)
            known = np.isfinite(values)
            off = found[hidden, channel][known] - values[known]
            rows.append(
                [key, band, 100 * float(hidden.mean()),
                 float(np.sqrt((off**2).mean())) if len(off) else None,
                 float(values[known].std()) if len(off) else None]
            )  # fmt: skip
    return Table(
        name=f"reconstruction_{run.name}",
        title=f"{run.label}: errors of the reconstructions that are shown",
        columns=[
            "key", "channel", Column("hidden", "%", ".1f"), Column("RMS error", units),
            Column("deviation of the true values", units),
        ],
        rows=rows,
        synthetic=run.synthetic,
        note="Over hidden pixels that have a value"
        + ("." if units else ", of values between 0 and 1."),
    )  # fmt: skip
