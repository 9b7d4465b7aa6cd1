"""Pictures of image corpora: samples of each class."""

from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np

from workflow_scripts.report.collect import CorpusData
from workflow_scripts.report.figure_data import Table, Value
from workflow_scripts.report.pictures import spread_out, thumbnail
from workflow_scripts.report.style import WIDTH, mark_synthetic, plain, save

MOST_CLASSES = 60
GAP, LINE = 0.18, 0.24  # inches: between classes, of a class's name


def images_figure(corpus: CorpusData, folder: Path, *, per_class: int) -> Path:
    """`data_<corpus>.svg`: a few samples of each class, side by side under the class's name."""
    labels = corpus.samples.labels
    groups = [
        (name, np.flatnonzero(labels == label)) for label, name in enumerate(corpus.samples.classes)
    ]
    groups = [(name, rows) for name, rows in groups if len(rows)][:MOST_CLASSES]
    if not groups:
        groups, per_class = [("", np.arange(len(labels)))], 16
    across = max(1, min(len(groups), 12 // per_class))
    down = -(-len(groups) // across)
    # Inches: each class has a block of `per_class` squares below a line for its name.
    block = (WIDTH + GAP) / across - GAP
    square = (block - (per_class - 1) * GAP / 4) / per_class
    height = down * (square + GAP + LINE) - GAP
    figure = plt.figure(figsize=(WIDTH, height))
    shown: list[list[Value]] = []
    side = 96 if len(groups) * per_class <= 60 else 72
    for number, (name, rows) in enumerate(groups):
        down_at, across_at = divmod(number, across)
        left = across_at * (block + GAP)
        top = height - down_at * (square + GAP + LINE)
        figure.text(left / WIDTH, (top - LINE * 0.75) / height, plain(name, 30), weight="bold")
        for place, row in enumerate(spread_out(rows, per_class)):
            corner = left + place * (square + GAP / 4), top - LINE - square
            axes = figure.add_axes(
                (corner[0] / WIDTH, corner[1] / height, square / WIDTH, square / height)
            )
            axes.imshow(thumbnail(corpus.samples, row, side))
            axes.set_axis_off()
            shown.append([name or None, corpus.samples.key(row), row])
    mark_synthetic(figure, corpus.synthetic)
    data = Table(
        name=f"data_{corpus.name}", title=f"Samples of {corpus.label} that are shown",
        columns=["class", "key", "sample"], rows=shown, synthetic=corpus.synthetic,
        note="`sample` is its number in the packed corpus.",
    )  # fmt: skip
    return save(figure, folder, data.name, data)
