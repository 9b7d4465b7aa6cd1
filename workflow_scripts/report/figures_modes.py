"""Real data against a batch in memory, nothing sent, and reading alone: where the time goes."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_scaling import dashes, detail_handles
from workflow_scripts.report.panels import (
    MOST_PANELS,
    failed_handles,
    legend,
    mark_failed,
    nothing_measured,
    panels,
    rate_axis,
    size_axis,
)
from workflow_scripts.report.study_columns import RATES
from workflow_scripts.report.style import BLUE, GREEN, ORANGE, RED, plain, save
from workflow_scripts.scaling.words import IO, NO_COMMUNICATION, REAL, SYNTHETIC
from workflow_scripts.study.points import StudyData
from workflow_scripts.study.series import Series, Variant, per_node, series, size_of, titles

# Of a mode: colour, marker, and what it is called.
MODES = {
    NO_COMMUNICATION: (GREEN, "D", "nothing sent"),
    SYNTHETIC: (BLUE, "o", "batch in memory"),
    REAL: (ORANGE, "s", "real data"),
    IO: (RED, "^", "reading alone"),
}

Panel = tuple[Variant, str | None]


def _panels(lines: Sequence[Series]) -> dict[Panel, list[Series]]:
    """Lines by what is trained and how it is laid over ranks; reading alone is in each."""
    found: dict[Panel, list[Series]] = {}
    for line in lines:
        if line.mode != IO:
            found.setdefault((line.variant, line.strategy), []).append(line)
    sizes = {one.variant: _image_size(one) for one in lines}
    for line in lines:
        if line.mode == IO:
            fitting = [key for key in found if key[0].batch == line.variant.batch
                       and sizes[key[0]] == _image_size(line)]  # fmt: skip
            for key in fitting or [(line.variant, None)]:
                found.setdefault(key, []).append(line)
    return found


def _image_size(line: Series) -> int | None:
    return next((one.image_size for one in (*line.points, *line.failed)), None)


def modes_figure(study: StudyData, folder: Path) -> Path:
    """`modes_<study>.svg`: images/s over nodes or ranks, a line for each mode.

    The distance between two lines is what one thing costs: sending, reading. A panel for each
    encoder and strategy; those of one encoder share the axis of images/s.
    """
    nodes, reader = per_node(study), fastest_reader(study)
    with_it = replace(study, points=[
        one for one in study.points
        if one.mode not in (REAL, IO) or (one.workers, one.prefetch) == reader
    ])  # fmt: skip
    lines = [line for mode in MODES for line in series(with_it, mode)]
    found = dict(list(_panels(lines).items())[:MOST_PANELS])
    figure, axes = panels(len(found), height=3.0)
    names = titles(list(dict.fromkeys(one for one, _ in found)))
    looks = dashes(lines)
    first: dict[Variant, Axes] = {}
    for number, (((one, strategy), mine), (place,)) in enumerate(
        zip(found.items(), axes, strict=True)
    ):
        if first.setdefault(one, place) is not place:
            place.sharey(first[one])
        for line in mine:
            if line.points:
                _mode_line(place, line, nodes=nodes, ls=looks[line.detail])
        nothing_measured(place, mine)
        rate_axis(place)
        sizes = [size_of(p, nodes=nodes) for line in mine for p in (*line.points, *line.failed)]
        size_axis(place, sizes, nodes=nodes)
        failed = [(p, float(size_of(p, nodes=nodes)), MODES[line.mode][0])
                  for line in mine for p in line.failed]  # fmt: skip
        mark_failed(place, failed)
        place.set_title(plain(", ".join(filter(None, (names[one], strategy))), 46))
        if number % 3 == 0:
            place.set_ylabel("images/s of the job")
    there = [mode for mode in MODES if study.of(mode)]
    handles: list[Artist] = [
        Line2D([], [], color=MODES[mode][0], marker=MODES[mode][1], ms=5.5, mec="white", mew=0.5,
               label=_label(study, mode)) for mode in there
    ]  # fmt: skip
    legend(figure, [*handles, *detail_handles(lines), *failed_handles(with_it.points)])
    return save(figure, folder, f"modes_{study.name}", modes_table(study))


def fastest_reader(study: StudyData) -> tuple[int | None, int | None]:
    """Workers and prefetch of the reader that gave most images/s a rank, in training if measured.

    Of all its readers a figure of modes shows this one; the others are in that of reading.
    """
    points = [one for one in study.of(REAL) if one.rate] or study.of(REAL, IO)
    best = max(points, key=lambda one: one.rate.median / one.ranks if one.rate else 0, default=None)
    return (best.workers, best.prefetch) if best else (None, None)


def reader_text(study: StudyData) -> str:
    """`2 workers, prefetch 4`; empty where the study has one reader."""
    readers = {(one.workers, one.prefetch) for one in study.of(REAL, IO)}
    workers, prefetch = fastest_reader(study)
    if len(readers) < 2:
        return ""
    return f"{workers} workers" + (f", prefetch {prefetch}" if prefetch is not None else "")


def _label(study: StudyData, mode: str) -> str:
    reader = reader_text(study) if mode == REAL else ""
    return MODES[mode][2] + (f" ({reader})" if reader else "")


def _mode_line(axes: Axes, line: Series, *, nodes: bool, ls: object) -> None:
    colour, marker, _ = MODES[line.mode]
    rates = [one.rate for one in line.points if one.rate is not None]
    if rates:
        axes.errorbar(
            [size_of(one, nodes=nodes) for one in line.points], [rate.median for rate in rates],
            yerr=[[rate.arms[side] for rate in rates] for side in (0, 1)], fmt=marker, ls=ls,
            color=colour, ms=5.5, mec="white", mew=0.5, capsize=2.5, elinewidth=1,
        )  # fmt: skip


def modes_table(study: StudyData) -> Table:
    """The data of the figure: every point of the study."""
    rows = []
    for one in study.points:
        rows.append([
            one.encoder, one.patch, one.batch, one.strategy, one.mode, one.workers, one.prefetch,
            one.gather_ahead, one.nodes, one.ranks, one.status, one.device,
            *one.rates,
            100 * one.data_wait if one.data_wait is not None else None,
        ])  # fmt: skip
    return Table(
        name=f"modes_{study.name}",
        title=f"Images/s of {study.label} by mode",
        columns=[
            "encoder", Column("patch", "px"), "batch of a rank", "strategy", "mode", "workers",
            "prefetch", "blocks gathered ahead", "nodes", "ranks", "status", "device",
            *RATES, Column("waiting for data", "%", ".1f"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
