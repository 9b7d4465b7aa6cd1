"""The order of samples: a pure function of (seed, epoch, position), whatever rank asks.

Each epoch is a permutation of the corpus that is computed where it is asked for and stored nowhere
(a Feistel network with cycle walking, after Black and Rogaway, CT-RSA 2002), so that resume is one
integer and a corpus of 200 M samples costs no memory. What does not fill a global batch is dropped
once an epoch, never by a rank.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError

# First word of the Philox key beside the seed: the streams of one run never meet.
STREAM_ORDER = 1
STREAM_AUGMENT = 2
STREAM_NOISE = 3

_ROUNDS = 8  # four suffice for large corpora; six leave a bias among five samples


def stream(seed: int, *, kind: int, epoch: int, sample: int = 0) -> np.random.Generator:
    """The random numbers of one sample in one epoch, the same in every process.

    Args:
        seed: The run's seed.
        kind: One of the `STREAM_` constants.
        epoch: Epoch from 0.
        sample: Index in the corpus.
    """
    # Philox counts up the first word of its counter: 2^128 numbers before a neighbour's begin.
    counter = np.array([0, 0, sample, epoch], np.uint64)
    return np.random.Generator(np.random.Philox(key=[seed, kind], counter=counter))


def _mixed(values: NDArray[np.uint64], key: np.uint64) -> NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al., OOPSLA 2014), as a Feistel round function."""
    values = (values ^ key) * np.uint64(0x9E3779B97F4A7C15)
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def permuted(
    positions: NDArray[np.int64], *, count: int, seed: int, epoch: int
) -> NDArray[np.int64]:
    """Samples at some positions of an epoch's permutation of range(count).

    Args:
        positions: (n,) positions in [0, count).
        count: Samples in the corpus.
        seed: The run's seed.
        epoch: Epoch from 0.

    Returns:
        (n,) sample indices.
    """
    half = np.uint64(max(1, ((count - 1).bit_length() + 1) // 2))
    low = np.uint64((1 << int(half)) - 1)
    keys = stream(seed, kind=STREAM_ORDER, epoch=epoch).integers(
        0, 2**64, size=_ROUNDS, dtype=np.uint64
    )
    values = positions.astype(np.uint64)
    outside = np.ones(len(values), bool)
    while outside.any():  # the domain is under 4·count: a few turns bring all back into range
        left, right = values[outside] >> half, values[outside] & low
        for key in keys:
            left, right = right, left ^ (_mixed(right, key) & low)
        values[outside] = (left << half) | right
        outside = values >= np.uint64(count)
    return values.astype(np.int64)


@dataclass(frozen=True, kw_only=True)
class Order:
    """Which samples each step of a run sees.

    Args:
        count: Samples in the corpus.
        batch: Global batch size.
        epochs: Passes over the corpus.
        seed: The run's seed.

    Raises:
        UserError: The corpus does not fill one batch.
    """

    count: int
    batch: int
    epochs: float
    seed: int

    def __post_init__(self) -> None:
        if self.batch < 1 or self.count < self.batch:
            raise UserError(
                f"the corpus has {self.count} samples, fewer than one batch of {self.batch}; "
                "lower the run's batch or pack more data"
            )

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
        return permuted(positions, count=self.count, seed=self.seed, epoch=self.epoch_of(step))


class RankSteps:
    """A batch sampler: for each step left, the (epoch, sample) pairs of one rank's slice."""

    def __init__(self, order: Order, *, start: int, rank: int = 0, ranks: int = 1) -> None:
        self.order, self.start, self.rank, self.ranks = order, start, rank, ranks

    def __len__(self) -> int:
        return self.order.total_steps - self.start

    def __iter__(self) -> Iterator[list[tuple[int, int]]]:
        for step in range(self.start, self.order.total_steps):
            epoch = self.order.epoch_of(step)
            samples = self.order.batch_at(step, rank=self.rank, ranks=self.ranks)
            yield [(epoch, int(sample)) for sample in samples]
