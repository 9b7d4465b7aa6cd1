"""Which chips were kept and why the others were not, over all days."""

from collections import Counter
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from matplotlib.ticker import FuncFormatter, MaxNLocator

from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.days import Tally
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.report.style import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PURPLE,
    RED,
    SKY,
    WIDTH,
    mark_synthetic,
    plain,
    save,
)

KEPT = "kept"
MOST_GROUPS = 6  # datasets and platforms with bars of their own; above it platforms are summed
BAR, BETWEEN = 0.19, 0.16  # inches: height of a bar, between two reasons
_PREFERRED = {"Terra": BLUE, "Aqua": ORANGE}


def groups(totals: dict[tuple[str, str], Tally], datasets: list[str]) -> dict[str, Counter[str]]:
    """Chips by what became of them, by dataset and platform, kept ones first.

    The dataset is named only where a platform has several, and platforms of more than `MOST_GROUPS`
    are summed.
    """
    ours = {key: tally for key, tally in totals.items() if key[0] in datasets}
    platforms = [platform for _, platform in ours]
    single = len(set(platforms)) == len(platforms) or len(ours) > MOST_GROUPS
    found: dict[str, Counter[str]] = {}
    for (dataset, platform), tally in ours.items():
        fate = found.setdefault(platform if single else f"{dataset} ({platform})", Counter())
        fate.update({KEPT: tally.chips_kept})
        fate.update(tally.dropped)
    return found


def _colours(names: list[str]) -> list[str]:
    rest = iter(colour for colour in (GREEN, PURPLE, SKY, RED, BLUE, ORANGE))
    chosen = [_PREFERRED.get(name) for name in names]
    return [colour or next(rest) for colour in chosen]


def dropped_figure(corpus: CorpusData, totals: dict[tuple[str, str], Tally], folder: Path) -> Path:
    """`dropped_<corpus>.svg`: chips kept and chips dropped by reason, with numbers and shares."""
    fates = groups(totals, corpus.cut_from)
    every = sum(fates.values(), Counter[str]())
    reasons = [KEPT, *sorted(set(every) - {KEPT}, key=lambda name: (-every[name], name))]
    step = len(fates) * BAR + BETWEEN
    figure, axes = plt.subplots(figsize=(WIDTH, len(reasons) * step + 0.9), layout="constrained")
    most = max((count for fate in fates.values() for count in fate.values()), default=0)
    for place, (colour, (name, fate)) in enumerate(
        zip(_colours(list(fates)), fates.items(), strict=True)
    ):
        total = fate.total()
        at = np.arange(len(reasons)) * step + place * BAR
        counts = [fate[reason] for reason in reasons]
        axes.barh(
            at, counts, height=BAR * 0.86, color=colour, align="edge",
            label=plain(f"{name}, {total:,} chips looked at"),
        )  # fmt: skip
        for y, count in zip(at + BAR * 0.43, counts, strict=True):
            share = f" ({100 * count / total:.1f} %)" if total else ""
            axes.annotate(
                f"{count:,}{share}", (count, y), (4, 0), textcoords="offset points",
                va="center", fontsize=7.5, color=INK,
            )  # fmt: skip
    middles = np.arange(len(reasons)) * step + len(fates) * BAR / 2
    labels = [KEPT, *(f"dropped: {name}" for name in reasons[1:])]
    axes.set_yticks(middles, [plain(name) for name in labels], fontsize=8.5)
    axes.set_ylim(len(reasons) * step - BETWEEN / 2, -BETWEEN / 2)
    axes.set_xlim(0, max(most, 1) * 1.12)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:,.0f}"))
    axes.grid(axis="y", visible=False)
    axes.set_xlabel("chips")
    axes.set_title("Chips kept and dropped, over all days")
    figure.legend(loc="outside lower right", ncols=2)
    mark_synthetic(figure, corpus.synthetic)
    data = Table(
        name=f"dropped_{corpus.name}",
        title=f"Chips kept and dropped of {corpus.label}, over all days",
        columns=["satellite", "fate", "chips", Column("share", "%", ".1f")],
        rows=[
            [name, reason if reason == KEPT else f"dropped: {reason}", fate[reason],
             100 * fate[reason] / fate.total() if fate.total() else None]
            for name, fate in fates.items()
            for reason in reasons
        ],
        synthetic=corpus.synthetic,
        note="Shares are of all chips of the satellite that were looked at.",
    )  # fmt: skip
    return save(figure, folder, data.name, data)
