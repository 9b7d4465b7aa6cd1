"""Rows of features in blocks of fixed sizes: memory is bounded, and sums round the same anywhere.

How many threads work on blocks side by side changes no block, and so no bit of a result.
"""

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.trial import Features, Rows

# What a block may take as float64; a few of them are in memory for each thread.
BLOCK_BYTES = 2**24
FEWEST_ROWS = 256


def blocks(count: int, rows: int) -> list[slice]:
    """Places 0 to `count` cut into runs of `rows`, the last one shorter."""
    return [slice(start, min(start + rows, count)) for start in range(0, count, rows)]


def block_rows(dimensions: int) -> int:
    """How many rows of so many dimensions make a block."""
    return max(FEWEST_ROWS, BLOCK_BYTES // (8 * dimensions))


def read(features: Features, rows: Rows, what: str) -> NDArray[np.float32]:
    """(len(rows), dimensions) of some samples, which the caller may change.

    Args:
        features: Of all samples.
        rows: Which.
        what: The protocol and its setting, for the message.

    Raises:
        UserError: A feature is NaN or infinite, which some protocols would never show.
    """
    found = features.take(rows)
    broken = int((~np.isfinite(found)).any(axis=1).sum())
    if broken:
        raise UserError(
            f"probe: {what}: features of {broken} of {len(rows)} samples read are not finite; "
            "look at the encoder (did its run diverge?) and extract its features again"
        )
    return found
