"""Which layout to take, and why in words.

The rule: of the layouts that can be, and keep below what may be spent and before the deadline, the
fastest of those that cost at most a fifth more node-hours than the cheapest. More nodes nearly
always cost more; the fifth says how much more a shorter wait is worth. Times within a twentieth
count as equal, since the planner is no better than that: the fewest nodes are taken, and of their
strategies the one that sends least, which is listed first.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from workflow_scripts.forecast.options import Option, possible
from workflow_scripts.forecast.words import count, hours, job_words, layout_words, time_words

WORTH = 0.2  # node-hours above the cheapest that a shorter time may cost
EQUAL = 0.05  # share by which times differ that count as equal
# Images of a step in MAE's own recipe (He et al. 2022, arXiv:2111.06377, table 8). Larger ones are
# recommended, since nobody forbade them, but not without a word.
TRIED_BATCH = 4096
_DAY = 86400.0


@dataclass(frozen=True, kw_only=True)
class Asked:
    """What a layout has to keep to; None: to nothing.

    Attributes:
        budget_node_hours: What may be spent.
        deadline_days: When it has to be done.
        largest_batch: Images of a step beyond which nobody would train.
    """

    budget_node_hours: float | None = None
    deadline_days: float | None = None
    largest_batch: int | None = None

    def allows(self, one: Option) -> bool:
        """Whether a layout that can be keeps to it."""
        return (
            (self.budget_node_hours is None or _cost(one) <= self.budget_node_hours)
            and (self.deadline_days is None or _time(one) <= self.deadline_days * _DAY)
            and (self.largest_batch is None or one.batch <= self.largest_batch)
        )

    def words(self) -> str:
        """`within the budget of 500 node-hours and …`; empty if nothing is asked."""
        parts = []
        if self.budget_node_hours is not None:
            parts.append(f"the budget of {count(self.budget_node_hours, 'node-hour')}")
        if self.deadline_days is not None:
            parts.append(f"the deadline of {count(self.deadline_days, 'day')}")
        if self.largest_batch is not None:
            parts.append(f"the largest batch of {self.largest_batch:,} images")
        return f"within {' and '.join(parts)}" if parts else ""


def recommended(found: Sequence[Option], asked: Asked) -> Option | None:
    """The layout to take; None if none can be, or none keeps to what is asked."""
    kept = within(found, asked)
    if not kept:
        return None
    least = min(_cost(one) for one in kept)
    near = [one for one in kept if _cost(one) <= (1 + WORTH) * least]
    shortest = min(_time(one) for one in near)
    return min(
        (one for one in near if _time(one) <= (1 + EQUAL) * shortest), key=lambda one: one.nodes
    )


def within(found: Sequence[Option], asked: Asked) -> list[Option]:
    """The layouts that can be and keep to what is asked."""
    return [one for one in possible(found) if asked.allows(one)]


def why(one: Option, found: Sequence[Option], asked: Asked, *, usable_bytes: float) -> str:
    """Why a layout is recommended, in two or three plain sentences.

    Args:
        one: What `recommended` found.
        found: All layouts.
        asked: What it keeps to.
        usable_bytes: Of a device.
    """
    kept = within(found, asked)
    keeping = f", {asked.words()}" if asked.words() else ""
    cheapest = min(kept, key=lambda other: (_cost(other), _time(other)))
    text = (
        f"Take {layout_words(one)}: it fits ({one.memory_bytes / 1e9:,.1f} of "
        f"{usable_bytes / 1e9:,.1f} GB of a device), takes {time_words(_time(one))} in "
        f"{job_words(one)} and {count(_cost(one), 'node-hour')}{keeping}."
    )
    those = "layouts that keep to this" if keeping else "possible layouts"
    chosen = f"{text} Of the {len(kept)} {those} it is"
    near = f"cost at most {WORTH:.0%} more than the cheapest"
    last = _of_large_steps(one, found, asked)
    if len(kept) == 1:
        return f"{text} It is the only one of the {those}.{last}"
    if one is not cheapest:
        return (
            f"{chosen} the fastest, within {EQUAL:.0%}, of those that {near} "
            f"({layout_words(cheapest)}: {count(_cost(cheapest), 'node-hour')}, "
            f"{time_words(_time(cheapest))}).{last}"
        )
    if _alone(one, kept):
        return f"{chosen} the cheapest; all others cost over {WORTH:.0%} more.{last}"
    return f"{chosen} the cheapest, and none that {near} is faster by more than {EQUAL:.0%}.{last}"


def _of_large_steps(one: Option, found: Sequence[Option], asked: Asked) -> str:
    """A warning of a step larger than what is known to train well, where nobody said how large."""
    if asked.largest_batch is not None or one.batch <= TRIED_BATCH:
        return ""
    text = (
        f" Mind the {one.batch:,} images of a step: MAE's own recipe has {TRIED_BATCH:,}, and "
        "whether larger ones train as well is not planned."
    )
    less = recommended(found, replace(asked, largest_batch=TRIED_BATCH))
    if less is None:
        return f"{text} Set largest_batch to what you would train with."
    return (
        f"{text} With largest_batch {TRIED_BATCH:,} it would be {layout_words(less)}: "
        f"{time_words(_time(less))}, {count(_cost(less), 'node-hour')}."
    )


def _alone(one: Option, kept: Sequence[Option]) -> bool:
    """Whether nothing else is near the cheapest."""
    return sum(_cost(other) <= (1 + WORTH) * _cost(one) for other in kept) == 1


def why_none(
    found: Sequence[Option], asked: Asked, *, usable_bytes: float, remedies: Sequence[str]
) -> str:
    """Why no layout is recommended, and what would help.

    Args:
        found: All layouts.
        asked: What they should keep to.
        usable_bytes: Of a device.
        remedies: What would make something fit, if nothing does.
    """
    able = list(possible(found))
    if able:
        cheapest = min(able, key=lambda one: (_cost(one), _time(one)))
        fastest = min(able, key=lambda one: (_time(one), _cost(one)))
        return (
            f"No layout is {asked.words()}. The cheapest, {layout_words(cheapest)}, takes "
            f"{hours(_cost(cheapest))} node-hours and "
            f"{time_words(_time(cheapest))}; the fastest, {layout_words(fastest)}, "
            f"{hours(_cost(fastest))} node-hours and {time_words(_time(fastest))}. Fewer epochs, a "
            "smaller encoder or other numbers of nodes would change that."
        )
    if any(one.fits for one in found):
        first = next(one for one in found if one.fits)
        return f"Nothing can be. {layout_words(first)}: {first.refused}."
    least = min(found, key=lambda one: one.memory_bytes)
    text = (
        f"Nothing fits: {layout_words(least)} needs least, {least.memory_bytes / 1e9:,.1f} GB of a "
        f"device, which has {usable_bytes / 1e9:,.1f} GB to use."
    )
    if not remedies:
        return (
            f"{text} Neither would anything with activation checkpointing, one sample a device and "
            "all nodes that a job may have: take smaller images or a smaller encoder."
        )
    return f"{text} This would fit: {'; or '.join(remedies)}."


def _cost(one: Option) -> float:
    assert one.node_hours is not None  # of what can be
    return one.node_hours


def _time(one: Option) -> float:
    assert one.total_s is not None
    return one.total_s
