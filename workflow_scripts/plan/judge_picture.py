"""The judgement as a picture: images/s of held-out models, measured and predicted, by nodes."""

from collections.abc import Sequence
from pathlib import Path

import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from workflow_scripts.errors import UserError
from workflow_scripts.plan.judge import Guess
from workflow_scripts.published.throughput import table
from workflow_scripts.report import style
from workflow_scripts.report.figure_data import Column, Table

_COLOURS = {
    "ddp": style.GREY, "no_shard": style.BLUE, "hybrid_shard_1": style.SKY,
    "hybrid_shard_2": style.GREEN, "hybrid_shard_8": style.PURPLE,
    "shard_grad_op": style.ORANGE, "full_shard": style.RED,
}  # fmt: skip


def draw(some: Sequence[Guess], folder: Path, name: str) -> Path:
    """Save the picture and its data; points without a measured speed are left out.

    Args:
        some: Predictions of models that their constants have not seen.
        folder: Where it goes.
        name: Of the files.

    Raises:
        UserError: There is no such point.
    """
    timed = [g for g in some if g.point.images_per_s is not None]
    if not timed:
        raise UserError("no images_per_s in the points: there is nothing to draw")
    models = list(dict.fromkeys(g.point.model for g in timed))
    with style.styled():
        figure, panels = plt.subplots(
            1, len(models), figsize=(style.WIDTH, 3.6), squeeze=False, layout="constrained"
        )
        for axes, model in zip(panels[0], models, strict=True):
            _panel(axes, [g for g in timed if g.point.model == model])
            axes.set_title(f"{model}, fitted to the others")
        panels[0][0].set_ylabel("images/s of a node")
        return style.save(figure, folder, name, _table(timed, name))


def _panel(axes: Axes, some: Sequence[Guess]) -> None:
    for strategy in dict.fromkeys(g.point.strategy for g in some):
        row = [g for g in some if g.point.strategy == strategy]
        nodes = [g.point.nodes for g in row]
        colour = _COLOURS.get(strategy, style.INK)
        measured = [(g.point.images_per_s or 0) / g.point.nodes for g in row]
        axes.plot(nodes, measured, "o", color=colour, markersize=4)
        axes.plot(
            nodes, [g.images_per_s / g.point.nodes for g in row], color=colour, label=strategy
        )
    axes.set_xscale("log", base=2)
    axes.set_ylim(bottom=0)
    axes.set_xticks([1, 8, 32, 128], labels=["1", "8", "32", "128"])
    axes.set_xlabel("nodes")
    axes.legend(fontsize=7, title="line: predicted, dot: published", title_fontsize=7)


def _table(some: Sequence[Guess], name: str) -> Table:
    return Table(
        name=name,
        title="Throughput of published models, predicted by constants fitted to the others",
        columns=[
            "model", "strategy", "nodes", Column("published", "images/s"),
            Column("predicted", "images/s", ".1f"),
        ],
        rows=[
            (g.point.model, g.point.strategy, g.point.nodes, g.point.images_per_s,
             round(g.images_per_s, 1))
            for g in some
        ],
        synthetic=False,
        note=table()["source"],
    )  # fmt: skip
