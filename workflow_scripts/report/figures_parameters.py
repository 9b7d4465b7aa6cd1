"""Accuracy against the size of the encoder: ours with their floors, and published numbers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, FuncFormatter, NullLocator

from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import metrics, protocol_title, published_name
from workflow_scripts.published import published
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.figures_accuracy import look, measured
from workflow_scripts.report.figures_along import apart
from workflow_scripts.report.panels import MOST_PANELS, legend, panels
from workflow_scripts.report.probe_data import ProbeData
from workflow_scripts.report.style import GREY, INK, mark_synthetic, plain, save

_GAP = (0.02, 0.035, 0.045)  # of the axis, between two encoders: of one, two, three panels a row
_MOST_TICKS = 6  # of the axis; where there were more, powers of ten alone
_OTHER = "*"  # a published protocol that is none of ours


@dataclass(frozen=True, kw_only=True)
class Judged:
    """An encoder of known size on a benchmark by a protocol; `floor`: the same, random weights."""

    name: str
    parameters: float
    protocol: str  # of ours, or as the source calls it
    mean: float
    std: float | None
    floor: float | None
    synthetic: bool
    source: str | None  # None: ours


def judged(probes: Sequence[ProbeData], sizes: Mapping[str, int]) -> list[Judged]:
    """What is known of a benchmark: our encoders whose size is known, then published ones.

    Args:
        probes: Of one benchmark.
        sizes: Parameters of the encoder of each run.
    """
    found = []
    for probe in probes:
        for protocol in probe.protocols:
            ours, floor = (measured(probe, protocol, who) for who in ("encoder", "random"))
            if ours is not None and probe.run is not None and probe.run in sizes:
                found.append(Judged(
                    name=probe.label, parameters=sizes[probe.run], protocol=protocol,
                    mean=ours["mean"], std=ours["std"], floor=floor["mean"] if floor else None,
                    synthetic=probe.synthetic, source=None,
                ))  # fmt: skip
    names = {published_name(p): p for probe in probes for p in probe.protocols}
    for row in published(probes[0].published):
        if row.get("parameters") and row["number"] is not None:
            protocol = names.get(row["protocol"]) or row["protocol"] or "not stated"
            found.append(Judged(
                name=row["model"], parameters=row["parameters"], protocol=protocol,
                mean=row["number"], std=None, floor=None, synthetic=False, source=row["source"],
            ))  # fmt: skip
    return found


def places(sizes: Sequence[float], gap: float) -> list[float]:
    """Where encoders of these sizes stand on an axis of decades: equal ones side by side.

    Args:
        sizes: Parameters of each encoder.
        gap: Decades between two of them at least.
    """
    return [float(place) for place in apart(np.log10(np.array(sizes, float)), gap)]


def parameters_figure(probes: Sequence[ProbeData], sizes: Mapping[str, int], folder: Path) -> Path:
    """`accuracy_parameters.svg`: a panel for each benchmark, a mark for each protocol.

    Marks of one encoder stand above each other; a ring below is the same encoder with random
    weights. Open marks are published: of other data, splits and protocols. Encoders of nearly
    equal size stand side by side.
    """
    by_benchmark: dict[str, list[ProbeData]] = {}
    for probe in probes:
        by_benchmark.setdefault(probe.benchmark, []).append(probe)
    shown = list(by_benchmark.values())[:MOST_PANELS]
    protocols = in_order({name for probe in probes for name in probe.protocols})
    looks = {name: look(number) for number, name in enumerate(protocols)}
    figure, found = panels(len(shown), height=4.4)
    for number, (members, (axes,)) in enumerate(zip(shown, found, strict=True)):
        _panel(axes, judged(members, sizes), looks, gap=_GAP[min(len(shown), len(_GAP)) - 1])
        axes.set_title(plain(members[0].benchmark_label, 40), pad=6)
        axes.set_xlabel("parameters of the encoder")
        if number % 3 == 0:
            axes.set_ylabel(f"{metrics(members[0].results[0])[0][1]} on the test split (%)")
    rows = [one for members in shown for one in judged(members, sizes)]
    legend(figure, _handles(rows, looks))
    mark_synthetic(figure, any(one.synthetic for one in rows))
    return save(figure, folder, "accuracy_parameters", parameters_table(probes, sizes))


def _panel(
    axes: Axes, rows: Sequence[Judged], looks: Mapping[str, tuple[str, str]], *, gap: float
) -> None:
    axes.set_ylim(0, 105)
    if not rows:
        axes.text(0.5, 0.5, "no encoder of known size", transform=axes.transAxes, ha="center",
                  color=GREY)  # fmt: skip
        axes.set_xticks([])
        return
    encoders = list(dict.fromkeys((one.name, one.parameters, one.source) for one in rows))
    decades = np.log10([size for _, size, _ in encoders])
    low, high = float(decades.min()) - 0.3, float(decades.max()) + 0.3
    place = places([size for _, size, _ in encoders], gap * (high - low))
    for one in rows:
        x = place[encoders.index((one.name, one.parameters, one.source))]
        colour, marker = looks.get(one.protocol, (INK, _OTHER))
        if one.floor is not None:
            axes.plot([x, x], [one.floor, one.mean], color=colour, lw=1.2, alpha=0.3)
            axes.plot(x, one.floor, marker, color=GREY, mfc="white", ms=4.5, mew=1.1)
        axes.errorbar(
            x, one.mean, yerr=one.std, fmt=marker, color=colour, ms=6.5, capsize=2.5, lw=1.2,
            mfc="white" if one.source else colour, mec=colour if one.source else "white",
            mew=1.5 if one.source else 0.6,
        )  # fmt: skip
    _names(axes, rows, encoders, place)
    axes.set_xlim(min(low, min(place) - 0.1), max(high, max(place) + 0.1))
    ticks = [10.0**power * step for power in range(2, 12) for step in (1, 2, 5)]
    inside = [np.log10(tick) for tick in ticks if low <= np.log10(tick) <= high]
    if len(inside) > _MOST_TICKS:
        inside = [tick for tick in inside if tick == round(tick)]
    axes.xaxis.set_major_locator(FixedLocator(inside or [low, high]))
    axes.xaxis.set_minor_locator(NullLocator())
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: count(10**value)))


def _names(
    axes: Axes, rows: Sequence[Judged], encoders: Sequence[tuple[str, float, str | None]],
    place: Sequence[float],
) -> None:  # fmt: skip
    """The encoder's name, upright, on that side of its marks where there is more room."""
    for number, (name, size, source) in enumerate(encoders):
        own = [one for one in rows if (one.name, one.parameters, one.source)
               == (name, size, source)]  # fmt: skip
        top = max(one.mean + (one.std or 0) for one in own)
        bottom = min(min(one.mean, one.floor if one.floor is not None else 100) for one in own)
        above = 100 - top > bottom
        axes.annotate(
            plain(name, 24), (place[number], top if above else bottom), (0, 8 if above else -8),
            textcoords="offset points", rotation=90, ha="center", va="bottom" if above else "top",
            fontsize=7.5, color=GREY if source else INK,
        )  # fmt: skip


def count(value: float) -> str:
    """`86000000` → `86 M`."""
    for unit, size in (("B", 1e9), ("M", 1e6), ("k", 1e3)):
        if value >= 0.9995 * size:
            return f"{value / size:.3g} {unit}"
    return f"{value:.3g}"


def _handles(rows: Sequence[Judged], looks: Mapping[str, tuple[str, str]]) -> list[Artist]:
    used = [name for name in looks if any(one.protocol == name for one in rows)]
    handles: list[Artist] = [
        Line2D([], [], ls="", color=looks[name][0], marker=looks[name][1], ms=6.5,
               label=protocol_title(name)) for name in used
    ]  # fmt: skip
    others = dict.fromkeys(one.protocol for one in rows if one.protocol not in looks)
    if others:
        handles.append(Line2D([], [], ls="", marker=_OTHER, mec=INK, mfc="white", mew=1.2, ms=7,
                              label=plain("other protocol: " + ", ".join(others), 60)))  # fmt: skip
    if any(one.source for one in rows):
        handles.append(Line2D([], [], ls="", marker="o", mec=INK, mfc="white", mew=1.5, ms=6.5,
                              label="open: published, not comparable"))  # fmt: skip
    if any(one.floor is not None for one in rows):
        handles.append(Line2D([], [], ls="", marker="o", mec=GREY, mfc="white", ms=4.5,
                              label="random weights"))  # fmt: skip
    return handles


def parameters_table(probes: Sequence[ProbeData], sizes: Mapping[str, int]) -> Table:
    """The data of the figure."""
    rows = []
    for name in dict.fromkeys(probe.benchmark for probe in probes):
        members = [probe for probe in probes if probe.benchmark == name]
        rows += [
            [members[0].benchmark_label, one.name, int(one.parameters), one.protocol, one.mean,
             one.std, one.floor, one.source, one.synthetic]
            for one in judged(members, sizes)
        ]  # fmt: skip
    return Table(
        name="accuracy_parameters",
        title="Accuracy against parameters of the encoder",
        columns=[
            "benchmark", "encoder", "parameters", "protocol", Column("score", "%", ".1f"),
            Column("standard deviation", "%", ".1f", spread=True),
            Column("random weights", "%", ".1f"), Column("published in"), "synthetic",
        ],
        rows=rows,
        synthetic=any(row[-1] for row in rows),
        note="Published numbers are of other data, splits and protocols: context, no comparison.",
    )  # fmt: skip
