"""Random numbers as a pure function of (seed, kind, epoch, sample), for whole batches at once.

Each sample has a generator of its own, SplitMix64 (Steele, Lea and Flood, OOPSLA 2014), seeded by a
hash of those four numbers; thousands of them cost less than one numpy generator.
"""

import numpy as np
from numpy.typing import NDArray

# What the numbers are for: the streams of one run never meet.
ORDER, VIEW, NOISE = 1, 2, 3

_GAMMA = np.uint64(0x9E3779B97F4A7C15)
_WORD = 2**64 - 1


def mixed(values: NDArray[np.uint64]) -> NDArray[np.uint64]:
    """SplitMix64's finaliser: every bit of a word depends on every bit of the one that went in."""
    values = (values ^ (values >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    values = (values ^ (values >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return values ^ (values >> np.uint64(31))


def bits(
    samples: NDArray[np.int64], count: int, *, seed: int, kind: int, epoch: int
) -> NDArray[np.uint64]:
    """(samples, count) random words.

    Args:
        samples: (n,) whose numbers; not negative.
        count: How many each.
        seed: The run's seed.
        kind: `ORDER`, `VIEW` or `NOISE`.
        epoch: Epoch from 0.
    """
    state = np.zeros(1, np.uint64)
    for word in (np.uint64(seed & _WORD), np.uint64(kind), np.uint64(epoch)):
        state = mixed((state + _GAMMA) ^ word)
    states = mixed((state + _GAMMA) ^ samples.astype(np.uint64))
    return mixed(states[:, None] + _GAMMA * np.arange(1, count + 1, dtype=np.uint64))


def uniform(words: NDArray[np.uint64]) -> NDArray[np.float64]:
    """Random words as numbers in [0, 1), with 53 bits."""
    return (words >> np.uint64(11)).astype(np.float64) * 2.0**-53


def uniform32(words: NDArray[np.uint64]) -> NDArray[np.float32]:
    """Random words as float32 in [0, 1), with 24 bits."""
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2.0**-24)
