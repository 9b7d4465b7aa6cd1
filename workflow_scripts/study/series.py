"""Which points of a study belong on one line, in one panel, and what follows from them.

Points of different devices are never on one line: their difference is not one of scale.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from workflow_scripts.scaling.words import DONE, NO_COMMUNICATION, SYNTHETIC
from workflow_scripts.study.points import PointData, StudyData

# What tells points of one panel apart, and how it is written where it differs.
_FACTORS = {
    "gather_ahead": "{} ahead",
    "workers": "{} workers",
    "prefetch": "prefetch {}",
    "ranks_per_node": "{} a node",
}


@dataclass(frozen=True, order=True)
class Variant:
    """What is trained: a panel of every figure."""

    encoder: str
    patch: int | None
    batch: int


def variant(point: PointData) -> Variant:
    """What a point trains."""
    return Variant(point.encoder, point.patch, point.batch)


def variants(points: Iterable[PointData]) -> list[Variant]:
    """What these points train, in their order."""
    return list(dict.fromkeys(map(variant, points)))


def titles(found: Sequence[Variant]) -> dict[Variant, str]:
    """A panel's heading: the encoder, with patch size and batch where these differ."""
    several = {key: len({getattr(one, key) for one in found}) > 1 for key in ("patch", "batch")}
    texts = {}
    for one in found:
        parts = [one.encoder]
        parts += [f"patch {one.patch}"] if several["patch"] and one.patch else []
        parts += [f"batch {one.batch}"] if several["batch"] else []
        texts[one] = ", ".join(parts)
    return texts


@dataclass(frozen=True, kw_only=True)
class Series:
    """A line: points that differ in their number of ranks alone.

    Attributes:
        variant: What is trained.
        strategy: How it is laid over ranks.
        mode: Of all its points.
        detail: What else sets it apart from other lines of its panel; often empty.
        device: What all its points ran on; None if none of them ended.
        points: Those that were measured, by rising number of ranks.
        failed: Those that were tried and failed.
    """

    variant: Variant
    strategy: str | None
    mode: str
    detail: str
    device: str | None
    points: list[PointData] = field(default_factory=list)
    failed: list[PointData] = field(default_factory=list)

    @property
    def label(self) -> str:
        """Strategy and what else sets it apart."""
        return ", ".join(text for text in (self.strategy, self.detail) if text)


def per_node(study: StudyData) -> bool:
    """Whether sizes are told in nodes: each has the same number of ranks, and there are several."""
    return (
        len({one.ranks_per_node for one in study.points}) == 1
        and len({one.nodes for one in study.points}) > 1
    )


def size_of(point: PointData, *, nodes: bool) -> int:
    """Nodes or ranks of a point."""
    return point.nodes if nodes else point.ranks


def series(study: StudyData, mode: str) -> list[Series]:
    """The lines of a mode, in the order of the study's points.

    On one rank every strategy is the plain model: such a point is the first of every line of its
    variant (and reader), and a line of its own only where there is no other. Nothing is sent on one
    rank: lines of `no_communication` begin with the point on a batch in memory.
    """
    points = study.of(mode)
    factors = _varying(study, points)
    devices = {one.device for one in study.points if one.status == DONE}
    groups: dict[tuple[Any, ...], list[PointData]] = {}
    for one in points:
        groups.setdefault((variant(one), one.strategy, *_values(one, factors)), []).append(one)
    alone = study.of(SYNTHETIC if mode == NO_COMMUNICATION else mode)
    single = [one for one in alone if one.ranks == 1 and one.status == DONE]
    lines: list[Series] = []
    for key, members in groups.items():
        own = [one for one in members if one.ranks > 1]
        if own:
            first = [one for one in single if _is_base(one, key, factors)]
            lines += _by_device(key, own, first, factors, several=len(devices) > 1)
    joined = {one.point for line in lines for one in line.points}
    for key, members in groups.items():
        left = [one for one in members if one.ranks == 1 and one.point not in joined]
        if left:
            lines += _by_device(key, left, [], factors, several=len(devices) > 1)
    return lines


def _varying(study: StudyData, points: Sequence[PointData]) -> list[str]:
    """Factors that have several values among these points."""
    return [
        name
        for name in _FACTORS
        if len({getattr(one, name) for one in points} - {None}) > 1
        and (name != "ranks_per_node" or len({one.nodes for one in study.points}) > 1)
    ]


def _values(point: PointData, factors: Sequence[str]) -> tuple[Any, ...]:
    return tuple(getattr(point, name) for name in factors)


def _is_base(one: PointData, key: tuple[Any, ...], factors: Sequence[str]) -> bool:
    """Whether a point of one rank begins a line: what makes no difference to it is None."""
    same = all(
        name == "ranks_per_node" or value is None or wanted == value
        for name, value, wanted in zip(factors, _values(one, factors), key[2:], strict=True)
    )
    return variant(one) == key[0] and same


def _by_device(
    key: tuple[Any, ...], members: Sequence[PointData], first: Sequence[PointData],
    factors: Sequence[str], *, several: bool,
) -> list[Series]:  # fmt: skip
    """A line for each device of these points, begun by the point of one rank on the same device."""
    done = sorted((one for one in members if one.status == DONE), key=lambda one: one.ranks)
    failed = [one for one in members if one.status != DONE]
    values = zip(factors, key[2:], strict=True)
    detail = [_FACTORS[name].format(value) for name, value in values if value is not None]
    devices: list[str | None] = [*dict.fromkeys(one.device for one in done)] or [None]
    return [
        Series(
            variant=key[0], strategy=key[1], mode=members[0].mode, device=device,
            detail=", ".join([*detail, *([device] if several and device else [])]),
            points=[one for one in [*first, *done] if one.device == device] if done else [],
            failed=failed if place == 0 else [],
        )
        for place, device in enumerate(devices)
    ]  # fmt: skip


def efficiency(line: Series) -> list[tuple[PointData, float, float, float]]:
    """Each point of a line with its weak-scaling efficiency: median, least, most, as shares.

    Images/s over those of the line's smallest point times the growth of ranks.
    """
    if not line.points:
        return []
    first = line.points[0]
    assert first.rate is not None
    found = []
    for one in line.points:
        assert one.rate is not None
        ideal = first.rate.median * one.ranks / first.ranks
        rate = one.rate
        found.append((one, rate.median / ideal, rate.least / ideal, rate.most / ideal))
    return found


def shares(study: StudyData) -> dict[str, float]:
    """By name, the efficiency of points along their lines (its median, as a share).

    A point that is alone on its line has none. A first point that several lines share has 1.
    """
    found: dict[str, float] = {}
    for mode in dict.fromkeys(one.mode for one in study.points):
        for line in series(study, mode):
            if len(line.points) > 1:
                found |= {one.point: median for one, median, _, _ in efficiency(line)}
    return found
