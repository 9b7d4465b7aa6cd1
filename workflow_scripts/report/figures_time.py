"""A training step of each layout, cut into computing, sending and reading."""

from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.panels import legend
from workflow_scripts.report.study_time import StepTime, step_times
from workflow_scripts.report.style import BLUE, GREEN, GREY, INK, ORANGE, SKY, plain, save
from workflow_scripts.study.points import StudyData
from workflow_scripts.study.series import titles

_LANE = 0.25  # inches of a bar
_MOST_BARS = 60
# Parts of a step: attribute, colour, hatch (for grey print), name.
_PARTS = (
    ("compute_s", BLUE, "", "computing"),
    ("trained_s", SKY, "..", "computing and sending"),
    ("communication_s", GREEN, "////", "sending, not hidden"),
    ("waiting_s", ORANGE, "xxxx", "reading, not hidden"),
)


def time_figure(study: StudyData, folder: Path) -> Path:
    """`time_<study>.svg`: a step of each layout, cut into computing, sending and reading.

    A bar is the whole step; behind it are its milliseconds. The ring is the share of the time in
    which training itself saw that it waited for data.
    """
    steps = step_times(study)[:_MOST_BARS]
    height = 1.3 + _LANE * max(2, len(steps))
    figure, axes = plt.subplots(figsize=(9, height), layout="constrained")
    several = len({row.variant for row in steps}) > 1
    for place, row in enumerate(steps):
        _bar(axes, place, row)
    if not steps:
        axes.text(0.5, 0.5, "no point was measured", transform=axes.transAxes, ha="center",
                  color=GREY)  # fmt: skip
    names = titles(list(dict.fromkeys(row.variant for row in steps)))
    axes.set_yticks(
        range(len(steps)), [_lane_name(row, names[row.variant], several=several) for row in steps]
    )
    axes.set_ylim(max(2, len(steps)) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("share of a step (%)")
    used = [part for part in _PARTS if any((getattr(row, part[0]) or 0) > 0 for row in steps)]
    handles: list[Artist] = [
        Patch(fc=colour, ec="white", hatch=hatch, label=name) for _, colour, hatch, name in used
    ]
    if any(_left(row) > 1e-9 for row in steps):
        handles.append(Patch(fc="#d8dce1", ec="white", label="not told apart"))
    if any(row.data_wait is not None for row in steps):
        handles.append(Line2D([], [], ls="", marker="o", mfc="white", mec=INK, ms=6,
                              label="waiting for data, as training saw it"))  # fmt: skip
    legend(figure, handles)
    return save(figure, folder, f"time_{study.name}", time_table(study))


def _lane_name(row: StepTime, title: str, *, several: bool) -> str:
    count = f"{row.whole.ranks:,} rank{'s' if row.whole.ranks > 1 else ''}"
    strategy = row.strategy if row.whole.ranks > 1 else None
    parts = (title if several else None, strategy, count, row.detail)
    return plain(", ".join(part for part in parts if part), 48)


def _left(row: StepTime) -> float:
    """Seconds of a step that the study's modes do not tell apart."""
    return row.step_s - sum(getattr(row, name) or 0.0 for name, *_ in _PARTS)


def _bar(axes: Axes, place: int, row: StepTime) -> None:
    begin = 0.0
    for name, colour, hatch, _ in _PARTS:
        share = 100 * (getattr(row, name) or 0.0) / row.step_s
        if share > 0:
            axes.barh(place, share, left=begin, height=0.62, color=colour, hatch=hatch, ec="white",
                      lw=0.5)  # fmt: skip
        begin += share
    if begin < 100 - 1e-9:
        axes.barh(place, 100 - begin, left=begin, height=0.62, color="#d8dce1", ec="white", lw=0.5)
    if row.data_wait is not None:
        axes.plot(100 * (1 - row.data_wait), place, "o", mfc="white", mec=INK, ms=5.5, mew=1.2,
                  clip_on=False, zorder=4)  # fmt: skip
    hidden = f", {100 * row.hidden:.0f} % of reading hidden" if row.hidden is not None else ""
    axes.text(
        101.5, place, f"{_milliseconds(row.step_s)}{hidden}", va="center", fontsize=8, color=INK
    )


def _milliseconds(seconds: float) -> str:
    return f"{1000 * seconds:,.0f} ms" if seconds >= 0.1 else f"{1000 * seconds:.3g} ms"


def time_table(study: StudyData) -> Table:
    """The data of the figure."""
    rows = [
        [row.variant.encoder, row.variant.patch, row.variant.batch, row.strategy, row.detail,
         row.whole.nodes, row.whole.ranks, row.whole.device, row.whole.mode, row.step_s,
         row.compute_s, row.trained_s, row.communication_s, row.waiting_s, row.reading_s,
         100 * row.hidden if row.hidden is not None else None,
         100 * row.data_wait if row.data_wait is not None else None]
        for row in step_times(study)
    ]  # fmt: skip
    return Table(
        name=f"time_{study.name}",
        title=f"Where the time of a step goes, {study.label}",
        columns=[
            "encoder", Column("patch", "px"), "batch of a rank", "strategy", "detail", "nodes",
            "ranks", "device", "mode of the step", Column("step", "s"), Column("computing", "s"),
            Column("computing and sending", "s"), Column("sending, not hidden", "s"),
            Column("reading, not hidden", "s"), Column("reading alone", "s"),
            Column("reading hidden", "%", ".1f"), Column("waiting for data, seen", "%", ".1f"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
