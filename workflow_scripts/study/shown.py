"""A study's table as text for the terminal."""

from workflow_scripts.study.points import PointData, Spread, StudyData
from workflow_scripts.study.series import shares
from workflow_scripts.study.words import STATUS_TEXTS

_HEAD = (
    "encoder", "mode", "strategy", "nodes", "ranks", "batch", "reader", "ahead", "images/s",
    "efficiency", "waiting", "memory (GB)", "status",
)  # fmt: skip
_TO_THE_LEFT = {"encoder", "mode", "strategy", "reader", "status"}


def shown(study: StudyData) -> str:
    """The table of a study: medians ± half their range, and efficiency.

    Args:
        study: With its points in their order.
    """
    share = shares(study)
    lines = [_HEAD, *(_line(one, share.get(one.point)) for one in study.points)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    text = [
        "  ".join(
            f"{cell:<{width}}" if name in _TO_THE_LEFT else f"{cell:>{width}}"
            for name, cell, width in zip(_HEAD, line, widths, strict=True)
        ).rstrip()
        for line in lines
    ]
    failed = [f"{one.point}: {one.error}" for one in study.points if one.error]
    return "\n".join([f"{study.label} ({study.name})", *text, *failed])


def _line(one: PointData, share: float | None) -> tuple[str, ...]:
    memory = one.peak_memory_bytes
    return (
        one.encoder + (f" patch {one.patch}" if one.patch else ""),
        one.mode,
        one.strategy or "-",
        str(one.nodes),
        str(one.ranks),
        str(one.batch),
        _reader(one),
        "-" if one.gather_ahead is None else str(one.gather_ahead),
        "-" if one.rate is None else _speed(one.rate),
        "-" if share is None else f"{100 * share:.0f} %",
        "-" if one.data_wait is None else f"{100 * one.data_wait:.0f} %",
        "-" if memory is None else f"{memory / 1e9:.2f}",
        STATUS_TEXTS[one.status],
    )


def _reader(one: PointData) -> str:
    """Such as `2 × 4`: processes, and batches that each is ahead."""
    if one.workers is None:
        return "-"
    return str(one.workers) + (f" × {one.prefetch}" if one.prefetch else "")


def _speed(speed: Spread) -> str:
    half = (speed.most - speed.least) / 2
    digits = 0 if speed.median >= 1000 else 1 if speed.median >= 10 else 3
    return f"{speed.median:,.{digits}f} ± {half:,.{digits}f}"
