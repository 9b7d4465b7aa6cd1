"""Where the time of a training step goes, from the same training measured in several modes.

A step on real data less one on a batch in memory is what reading adds; that less a step in which
nothing is sent is what communication adds after overlap. Both differences are of medians: one below
zero is noise and counts as none, so that the parts always add up to the whole.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from workflow_scripts.scaling.words import DONE, IO, NO_COMMUNICATION, REAL, SYNTHETIC
from workflow_scripts.study.points import PointData, StudyData
from workflow_scripts.study.series import Variant, variant


@dataclass(frozen=True, kw_only=True)
class StepTime:
    """A step of one layout, by what takes it; None is what the study did not measure.

    Attributes:
        variant: What is trained.
        strategy: How it is laid over ranks.
        detail: Reader and gathering, where these have several values.
        whole: The point whose step is told: on real data where that was measured.
        step_s: Its seconds.
        compute_s: Computing alone.
        communication_s: What sending adds.
        trained_s: Computing and sending together, where they were not told apart.
        waiting_s: What reading adds.
        reading_s: A step's reading when nothing else is done.
        data_wait: Share of the time in which training waited for data, as it was seen in training.
    """

    variant: Variant
    strategy: str | None
    detail: str
    whole: PointData
    step_s: float
    compute_s: float | None
    communication_s: float | None
    trained_s: float | None
    waiting_s: float | None
    reading_s: float | None
    data_wait: float | None

    @property
    def hidden(self) -> float | None:
        """Share of the reading that went on behind the training."""
        if self.reading_s is None or self.waiting_s is None:
            return None
        return max(0.0, 1 - self.waiting_s / self.reading_s)


def _layout(point: PointData) -> tuple[object, ...]:
    """What has to be equal for two modes to be compared."""
    return (
        variant(point), point.strategy, point.nodes, point.ranks_per_node, point.gather_ahead,
        point.device,
    )  # fmt: skip


def step_times(study: StudyData) -> list[StepTime]:
    """Every layout of which a step on real data or on a batch in memory was measured."""
    done = [one for one in study.points if one.status == DONE]
    fixed = {
        (mode, _layout(one)): one
        for mode in (SYNTHETIC, NO_COMMUNICATION)
        for one in done
        if one.mode == mode
    }
    real = [one for one in done if one.mode == REAL]
    told = {_layout(one) for one in real}
    whole = [*real, *(one for (mode, layout), one in fixed.items() if mode == SYNTHETIC
                      and layout not in told)]  # fmt: skip
    order = {one.point: place for place, one in enumerate(study.points)}
    details = dict(zip((one.point for one in whole), _details(whole), strict=True))
    found = [
        _step(
            one,
            memory=fixed.get((SYNTHETIC, _layout(one))),
            silent=fixed.get((NO_COMMUNICATION, _layout(one))),
            reading=_reading(one, done),
            detail=details[one.point],
        )
        for one in sorted(whole, key=lambda one: order[one.point])
    ]
    places = {one: place for place, one in enumerate(dict.fromkeys(row.variant for row in found))}
    return sorted(found, key=lambda row: (places[row.variant], row.whole.ranks))


def _details(points: Sequence[PointData]) -> Iterator[str]:
    words = {"workers": "{} workers", "prefetch": "prefetch {}", "gather_ahead": "{} ahead",
             "device": "{}"}  # fmt: skip
    several = [name for name in words if len({getattr(one, name) for one in points} - {None}) > 1]
    for one in points:
        values = [(name, getattr(one, name)) for name in several]
        yield ", ".join(words[name].format(value) for name, value in values if value is not None)


def _reading(point: PointData, done: Sequence[PointData]) -> PointData | None:
    """The point that only reads, with the same reader on the same ranks."""
    keys = (
        "nodes", "ranks_per_node", "batch", "workers", "prefetch", "image_size", "device",
    )  # fmt: skip
    if point.mode != REAL:
        return None
    same = (
        one
        for one in done
        if one.mode == IO and all(getattr(one, key) == getattr(point, key) for key in keys)
    )
    return next(same, None)


def _step(
    whole: PointData, *, memory: PointData | None, silent: PointData | None,
    reading: PointData | None, detail: str,
) -> StepTime:  # fmt: skip
    step = whole.step_s
    assert step is not None
    fed = min(memory.step_s, step) if memory and memory.step_s else None
    if whole.ranks == 1:
        compute = fed  # nothing is sent
    else:
        bare = silent.step_s if silent else None
        compute = min(bare, step if fed is None else fed) if bare else None
    return StepTime(
        variant=variant(whole), strategy=whole.strategy, detail=detail, whole=whole, step_s=step,
        compute_s=compute if fed is not None else None,
        communication_s=None if fed is None or compute is None else fed - compute,
        trained_s=fed if compute is None else None,
        waiting_s=step - fed if fed is not None and whole.mode == REAL else None,
        reading_s=reading.step_s if reading else None,
        data_wait=whole.data_wait if whole.mode == REAL else None,
    )  # fmt: skip
