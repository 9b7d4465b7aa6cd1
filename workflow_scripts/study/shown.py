"""A study's table as text for the terminal."""

from collections.abc import Sequence
from typing import Any

from workflow_scripts.scaling.words import NO_COMMUNICATION, SYNTHETIC
from workflow_scripts.study.words import STATUS_TEXTS

Row = dict[str, Any]
_HEAD = (
    "encoder", "mode", "strategy", "nodes", "ranks", "batch", "reader", "ahead", "images/s",
    "efficiency", "waiting", "memory (GB)", "status",
)  # fmt: skip
_TO_THE_LEFT = {"encoder", "mode", "strategy", "reader", "status"}
_SAME = (
    "encoder", "mode", "strategy", "batch", "workers", "prefetch", "gather_ahead", "patch",
    "ranks_per_node", "device",
)  # fmt: skip
_PLAIN = "no_shard"  # what every strategy is on one rank


def shown(study: Row) -> str:
    """The table of a study: medians ± half their range, and efficiency.

    Args:
        study: A study's JSON.
    """
    points = study["points"]
    lines: list[tuple[str, ...]] = [_HEAD, *(_line(point, points) for point in points)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            f"{cell:<{width}}" if name in _TO_THE_LEFT else f"{cell:>{width}}"
            for name, cell, width in zip(_HEAD, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    failed = [f"{point['point']}: {point['error']}" for point in points if point["error"]]
    return "\n".join([f"{study['label']} ({study['study']})", *text, *failed])


def _line(point: Row, points: Sequence[Row]) -> tuple[str, ...]:
    speed, memory, waiting = (
        point[name] for name in ("images_per_s", "peak_memory_bytes", "data_wait")
    )
    share = efficiency(point, points)
    return (
        point["encoder"] + (f" patch {point['patch']}" if point["patch"] else ""),
        point["mode"],
        point["strategy"] or "-",
        str(point["nodes"]),
        str(point["ranks"]),
        str(point["batch"]),
        _reader(point),
        "-" if point["gather_ahead"] is None else str(point["gather_ahead"]),
        "-" if speed is None else _speed(speed),
        "-" if share is None else f"{100 * share:.0f} %",
        "-" if waiting is None else f"{100 * waiting:.0f} %",
        "-" if memory is None else f"{memory / 1e9:.2f}",
        STATUS_TEXTS[point["status"]],
    )


def _reader(point: Row) -> str:
    """Such as `2 × 4`: processes, and batches that each is ahead."""
    if point["workers"] is None:
        return "-"
    return str(point["workers"]) + (f" × {point['prefetch']}" if point["prefetch"] else "")


def _speed(speed: Row) -> str:
    half = (speed["most"] - speed["least"]) / 2
    digits = 0 if speed["median"] >= 1000 else 1
    return f"{speed['median']:,.{digits}f} ± {half:,.{digits}f}"


def efficiency(point: Row, points: Sequence[Row]) -> float | None:
    """Images a second and rank, over those of the same on the fewest ranks that were measured.

    On one rank there are no strategies, and nothing is sent: a strategy and `no_communication`
    are held against the plain model there. Ranks a node are the same too where a study has several
    numbers of nodes, as on the lines of the report (`report.study_series`).

    Args:
        point: The one.
        points: All of its study.
    """
    if point["images_per_s"] is None:
        return None
    by_nodes = len({one["nodes"] for one in points}) > 1
    like = [
        one
        for one in points
        if one["images_per_s"] is not None and _is_like(one, point, by_nodes=by_nodes)
    ]
    first = min(like, key=lambda one: (one["ranks"], one["nodes"]))
    return _of_rank(point) / _of_rank(first)


def _is_like(one: Row, point: Row, *, by_nodes: bool) -> bool:
    alone = dict(point)
    if one["ranks"] == 1 or not by_nodes:
        alone["ranks_per_node"] = one["ranks_per_node"]
    if one["ranks"] == 1:
        alone["gather_ahead"] = one["gather_ahead"]
        if point["strategy"] is not None:
            alone["strategy"] = _PLAIN
        if point["mode"] == NO_COMMUNICATION:
            alone["mode"] = SYNTHETIC
    return all(one[name] == alone[name] for name in _SAME)


def _of_rank(point: Row) -> float:
    return float(point["images_per_s"]["median"] / point["ranks"])
