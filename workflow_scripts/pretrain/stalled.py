"""Who holds up a run, from what its ranks told last."""

from collections import defaultdict
from collections.abc import Iterable
from typing import NamedTuple

START, LOG, AGREE, SAVE = "starting", "logging", "agreeing to go on", "saving a checkpoint"
DATA, STEP, END = "waiting for data", "in the training step", "ended"
# In the order in which a rank comes to them once it has done a number of steps.
PHASES = (START, LOG, AGREE, SAVE, DATA, STEP, END)

_MOST_NAMED = 16


class Beat(NamedTuple):
    """What a rank tells of itself.

    Attributes:
        rank: Its number.
        number: Of this beat; where it does not rise, the rank does not live.
        phase: What it does, one of `PHASES`.
        step: Steps done.
        seconds: How long it has done that.
        place: The line of this package at which it is.
        host: Where it runs.
        process: Its process there.
    """

    rank: int
    number: int
    phase: str
    step: int
    seconds: float
    place: str
    host: str
    process: int

    def position(self) -> tuple[int, int]:
        """How far it is: the rank of the lowest position is the one that others wait for."""
        return self.step, PHASES.index(self.phase)

    def where(self) -> str:
        """`waiting for data for 605 s after step 41, at loader/feed.py:118 (__iter__)`."""
        return f"{self.phase} for {self.seconds:.0f} s after step {self.step}, at {self.place}"

    def who(self, world: int) -> str:
        """`rank 3 of 8 (process 4711 on node7)`."""
        return f"rank {self.rank} of {world} (process {self.process} on {self.host})"


def account(beats: dict[int, Beat], *, world: int, silent: set[int]) -> str:
    """Which ranks are behind, and where all are.

    Args:
        beats: The last beat of each rank that has told anything.
        world: Ranks of the job.
        silent: Ranks whose beats have stopped.

    Returns:
        A line of text. Silent ranks are behind, and if there are none, those that have come least
        far. If all have come equally far, the lines at which they are tell them apart.
    """
    never = set(range(world)) - beats.keys()
    if never or silent:
        gone = never | silent
        told = [_gone(beats.get(rank), rank, world) for rank in sorted(gone)[:_MOST_NAMED]]
        more = [f"{len(gone) - _MOST_NAMED} more likewise"] if len(gone) > _MOST_NAMED else []
        return "; ".join(told + more + _groups(b for r, b in beats.items() if r not in gone))
    last = min(beat.position() for beat in beats.values())
    behind = [beat for beat in beats.values() if beat.position() == last]
    if len(behind) == world > 1:
        return f"all {world} ranks are equally far; " + "; ".join(_groups(behind, places=True))
    told = [f"{beat.who(world)} has been {beat.where()}" for beat in behind[:_MOST_NAMED]]
    more = [f"{len(behind) - _MOST_NAMED} more likewise"] if len(behind) > _MOST_NAMED else []
    return "; ".join(told + more + _groups(b for b in beats.values() if b.position() != last))


def _gone(beat: Beat | None, rank: int, world: int) -> str:
    if beat is None:
        return f"rank {rank} of {world} has never been heard from"
    return (
        f"{beat.who(world)} is not heard from any more (stopped or dead, or its node is); it was "
        f"{beat.where()}"
    )


def _groups(beats: Iterable[Beat], *, places: bool = False) -> list[str]:
    """`rank 0, 1 and 3: in the training step after step 41`, small groups first."""
    found: dict[str, list[int]] = defaultdict(list)
    for beat in beats:
        at = f", at {beat.place}" if places else ""
        found[f"{beat.phase} after step {beat.step}{at}"].append(beat.rank)
    return [
        f"{_ranks(ranks)}: {what}" for what, ranks in sorted(found.items(), key=lambda x: len(x[1]))
    ]


def _ranks(ranks: list[int]) -> str:
    named = ", ".join(str(rank) for rank in sorted(ranks)[:_MOST_NAMED])
    more = f" and {len(ranks) - _MOST_NAMED} more" if len(ranks) > _MOST_NAMED else ""
    return f"rank{'s' if len(ranks) > 1 else ''} {named}{more}"
