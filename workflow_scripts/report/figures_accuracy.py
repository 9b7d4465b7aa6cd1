"""One picture of all probes on a benchmark: every encoder by every protocol, over its floors."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D

from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import Json, metrics, protocol_title
from workflow_scripts.report.figure_data import Column, Table, Value
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    GREY,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    mark_synthetic,
    plain,
    save,
)

COLOURS = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY)
MARKERS = "osD^vP"
_NUMBER = 6.0  # percent: room that a number takes
_LANE, _GAP = 0.25, 0.2  # inches: of an encoder in a protocol's band, and between two bands


def look(number: int) -> tuple[str, str]:
    """A colour and a marker; after six the colours come again with the next marker."""
    turn = number // len(COLOURS)
    return COLOURS[number % len(COLOURS)], MARKERS[(number + turn) % len(MARKERS)]


def measured(probe: ProbeData, protocol: str, who: str) -> Json | None:
    """The main metric of an encoder or a floor by a protocol, None if it was not judged so."""
    key = metrics(probe.results[0])[0][0]
    found: Json | None = (probe.verdict(protocol, who) or {}).get(key)
    return found


def accuracy_figure(probes: Sequence[ProbeData], folder: Path) -> Path:
    """`accuracy_<benchmark>.svg`: each encoder by each protocol, mean ± std, over its floors.

    A band for each protocol, in it a lane for each encoder: from the floor (random weights, a ring)
    to the encoder's own mark; the mean colour is a short line.

    Args:
        probes: Of one benchmark.
        folder: Where the figure goes.
    """
    looks = {probe.encoder: look(number) for number, probe in enumerate(probes)}
    bands = [
        (name, [probe for probe in probes if name in probe.protocols])
        for name in in_order({name for probe in probes for name in probe.protocols})
    ]
    height = sum(_LANE * len(lanes) + _GAP for _, lanes in bands)
    figure, axes = plt.subplots(figsize=(9, 1.25 + height), layout="constrained")
    ticks, top = [], 0.0
    for protocol, lanes in bands:
        if top:
            axes.axhline(top - _GAP / 2, color=GREY, lw=0.5, alpha=0.5)
        for number, probe in enumerate(lanes):
            place = top + _LANE * (number + 0.5)
            _lane(axes, place, protocol, probe, *looks[probe.encoder])
        ticks.append(top + _LANE * len(lanes) / 2)
        top += _LANE * len(lanes) + _GAP
    axes.set_yticks(ticks, [protocol_title(name) for name, _ in bands], fontsize=9)
    axes.set_ylim(top - _GAP / 2, -_GAP / 2)
    axes.set_xlim(0, 103)
    axes.grid(axis="y", visible=False)
    if not probes[0].multi_label:
        chance = 100 / max(1, len(probes[0].classes))
        axes.axvline(chance, color=GREY, lw=1, ls=(0, (1, 2)), label="chance")
    title = metrics(probes[0].results[0])[0][1]
    axes.set_xlabel(f"{title}{'' if probes[0].multi_label else ' accuracy'} on the test split (%)")
    axes.set_title(plain(probes[0].benchmark_label, 60))
    _legend(axes, probes, looks)
    mark_synthetic(figure, any(probe.synthetic for probe in probes))
    data = _data(probes, bands)
    return save(figure, folder, data.name, data)


def metric_columns(probe: ProbeData, who: str = "") -> list[Column]:
    """Columns of the main metric: mean, spread, and the number of trials that it is over."""
    title = f"{metrics(probe.results[0])[0][1]}{f' of {who}' if who else ''}"
    return [
        Column(title, "%", ".1f"),
        Column(f"{title}, deviation", "%", ".1f", spread=True),
        Column(f"trials{f' of {who}' if who else ''}"),
    ]


def _data(probes: Sequence[ProbeData], bands: list[tuple[str, list[ProbeData]]]) -> Table:
    floors = {"random": "random weights", "mean-colour": "mean colour"}
    rows: list[list[Value]] = []
    for protocol, lanes in bands:
        for probe in lanes:
            row: list[Value] = [protocol_title(protocol), probe.label, probe.encoder]
            for who in ("encoder", *floors):
                found = measured(probe, protocol, who)
                row += [found["mean"], found["std"], len(found["values"])] if found else [None] * 3
            rows.append([*row, "yes" if probe.synthetic else "no"])
    judged = [c for who in ("", *floors.values()) for c in metric_columns(probes[0], who)]
    return Table(
        name=f"accuracy_{probes[0].benchmark}",
        title=f"Encoders on {probes[0].benchmark_label}, by protocol",
        columns=["protocol", "encoder", "name", *judged, "synthetic"],
        rows=rows,
        synthetic=any(probe.synthetic for probe in probes),
        note="Mean and sample standard deviation over splits and seeds, on the test split.",
    )


def _lane(
    axes: Axes, place: float, protocol: str, probe: ProbeData, colour: str, marker: str
) -> None:
    ours, floor, mean_colour = (
        measured(probe, protocol, who) for who in ("encoder", "random", "mean-colour")
    )
    if ours is None:
        return
    if mean_colour is not None:
        axes.plot(mean_colour["mean"], place, "|", color=INK, ms=8, mew=1.5)
    if floor is not None:
        axes.plot([floor["mean"], ours["mean"]], [place] * 2, color=colour, alpha=0.22, lw=5)
        axes.errorbar(
            floor["mean"], place, xerr=floor["std"], fmt="o", color=GREY, mfc="white", ms=5.5,
            mew=1.4, capsize=2.5, lw=1.2,
        )  # fmt: skip
    axes.errorbar(
        ours["mean"], place, xerr=ours["std"], fmt=marker, color=colour, ms=6.5, capsize=3,
        mec="white", mew=0.6, lw=1.4, ecolor=colour,
    )  # fmt: skip
    _number(axes, place, ours, floor, colour)


def _number(axes: Axes, place: float, ours: Json, floor: Json | None, colour: str) -> None:
    """The mean beside its mark, on the side that is free: away from the floor, inside the axes."""
    below = floor is not None and floor["mean"] > ours["mean"]
    right = ours["mean"] + ours["std"] < 95 and not below
    room = max(ours["std"], 0.8)
    edge = ours["mean"] + (room if right else -room)
    if floor is not None and right:
        edge = max(edge, floor["mean"] + floor["std"])
    if floor is not None and below:
        edge = min(edge, floor["mean"] - floor["std"])
    if not right and edge < _NUMBER:  # it would stand on the protocol's name
        right, ends = True, [one["mean"] + one["std"] for one in (ours, floor) if one is not None]
        edge = max(ends)
    axes.annotate(
        f"{ours['mean']:.1f}", (edge, place), (4 if right else -4, 0), textcoords="offset points",
        ha="left" if right else "right", va="center", fontsize=8, color=colour, fontweight="bold",
        bbox={"fc": "white", "ec": "none", "pad": 0.6, "alpha": 0.75},
    )  # fmt: skip


def _legend(axes: Axes, probes: Sequence[ProbeData], looks: dict[str, tuple[str, str]]) -> None:
    floors = {
        "random": {"marker": "o", "color": GREY, "mfc": "white", "mew": 1.4, "ms": 5.5,
                   "label": "its random weights"},
        "mean-colour": {"marker": "|", "color": INK, "mew": 1.5, "ms": 8, "label": "mean colour"},
    }  # fmt: skip
    judged = {who for p in probes for name in p.protocols for who in floors if p.verdict(name, who)}
    kinds: list[Json] = [
        {
            "color": looks[probe.encoder][0],
            "marker": looks[probe.encoder][1],
            "ms": 6.5,
            "label": plain(probe.label, 36) + (" (synthetic)" if probe.synthetic else ""),
        }
        for probe in probes
    ]
    kinds += [kind for who, kind in floors.items() if who in judged]
    handles: list[Artist] = [Line2D([], [], ls="", **kind) for kind in kinds]
    handles += axes.get_legend_handles_labels()[0]
    axes.figure.legend(handles=handles, loc="outside lower center", ncols=min(4, len(handles)))
