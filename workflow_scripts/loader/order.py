"""The order of samples: a pure function of (seed, epoch, position), whatever rank asks.

An epoch takes the shards in a random order, a window of several at a time, and the samples of a
window mixed, so that reads stay in few files. Permutations are computed where they are asked for
and stored nowhere (a Feistel network with cycle walking, after Black and Rogaway, CT-RSA 2002):
resume is one integer, and the indices of a step cost the same in a corpus of any size. What does
not fill a global batch is dropped once an epoch, never by a rank.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.loader.draws import ORDER, bits, mixed

# Batches that a window should hold, so that neighbouring batches differ as those of a whole corpus.
FEWEST_BATCHES = 50

_ROUNDS = 8  # four suffice for large corpora; six leave a bias among five samples


def permuted(
    positions: NDArray[np.int64], *, count: int, seed: int, epoch: int, part: int = 0
) -> NDArray[np.int64]:
    """Values at some positions of a permutation of range(count).

    Args:
        positions: (n,) positions in [0, count).
        count: How many are permuted.
        seed: The run's seed.
        epoch: Epoch from 0.
        part: Which of the epoch's permutations.
    """
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    keys = bits(np.array([part]), _ROUNDS, seed=seed, kind=ORDER, epoch=epoch)[0]
    values = positions.astype(np.uint64)
    outside = np.ones(len(values), bool)
    while outside.any():  # the domain is under 4·count: a few turns bring all back into range
        left, right = values[outside] >> half, values[outside] & low
        for key in keys:
            left, right = right, left ^ (mixed(right ^ key) & low)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(count)
    return values.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class _Windows:
    """The windows of an epoch: their shards, and at which position each begins (and the end)."""

    shards: list[NDArray[np.int64]]
    starts: NDArray[np.int64]


class Order:
    """Which samples each step of a run sees.

    Args:
        sizes: (shards,) samples of each shard; they are numbered through in this order.
        batch: Global batch size.
        epochs: Passes over the corpus.
        seed: The run's seed.
        window: Shards that are mixed at a time; None mixes the whole corpus.

    Raises:
        UserError: The corpus does not fill one batch.
    """

    def __init__(
        self, sizes: NDArray[np.int64], *, batch: int, epochs: float, seed: int,
        window: int | None = None,
    ) -> None:  # fmt: skip
        self.sizes = np.asarray(sizes, np.int64)
        self.batch, self.epochs, self.seed = batch, epochs, seed
        self._filled = np.flatnonzero(self.sizes)  # shards that hold samples
        self._first = np.cumsum(self.sizes) - self.sizes  # number of each shard's first sample
        self.count = int(self.sizes.sum())
        # So that no window is smaller than asked: up to twice as large instead.
        self.windows = 1 if window is None else max(1, len(self._filled) // window)
        self._made: tuple[int, _Windows] | None = None
        if batch < 1 or self.count < batch:
            raise UserError(
                f"the corpus has {self.count} samples, fewer than one batch of {batch}; "
                "lower the run's batch or pack more data"
            )

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_made": None}

    @property
    def steps_per_epoch(self) -> int:
        """Whole global batches in an epoch."""
        return self.count // self.batch

    @property
    def total_steps(self) -> int:
        """Steps of the whole run."""
        return max(1, round(self.epochs * self.steps_per_epoch))

    def epoch_of(self, step: int) -> int:
        """The epoch that a step (from 0) belongs to."""
        return step // self.steps_per_epoch

    def batch_at(self, step: int, *, rank: int = 0, ranks: int = 1) -> NDArray[np.int64]:
        """Sample indices of a step (from 0): the global batch, or one rank's slice of it.

        Raises:
            UserError: The batch cannot be divided by the ranks.
        """
        if self.batch % ranks:
            raise UserError(
                f"a batch of {self.batch} cannot be divided among {ranks} ranks; "
                f"use {self.batch // ranks * ranks or ranks} or another number of ranks"
            )
        share = self.batch // ranks
        start = step % self.steps_per_epoch * self.batch + rank * share
        positions = np.arange(start, start + share, dtype=np.int64)
        return self.samples_at(positions, epoch=self.epoch_of(step))

    def shards_from(self, step: int) -> list[int]:
        """Numbers of the shards that the rest of a run reads, in the order in which it gets there.

        Those of a window are read together.

        Args:
            step: The first step that is to come (from 0).
        """
        found: dict[int, None] = {}
        while step < self.total_steps and len(found) < len(self._filled):
            epoch = self.epoch_of(step)
            end = min((epoch + 1) * self.steps_per_epoch, self.total_steps)
            made = self._windows_of(epoch)
            positions = np.array([step, end]) - epoch * self.steps_per_epoch
            first, last = (positions * self.batch - [0, 1]).tolist()
            windows = np.searchsorted(made.starts, (first, last), side="right") - 1
            for shards in made.shards[windows[0] : windows[1] + 1]:
                found.update(dict.fromkeys(shards.tolist()))
            step = end
        return list(found)

    def samples_at(self, positions: NDArray[np.int64], *, epoch: int) -> NDArray[np.int64]:
        """(n,) samples at some positions of an epoch."""
        how = {"seed": self.seed, "epoch": epoch}
        if self.windows == 1:
            return permuted(positions, count=self.count, **how)
        made = self._windows_of(epoch)
        number = np.searchsorted(made.starts, positions, side="right") - 1
        samples = np.empty(len(positions), np.int64)
        for window in np.unique(number).tolist():
            mine = number == window
            start, end = made.starts[window : window + 2].tolist()
            inside = permuted(positions[mine] - start, count=end - start, part=1 + window, **how)
            samples[mine] = self._in_shards(inside, made.shards[window])
        return samples

    def _in_shards(self, inside: NDArray[np.int64], shards: NDArray[np.int64]) -> NDArray[np.int64]:
        """Samples by their place among those of some shards, laid end to end."""
        ends = np.cumsum(self.sizes[shards])
        which = np.searchsorted(ends, inside, side="right")
        chosen = shards[which]
        return self._first[chosen] + inside - (ends[which] - self.sizes[chosen])

    def _windows_of(self, epoch: int) -> _Windows:
        """The windows of an epoch, of as many shards each as can be; made once an epoch."""
        if self._made is None or self._made[0] != epoch:
            places = np.arange(len(self._filled), dtype=np.int64)
            mixed_up = permuted(places, count=len(places), seed=self.seed, epoch=epoch)
            shards = np.array_split(self._filled[mixed_up], self.windows)
            sizes = [int(self.sizes[some].sum()) for some in shards]
            starts = np.concatenate([[0], np.cumsum(sizes)]).astype(np.int64)
            self._made = epoch, _Windows(shards=shards, starts=starts)
        return self._made[1]
