"""Pictures of the probes: which classes are told apart, and how far above the floor."""

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.axes import Axes

from workflow_scripts.report.collect import ProbeData
from workflow_scripts.report.style import BLUE, GREY, INK, mark_synthetic, plain, save

MOST_NUMBERS = 24  # above this many classes a cell is too small for a number


def probe_figure(probe: ProbeData, folder: Path) -> Path:
    """`probe_<run>_<benchmark>.svg`: confusion matrix and accuracy by class."""
    classes = [plain(name, 24) for name in probe.result["classes"]]
    height = max(3.2, 1.4 + 0.24 * len(classes))
    figure, (left, right) = plt.subplots(
        1, 2, figsize=(11, height), layout="constrained", width_ratios=[1.25, 1]
    )
    _confusion(left, np.array(probe.result["encoder"]["confusion"], float), classes)
    _by_class(right, probe, classes)
    mark_synthetic(figure, probe.synthetic)
    return save(figure, folder, f"probe_{probe.run}_{probe.benchmark}")


def _confusion(axes: Axes, counts: np.ndarray, classes: list[str]) -> None:
    totals = counts.sum(axis=1, keepdims=True)
    share = 100 * np.divide(counts, totals, out=np.zeros_like(counts), where=totals > 0)
    picture = axes.imshow(share, cmap="Blues", vmin=0, vmax=100, aspect="auto")
    ticks = range(len(classes))
    axes.set_xticks(ticks, classes, rotation=90, fontsize=7.5)
    axes.set_yticks(ticks, classes, fontsize=7.5)
    axes.grid(False)
    axes.set_title("Confusion")
    axes.set_xlabel("predicted class")
    axes.set_ylabel("true class")
    if len(classes) <= MOST_NUMBERS:
        for row, column in zip(*np.nonzero(share >= 0.5), strict=True):
            value = share[row, column]
            axes.text(
                column, row, f"{value:.0f}", ha="center", va="center", fontsize=6.5,
                color="white" if value > 55 else INK,
            )  # fmt: skip
    bar = axes.figure.colorbar(picture, ax=axes, fraction=0.03, pad=0.01)
    bar.set_label("share of the true class (%)")
    bar.outline.set_visible(False)


def _by_class(axes: Axes, probe: ProbeData, classes: list[str]) -> None:
    names = probe.result["classes"]
    ours, floor = (
        np.array([np.nan if v[name] is None else v[name] for name in names], float)
        for v in (probe.result["encoder"]["per_class"], probe.result["random"]["per_class"])
    )
    rows = np.arange(len(names))
    axes.barh(rows, np.nan_to_num(ours), height=0.62, color=BLUE, label="this run")
    axes.plot(floor, rows, "|", color=INK, ms=9, mew=1.6, label="random weights")
    for row in rows[np.isnan(ours)]:
        axes.text(1, row, "no test sample", va="center", fontsize=7, color=GREY)
    axes.set_yticks(rows, classes, fontsize=7.5)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.set_xlim(0, 100)
    axes.grid(axis="y", visible=False)
    axes.set_title("Accuracy by class")
    axes.set_xlabel("top-1 accuracy (%)")
    axes.figure.legend(loc="outside lower right", ncols=2)


def accuracy_figure(probes: list[ProbeData], folder: Path) -> Path:
    """`accuracy.svg`: top-1 of every probe, mean ± std, beside its floor and chance."""
    figure, axes = plt.subplots(figsize=(9, 1.2 + 0.55 * len(probes)), layout="constrained")
    names = []
    for row, probe in enumerate(probes):
        ours, floor = (probe.result[who]["top1"] for who in ("encoder", "random"))
        chance = 100 / len(probe.result["classes"])
        axes.plot([floor["mean"], ours["mean"]], [row, row], color=BLUE, alpha=0.25, lw=5)
        axes.plot([chance], [row], "|", color=GREY, ms=11, mew=1.4, label="chance")
        options: dict[str, Any] = {"fmt": "o", "capsize": 3, "ms": 6.5}
        axes.errorbar(
            floor["mean"], row, xerr=floor["std"], color=GREY, mfc="white", mew=1.5,
            label="random weights, mean ± std", **options,
        )  # fmt: skip
        axes.errorbar(
            ours["mean"], row, xerr=ours["std"], color=BLUE, label="this run, mean ± std", **options
        )
        axes.annotate(
            f"{ours['mean']:.1f}", (ours["mean"], row), (0, 7), textcoords="offset points",
            ha="center", fontsize=8, color=BLUE, fontweight="bold",
        )  # fmt: skip
        tail = " · synthetic" if probe.synthetic else ""
        names.append(f"{plain(probe.run_label, 28)}\n{plain(probe.benchmark_label, 28)}{tail}")
    axes.set_yticks(range(len(probes)), names, fontsize=8)
    axes.set_ylim(len(probes) - 0.5, -0.6)
    axes.set_xlim(0, 102)
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("top-1 accuracy on the test split (%)")
    handles, labels = axes.get_legend_handles_labels()
    once = dict(zip(labels, handles, strict=True))
    figure.legend(once.values(), once, loc="outside lower center", ncols=3)
    mark_synthetic(figure, any(probe.synthetic for probe in probes))
    return save(figure, folder, "accuracy")
