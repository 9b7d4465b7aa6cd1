"""The most memory that a device needs in a training step, from the model and the strategy."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.digests import canonical
from workflow_scripts.objectives import build_objective
from workflow_scripts.objectives.base import Objective
from workflow_scripts.plan.holding import Moment, replicated, sharded, sizes
from workflow_scripts.plan.trace import Gradients, How, Piece, trace_step
from workflow_scripts.pretrain.strategies import parts_of, shard_count, share_of, stays_whole

_CLASSES = 10  # of `supervised`; its head is a millionth of the memory


class _Recipe(dict[str, Any]):
    """A recipe that a cache can tell from another."""

    def __hash__(self) -> int:  # type: ignore[override]
        return hash(canonical(self))


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is to be run.

    Args:
        recipe: The run's recipe.
        channels: Bands of the corpus.
        teacher: Run folder of the frozen teacher, for `gfm`.
        strategy: One of `strategies.NAMES`.
        ranks: Processes, one a device.
        accumulate: Parts in which a rank's batch goes through.
        recompute: Activation checkpointing of every block.
        gpu: Whether the device is a GPU; a CPU's autocast keeps other things.
        flat: As of `holding.sizes`.
    """

    recipe: dict[str, Any]
    channels: int
    teacher: Path | None = None
    strategy: str = "no_shard"
    ranks: int = 1
    accumulate: int = 1
    recompute: bool = False
    gpu: bool = True
    flat: bool = False

    @property
    def share(self) -> int:
        """Samples of a rank in a step.

        Raises:
            UserError: The ranks cannot share the batch evenly.
        """
        return share_of(self.recipe["batch"], self.ranks)

    @property
    def local_batch(self) -> int:
        """Samples that go through at a time on a rank.

        Raises:
            UserError: The batch cannot be cut so.
        """
        return parts_of(self.share, self.accumulate)

    def build(self) -> Objective:
        """The objective, without memory."""
        zeros, ones = [0.0] * self.channels, [1.0] * self.channels
        classes = [str(number) for number in range(_CLASSES)]
        with torch.device("meta"):
            return build_objective(
                self.recipe, channels=self.channels, mean=zeros, std=ones, classes=classes,
                teacher=self.teacher,
            )  # fmt: skip

    @property
    def is_sharded(self) -> bool:
        """Whether `fully_shard` is applied."""
        return self.ranks > 1 and self.strategy != "ddp"


def predicted(case: Case) -> Moment:
    """The moment of a step in which most is alive.

    It is counted for steps after the first, when the optimizer has its moments.

    Raises:
        UserError: A strategy or a batch that the ranks cannot have, or a model that cannot be.
    """
    return max(_moments(case), key=lambda moment: moment.total)


def _moments(case: Case) -> Iterator[Moment]:
    shards = shard_count(case.strategy, case.ranks)
    gradients: Gradients = "leave_with_block"
    accumulating = case.accumulate > 1
    gradients_wait = accumulating or case.ranks > 1
    if not case.is_sharded:
        gradients = "leave_at_once" if gradients_wait else "stay"
    narrow = case.is_sharded and case.recipe["precision"] == "bf16"
    how = How(
        batch=case.local_batch,
        precision=case.recipe["precision"],
        parameters=torch.bfloat16 if narrow else torch.float32,
        gpu=case.gpu,
        recompute=case.recompute,
        gradients=gradients,
    )
    recipe = _Recipe(case.recipe | {"batch": how.batch})  # more ranks change nothing in one of them
    pieces = _pieces(recipe, case.channels, case.teacher, how)
    model = sizes(_built(recipe, case.channels, case.teacher), shards, flat=case.flat)
    if not case.is_sharded:
        return replicated(pieces, model, gradients_wait=gradients_wait)
    reshard = not stays_whole(case.strategy, case.ranks)
    return sharded(
        pieces, model, width=2 if narrow else 4, reshard=reshard, accumulating=accumulating
    )


@functools.lru_cache(maxsize=8)
def _built(recipe: _Recipe, channels: int, teacher: Path | None) -> Objective:
    return Case(recipe=recipe, channels=channels, teacher=teacher).build()


@functools.lru_cache(maxsize=32)
def _pieces(recipe: _Recipe, channels: int, teacher: Path | None, how: How) -> list[Piece]:
    case = Case(recipe=recipe, channels=channels, teacher=teacher)
    side = recipe["encoder"]["image_size"]
    return trace_step(case.build, side=side, how=how)


def strategies(ranks: int) -> list[str]:
    """Strategies that a number of ranks can have, those that send least first."""
    if ranks == 1:
        return ["no_shard"]
    cuts = [k for k in range(2, ranks) if ranks % k == 0]
    hybrids = [f"hybrid_shard_{k}" for k in cuts]
    return ["ddp", "no_shard", *hybrids, "shard_grad_op", "full_shard"]


def every_strategy(case: Case) -> dict[str, Moment]:
    """Predictions for each strategy of the ranks."""
    return {name: predicted(replace(case, strategy=name)) for name in strategies(case.ranks)}


def remedy(case: Case, room: float) -> Case | None:
    """The change of a case that fits and costs least time; None if nothing tried fits.

    Tried in turn: another strategy, those that send least first; activation checkpointing with
    any; then smaller and smaller parts of the batch with both.

    Args:
        case: What does not fit.
        room: Bytes that may be used.
    """
    parts = [n for n in range(case.accumulate, case.share + 1) if case.share % n == 0]
    ways = [(case.accumulate, case.recompute), *((n, True) for n in parts)]
    for accumulate, recompute in ways:
        for strategy in strategies(case.ranks):
            other = replace(case, strategy=strategy, accumulate=accumulate, recompute=recompute)
            if predicted(other).total <= room:
                return other
    return None
