"""Histograms of the bands in physical units."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullLocator
from numpy.typing import NDArray

from workflow_scripts.modis.bands import BRIGHTNESS
from workflow_scripts.modis.calibration import brightness_temperature, planck_radiance
from workflow_scripts.report.chip_samples import band_title, sample_chips
from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.figure_data import Column, Table, Value
from workflow_scripts.report.pictures import limits
from workflow_scripts.report.style import (
    GREY,
    INK,
    WIDTH,
    in_order,
    mark_synthetic,
    plain,
    platform_style,
    pretty_units,
    save,
)

CHIPS_READ = 128
PIXELS = 4096  # of each of them and band, on a regular grid
BINS = 60
ACROSS = 3
LEAST = 0.01  # percent: where the axis begins, logarithmic as clear sea fills most of some bands
OUTERMOST = 0.1  # percent left out at either end, so that a few pixels do not squeeze the rest

_MARKS = {"mean": ("mean", "-"), "mean + 2σ": ("mean_2sigma", "--")}  # key in the index, line

Values = dict[str, NDArray[np.float32]]  # (bands, pixels), or (pixels,) of a band, by platform


def read_values(corpus: CorpusData) -> tuple[Values, int, int]:
    """Pixels of chips evenly spread over the corpus.

    Returns:
        Values (bands, pixels) in physical units by platform, the number of chips, and the distance
        of the pixels taken from each.
    """
    found: dict[str, list[NDArray[np.float32]]] = {}
    chips, step = 0, 1
    for chip in sample_chips(corpus, CHIPS_READ):
        step = max(1, round((chip.values[0].size / PIXELS) ** 0.5))
        taken = chip.values[:, step // 2 :: step, step // 2 :: step]
        found.setdefault(chip.platform, []).append(taken.reshape(len(taken), -1))
        chips += 1
    joined = {name: np.concatenate(found[name], axis=1) for name in in_order(found)}
    return joined, chips, step


def bands_figure(corpus: CorpusData, folder: Path) -> Path:
    """`bands_<corpus>.svg`: how often which value, by band and platform, mean and mean + 2σ."""
    values, chips, step = read_values(corpus)
    bands = corpus.index["bands"]
    down = -(-len(bands) // ACROSS)
    figure, grid = plt.subplots(
        down, ACROSS, figsize=(WIDTH, 2.4 * down + 0.5), squeeze=False,
        layout=ConstrainedLayoutEngine(h_pad=0.07),
    )  # fmt: skip
    shard = corpus.samples.shards[0]
    unit = f"{shard.quantity or 'value'} ({pretty_units(shard.units or 'physical units')})"
    handles: dict[str, Any] = {}
    rows: list[list[Value]] = []
    for channel, axes in enumerate(grid.flat):
        axes.set_visible(channel < len(bands))
        if channel >= len(bands):
            continue
        axes.set_title(band_title(plain(bands[channel])))
        axes.set_xlabel(unit)
        if channel % ACROSS == 0:
            axes.set_ylabel("pixels in a bin (%)")
        of_band = {name: found[channel] for name, found in values.items()}
        marks = _marks(corpus.index, channel)
        found = histogram(of_band, [value for _, value, _ in marks])
        _panel(axes, found, marks=marks)
        rows += _rows(bands[channel], found, marks={name: value for name, value, _ in marks})
        if shard.quantity == "radiance" and axes.has_data():
            _temperature_axis(axes, bands[channel], list(values))
        handles |= {text: h for h, text in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles, loc="outside lower right", ncols=4)
    figure.suptitle(_title(corpus, chips, step), x=0.01, ha="left", fontsize=9.5, weight="bold")
    mark_synthetic(figure, corpus.synthetic)
    data = Table(
        name=f"bands_{corpus.name}",
        title=f"{corpus.label}. {_title(corpus, chips, step)}",
        columns=[
            "band", "satellite", Column("from", shard.units), Column("to", shard.units), "pixels",
            Column("share", "%"), *(Column(name, shard.units) for name in _MARKS),
        ],
        rows=rows,
        synthetic=corpus.synthetic,
        note="The first and the last bin of a band and satellite, of one edge, hold what lies "
        "outside the axis. Shares are of the pixels that have a value; the mean and mean + 2σ are "
        "those of the whole corpus.",
    )  # fmt: skip
    return save(figure, folder, data.name, data)


def _title(corpus: CorpusData, chips: int, step: int) -> str:
    total = len(corpus.samples)
    which = f"{chips:,} of {total:,} chips, evenly spread" if chips < total else "all chips"
    return f"Values by band: {which}{'' if step == 1 else f', one pixel in {step} × {step}'}"


def _marks(index: dict[str, Any], channel: int) -> list[tuple[str, float, str]]:
    """Name, value and line style of what the index knows of a channel."""
    found = [
        (name, index[key][channel], line) for name, (key, line) in _MARKS.items() if key in index
    ]
    return [row for row in found if row[1] is not None and np.isfinite(row[1])]


@dataclass(frozen=True, kw_only=True)
class Histogram:
    """How many of a band's pixels are in each bin: `edges` (bins + 1,), `counts` by platform.

    `counts` (bins + 2,) begin with what lies below the first edge and end with what lies above the
    last one. Platforms without a value are not in it.
    """

    edges: NDArray[np.float64]
    counts: dict[str, NDArray[np.int64]]

    def shares(self, platform: str) -> NDArray[np.float64]:
        """`counts` of a platform in percent of its pixels with a value."""
        return 100 * self.counts[platform] / self.counts[platform].sum()


def histogram(values: Values, marks: list[float]) -> Histogram:
    """Equal bins over all but the outermost values (pixels,) by platform, marks included."""
    finite = {name: found[np.isfinite(found)] for name, found in values.items()}
    finite = {name: found for name, found in finite.items() if len(found)}
    if not finite:
        return Histogram(edges=np.zeros(0), counts={})
    everything = np.concatenate(list(finite.values()))
    shown = [*limits(everything, (OUTERMOST, 100 - OUTERMOST)), *marks]
    edges = np.linspace(min(shown), max(shown), BINS + 1)
    counts = {}
    for name, found in finite.items():
        below, above = (found < edges[0]).sum(), (found > edges[-1]).sum()
        counts[name] = np.concatenate([[below], np.histogram(found, edges)[0], [above]])
    return Histogram(edges=edges, counts=counts)


def _rows(band: str, found: Histogram, *, marks: dict[str, float]) -> list[list[Value]]:
    edges = [None, *found.edges.tolist(), None]
    of_band = [marks.get(name) for name in _MARKS]
    return [
        [band, platform, *edges[place : place + 2], int(count), float(share), *of_band]
        for platform, counts in found.counts.items()
        for place, (count, share) in enumerate(zip(counts, found.shares(platform), strict=True))
    ]


def _panel(axes: Axes, found: Histogram, *, marks: list[tuple[str, float, str]]) -> None:
    """Shares of a band's values by platform."""
    if not found.counts:
        axes.set(xticks=[], yticks=[])
        axes.text(0.5, 0.5, "no value in these chips", transform=axes.transAxes, ha="center",
                  color=GREY)  # fmt: skip
        return
    edges, most = found.edges, 10 * LEAST
    low, high = edges[0], edges[-1]
    for name in found.counts:
        share = found.shares(name)[1:-1]
        colour, _ = platform_style(name)
        axes.stairs(share, edges, color=colour, fill=True, alpha=0.2, lw=0, baseline=LEAST)
        axes.stairs(share, edges, color=colour, lw=1.3, label=plain(name), baseline=LEAST)
        most = max(most, share.max())
    for name, value, line in marks:
        axes.axvline(value, color=INK, lw=1.1, ls=line, label=name)
    margin = 0.02 * (high - low)
    axes.set_xlim(low - margin, high + margin)
    axes.set_yscale("log")
    axes.set_ylim(LEAST, 1.6 * most)
    axes.grid(axis="x", visible=False)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.yaxis.set_major_locator(LogLocator(numticks=6))
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())


def _temperature_axis(axes: Axes, band: str, platforms: list[str]) -> None:
    """Brightness temperatures along the upper edge, at the radiances below."""
    known = [name for name in platforms if (name, band) in BRIGHTNESS]
    if not known:
        return
    low, high = axes.get_xlim()
    coldest, hottest = brightness_temperature(
        [max(low, high * 1e-6), high], band=band, platform=known[0]
    )
    upper = axes.secondary_xaxis("top")
    ticks = _round_temperatures(float(coldest), float(hottest), band=band, platform=known[0],
                                apart=0.15 * (high - low))  # fmt: skip
    at = planck_radiance(ticks, band=band, platform=known[0])
    upper.set_xticks(at, [f"{value:.0f} K" for value in ticks])
    upper.tick_params(labelsize=7.5, pad=1, length=3)
    upper.spines["top"].set_visible(False)


def _round_temperatures(
    coldest: float, hottest: float, *, band: str, platform: str, apart: float
) -> list[float]:
    """Multiples of 10 K from the hottest down, no two nearer to each other than `apart` radiance.

    Radiance grows steeply with temperature: evenly spaced ones would crowd at the cold end.
    """
    chosen: list[float] = []
    last = np.inf
    for value in np.arange(np.floor(hottest / 10) * 10, coldest - 1e-9, -10):
        radiance = float(planck_radiance(value, band=band, platform=platform))
        if last - radiance >= apart:
            chosen.append(float(value))
            last = radiance
    return chosen
