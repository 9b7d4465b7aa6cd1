"""Tables of studies: every point, and published throughput of encoders of the same size."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from workflow_scripts.published import throughput
from workflow_scripts.report.figure_data import Column, Table
from workflow_scripts.scaling.words import DONE
from workflow_scripts.study.points import PointData, StudyData
from workflow_scripts.study.series import shares
from workflow_scripts.study.words import STATUS_TEXTS

# Of each other's number of parameters: what counts as the same encoder. Published counts are up to
# 1.4 % above those of the plain models (their heads, or rounding).
SAME = 0.03


def study_table(study: StudyData) -> Table:
    """Every point: what was measured, its spread, efficiency, memory, or how it ended.

    Efficiency is that of weak scaling along the lines of the figures.
    """
    share = shares(study)
    rows = [
        [one.encoder, one.patch, one.mode, one.strategy, one.nodes, one.ranks, one.batch,
         one.workers, one.prefetch, one.gather_ahead, *one.rates, _percent(share.get(one.point)),
         _percent(one.data_wait),
         one.peak_memory_bytes / 1e9 if one.peak_memory_bytes is not None else None,
         _percent(one.mfu), one.device, STATUS_TEXTS[one.status], one.error]
        for one in study.points
    ]  # fmt: skip
    columns = [
        Column("encoder"), Column("patch", "px"), Column("mode"), Column("strategy"),
        Column("nodes"), Column("ranks"), Column("batch of a rank"), Column("workers"),
        Column("prefetch"), Column("blocks gathered ahead"), Column("images/s", "1/s"),
        Column("least", "1/s"), Column("most", "1/s"),
        Column("efficiency", "%", ".0f"), Column("waiting for data", "%", ".1f"),
        Column("memory", "GB", ".3g"), Column("of the peak", "%", ".1f"), Column("device"),
        Column("status"), Column("error"),
    ]  # fmt: skip
    return Table(
        name=f"study_{study.name}",
        title=f"Points of {study.label}",
        # What no point has is in the CSV alone, whose columns are the same for all studies.
        columns=[
            replace(column, detail=all(row[place] is None for row in rows))
            for place, column in enumerate(columns)
        ],
        rows=rows,
        synthetic=False,
        note="Median, least and most of the repetitions; memory is that of the rank with most. "
        "Efficiency: images/s over those of the smallest number of ranks times the growth.",
    )


def _percent(share: float | None) -> float | None:
    return 100 * share if share is not None else None


def published_rows() -> list[dict[str, Any]]:
    """Published points: model, its parameters, strategy, ranks, images/s of the job, source."""
    found = throughput.table()
    return [
        {
            "model": one.model,
            "parameters": found["parameters"][one.model],
            "strategy": one.strategy,
            "ranks": one.nodes * found["devices_per_node"],
            "images_per_s": one.images_per_s,
            "source": found["source"],
        }
        for one in throughput.points()
        if one.images_per_s is not None
    ]


def published_table(study: StudyData, published: Sequence[dict[str, Any]]) -> Table:
    """Points of ours beside published ones of an encoder of the same size, on as many ranks.

    Args:
        study: Ours.
        published: As of `published_rows`.
    """
    rows = []
    for one in study.of(study.main_mode):
        for other in published:
            if _agree(one, other):
                ours = one.rate.median / one.ranks if one.rate else None
                theirs = other["images_per_s"] / other["ranks"]
                rows.append([
                    one.encoder, other["model"], one.strategy, one.ranks, one.device, one.batch,
                    ours, theirs, _percent(ours / theirs if ours else None), other["source"],
                ])  # fmt: skip
    return Table(
        name=f"published-scaling_{study.name}",
        title=f"Published throughput beside {study.label}",
        columns=[
            "encoder", "published model", "strategy", "ranks", "our device", "our batch",
            Column("ours", "images/s of a rank", ".4g"),
            Column("published", "images/s of a rank", ".4g"),
            Column("ours over published", "%", ".0f"), "source",
        ],
        rows=rows,
        synthetic=False,
        note="Of other devices, image sizes and software: context, not a comparison.",
    )  # fmt: skip


def _agree(one: PointData, other: dict[str, Any]) -> bool:
    size = one.encoder_parameters
    return (
        one.status == DONE
        and size is not None
        and abs(size / other["parameters"] - 1) <= SAME
        and one.strategy == other["strategy"]
        and one.ranks == other["ranks"]
    )
