"""One setting of a study against images/s and memory: sequence length, batch, gathering ahead."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_scaling import DASHES
from workflow_scripts.report.panels import (
    MOST_PANELS,
    failed_handles,
    legend,
    mark_failed,
    panels,
    rate_axis,
    strategy_handles,
)
from workflow_scripts.report.strategy_looks import strategies_in_order, strategy_look
from workflow_scripts.report.study_columns import RATES
from workflow_scripts.report.style import GREY, plain, plain_ticks, save
from workflow_scripts.scaling.words import DONE
from workflow_scripts.study.points import PointData, StudyData

_GB = 1e9


@dataclass(frozen=True)
class Setting:
    """A setting that a study has several values of.

    Attributes:
        key: Of the points.
        axis: What the horizontal axis says.
        powers: Whether that axis is logarithmic.
        tick: How a point's value is written.
        beside: Other keys that go with it, not held equal.
    """

    key: str
    axis: str
    powers: bool
    tick: Callable[[PointData], str]
    beside: tuple[str, ...] = ()


SETTINGS = {
    "sequence": Setting(
        "tokens", "tokens (below: of all bands apart)", True,
        lambda one: f"{one.tokens:,}\n{one.tokens_by_channel or 0:,}", ("patch",),
    ),
    "batch": Setting("batch", "images of a rank in a step", True, lambda one: f"{one.batch:,}"),
    "ahead": Setting(
        "gather_ahead", "blocks gathered ahead", False, lambda one: f"{one.gather_ahead}"
    ),
}  # fmt: skip
_PANEL = ("encoder", "patch", "batch", "nodes", "ranks_per_node")
# What else tells lines of one strategy apart.
_DETAIL = {"workers": "{} workers", "prefetch": "prefetch {}", "gather_ahead": "{} ahead"}


@dataclass(frozen=True, kw_only=True)
class Sweep:
    """Points that differ in one setting alone, by its rising value, on one device.

    Attributes:
        panel: What all of them have in common but strategy and reader.
        detail: What sets them apart from other lines of their strategy; often empty.
        failed: Those without a number; they may have run on any device.
    """

    panel: tuple[tuple[str, Any], ...]
    strategy: str | None
    detail: str
    device: str | None
    points: list[PointData]
    failed: list[PointData]


def sweeps(study: StudyData, setting: Setting) -> list[Sweep]:
    """Lines of at least two values of a setting, measured or tried."""
    points = study.of(study.main_mode)
    panel_keys = [key for key in _PANEL if key != setting.key and key not in setting.beside]
    several = [
        key
        for key in _DETAIL
        if key != setting.key and len({getattr(one, key) for one in points} - {None}) > 1
    ]
    many = len({one.device for one in points if one.status == DONE}) > 1
    groups: dict[Any, list[PointData]] = {}
    for one in points:
        if getattr(one, setting.key) is not None:
            panel = tuple((key, getattr(one, key)) for key in panel_keys)
            told = [(key, getattr(one, key)) for key in several]
            detail = ", ".join(_DETAIL[k].format(v) for k, v in told if v is not None)
            groups.setdefault((panel, one.strategy, detail), []).append(one)
    found = []
    for (panel, strategy, detail), members in groups.items():
        if len({getattr(one, setting.key) for one in members}) < 2:
            continue
        ordered = sorted(members, key=lambda one: float(getattr(one, setting.key)))
        done = [one for one in ordered if one.status == DONE]
        devices: list[str | None] = [*dict.fromkeys(one.device for one in done)] or [None]
        found += [
            Sweep(
                panel=panel, strategy=strategy, device=device,
                detail=", ".join(filter(None, (detail, device if many else None))),
                points=[one for one in done if one.device == device],
                failed=[one for one in ordered if one.status != DONE and place == 0],
            )
            for place, device in enumerate(devices)
        ]  # fmt: skip
    return found


def panel_titles(keys: Sequence[tuple[tuple[str, Any], ...]]) -> list[str]:
    """Headings: the encoder, and what else differs between panels."""
    words = {"patch": "patch {}", "batch": "batch {}"}
    several = [name for name in words if len({dict(key).get(name) for key in keys}) > 1]
    found = []
    for key in keys:
        values = dict(key)
        ranks = values["nodes"] * values["ranks_per_node"]
        parts = [str(values["encoder"]), f"{ranks:,} rank{'s' if ranks > 1 else ''}"]
        parts += [words[name].format(values[name]) for name in several if values[name] is not None]
        found.append(", ".join(parts))
    return found


def sweep_figure(study: StudyData, kind: str, folder: Path) -> Path:
    """`<kind>_<study>.svg`: images/s above, memory below, over a setting; a line a strategy."""
    setting = SETTINGS[kind]
    lines = sweeps(study, setting)
    looks = _dashes(lines)
    keys = list(dict.fromkeys(line.panel for line in lines))[:MOST_PANELS]
    figure, found = panels(len(keys), height=3.9, ratios=(1.3, 1))
    for number, (key, title, (rates, memory)) in enumerate(
        zip(keys, panel_titles(keys), found, strict=True)
    ):
        mine = [line for line in lines if line.panel == key]
        for line in mine:
            _line(rates, memory, line, setting.key, ls=looks[line.detail])
        _axes(rates, memory, mine, setting)
        rates.set_title(plain(title, 44))
        if number % 3 == 0:
            rates.set_ylabel("images/s of the job")
            memory.set_ylabel("memory of a rank (GB)")
    handles = strategy_handles(strategies_in_order(line.strategy for line in lines))
    handles += [Line2D([], [], color=GREY, ls=ls, label=plain(detail or "otherwise"))
                for detail, ls in looks.items() if len(looks) > 1]  # fmt: skip
    failed = [one for line in lines for one in line.failed]
    legend(figure, [*handles, *failed_handles(failed)])
    return save(figure, folder, f"{kind}_{study.name}", sweep_table(study, kind))


def _dashes(lines: Sequence[Sweep]) -> dict[str, Any]:
    """A way of drawing for each detail and device."""
    details = dict.fromkeys(line.detail for line in lines)
    return {detail: DASHES[number % len(DASHES)] for number, detail in enumerate(details)}


def _line(rates: Axes, memory: Axes, line: Sweep, key: str, *, ls: Any) -> None:
    colour, marker = strategy_look(line.strategy)
    values = [float(getattr(one, key)) for one in line.points]
    found = [one.rate for one in line.points if one.rate is not None]
    if found:
        rates.errorbar(
            values, [rate.median for rate in found],
            yerr=[[rate.arms[side] for rate in found] for side in (0, 1)], fmt=marker, ls=ls,
            color=colour, ms=5.5, mec="white", mew=0.5, capsize=2.5, elinewidth=1,
        )  # fmt: skip
    known = [
        (value, one.peak_memory_bytes / _GB)
        for value, one in zip(values, line.points, strict=True)
        if one.peak_memory_bytes is not None
    ]
    if known:
        memory.plot(*zip(*known, strict=True), color=colour, marker=marker, ls=ls, ms=5.5,
                    mec="white", mew=0.5)  # fmt: skip


def _axes(rates: Axes, memory: Axes, lines: Sequence[Sweep], setting: Setting) -> None:
    every = [one for line in lines for one in (*line.points, *line.failed)]
    ticks = {float(getattr(one, setting.key)): setting.tick(one) for one in every}
    if setting.powers:
        rate_axis(rates)
    else:
        rates.set_ylim(bottom=0)
        plain_ticks(rates)
    memory.set_ylim(bottom=0)
    plain_ticks(memory)
    for axes in (rates, memory):
        if setting.powers:
            axes.set_xscale("log", base=2)
        axes.xaxis.set_major_locator(FixedLocator(sorted(ticks)))
        axes.xaxis.set_minor_locator(NullLocator())
        axes.set_xlim(*_room(sorted(ticks), powers=setting.powers))
    rates.tick_params(labelbottom=False)
    memory.set_xticks(sorted(ticks), [ticks[value] for value in sorted(ticks)])
    memory.set_xlabel(setting.axis)
    failed = [(one, float(getattr(one, setting.key)), strategy_look(line.strategy)[0])
              for line in lines for one in line.failed]  # fmt: skip
    mark_failed(rates, failed)


def _room(ticks: Sequence[float], *, powers: bool) -> tuple[float, float]:
    """Both ends of an axis of these ticks: the same above and below, whatever has a number."""
    if powers:
        wide = (ticks[-1] / ticks[0]) ** 0.12
        return ticks[0] / wide, ticks[-1] * wide
    wide = 0.12 * (ticks[-1] - ticks[0])
    return ticks[0] - wide, ticks[-1] + wide


def sweep_table(study: StudyData, kind: str) -> Table:
    """The data of the figure."""
    rows = [
        [one.encoder, one.patch, one.tokens, one.tokens_by_channel, one.batch, one.gather_ahead,
         line.strategy, one.nodes, one.ranks, one.status, one.device, *one.rates,
         one.peak_memory_bytes]
        for line in sweeps(study, SETTINGS[kind])
        for one in [*line.points, *line.failed]
    ]  # fmt: skip
    return Table(
        name=f"{kind}_{study.name}",
        title=f"Images/s and memory of {study.label} by {SETTINGS[kind].axis}, {study.data_text}",
        columns=[
            "encoder", Column("patch", "px"), "tokens", "tokens, each band apart",
            "batch of a rank", "blocks gathered ahead", "strategy", "nodes", "ranks", "status",
            "device", *RATES, Column("peak memory", "bytes"),
        ],
        rows=rows,
        synthetic=False,
    )  # fmt: skip
