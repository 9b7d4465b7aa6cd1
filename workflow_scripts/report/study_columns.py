"""Columns that the tables behind a study's figures share."""

from workflow_scripts.report.figure_data import Column, Value
from workflow_scripts.study.points import PointData
from workflow_scripts.study.series import Series

# A point on a line: what it is, and how it ended.
ON_A_LINE = (
    "encoder", Column("patch", "px"), "batch of a rank", "strategy", "detail", "nodes", "ranks",
    "status", "device",
)  # fmt: skip
# What `PointData.rates` holds.
RATES = (
    Column("images/s, median", "1/s"), Column("images/s, least", "1/s"),
    Column("images/s, most", "1/s"),
)  # fmt: skip


def on_a_line(line: Series, one: PointData) -> list[Value]:
    """The values under `ON_A_LINE`."""
    return [
        one.encoder, one.patch, one.batch, line.strategy, line.detail, one.nodes, one.ranks,
        one.status, one.device,
    ]  # fmt: skip
