"""Layouts, times and amounts in words."""

from workflow_scripts.forecast.options import Option

_UNITS = (("day", 86400.0), ("hour", 3600.0), ("minute", 60.0))


def time_words(seconds: float) -> str:
    """`3.2 days`, `5.1 hours`, `12 minutes`, `8 seconds`."""
    for name, size in _UNITS:
        if seconds >= size:
            return count(seconds / size, name)
    return count(seconds, "second")


def short_time(seconds: float | None) -> str:
    """`3.2 d`, `5.1 h`, `12 min`, `8 s`; `–` if there is none."""
    if seconds is None:
        return "–"
    for name, size in (("d", 86400.0), ("h", 3600.0), ("min", 60.0)):
        if seconds >= size:
            return f"{hours(seconds / size)} {name}"
    return f"{hours(seconds)} s"


def count(number: float, what: str) -> str:
    """`1 day`, `2.5 days`."""
    text = hours(number)
    return f"{text} {what}" if text == "1" else f"{text} {what}s"


def hours(number: float) -> str:
    """An amount with two or three digits that count: `0.034`, `4.2`, `1,240`."""
    if number >= 100:
        return f"{number:,.0f}"
    text = f"{number:.2g}" if number < 10 else f"{number:.3g}"
    return f"{number:.6f}".rstrip("0") if "e" in text else text


def layout_words(option: Option) -> str:
    """`full_shard on 4 nodes (32 devices, 1,024 images a step)`."""
    return (
        f"{option.strategy} on {count(option.nodes, 'node')} "
        f"({count(option.ranks, 'device')}, {option.batch:,} images a step)"
    )


def job_words(option: Option) -> str:
    """`17 jobs of 2 hours`."""
    if option.segments is None or option.walltime_minutes is None:
        return "no job"
    return f"{count(option.segments, 'job')} of {time_words(60 * option.walltime_minutes)}"
