"""Normalised samples in blocks, held in memory where they are few and read again where not.

Blocks are of one size whatever the machine, each is computed in one thread, several side by side,
and what comes of them is put together in their order: sums round the same for any number of cores.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]
from torch import Tensor

from workflow_scripts.models.linear import linear
from workflow_scripts.probe.normalise import BLOCK, Normalisation
from workflow_scripts.probe.row_blocks import read
from workflow_scripts.probe.trial import Features, Rows
from workflow_scripts.threads import map_in_order

MOST_HELD = 256 * 2**20  # bytes of samples that are kept in memory; more are read at every step

T = TypeVar("T")


@contextmanager
def one_thread() -> Iterator[None]:
    """Matrix products and the like in one thread each, as long as this lasts."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        with threadpool_limits(limits=1):
            yield
    finally:
        torch.set_num_threads(threads)


def product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """X (M, K) · weight (N, K)ᵀ + bias (N,), in the precision of both."""
    if x.dtype == torch.float64:  # numpy's is twice as fast as PyTorch's on AMD processors
        found: NDArray[np.float64] = x.numpy() @ weight.numpy().T
        return torch.from_numpy(found if bias is None else found + bias.numpy())
    return linear(x, weight, bias)


class Samples:
    """Some samples of a benchmark, normalised and centred, by blocks of rows.

    Attributes:
        count: Samples.
        width: Dimensions.
        centre: (width,) float64, what was subtracted after the normalisation.
    """

    def __init__(
        self,
        features: Features,
        rows: Rows,
        normalisation: Normalisation,
        *,
        what: str,
        hold: bool = True,
    ) -> None:
        """Some rows of features.

        Args:
            features: Of all samples.
            rows: Which.
            normalisation: Of the features.
            what: The protocol, for the message that a feature is not finite.
            hold: Keep the samples in memory if they are not too many: for several passes.
        """
        self.count, self.width = len(rows), features.shape[1]
        self.centre = torch.from_numpy(normalisation.centre).double()
        self._features, self._rows, self._normalisation = features, rows, normalisation
        self._what = what
        self._held: list[Tensor] = []
        if hold and self.count * self.width * 4 <= MOST_HELD:
            self._held = list(self._map(lambda _, block: block))

    def _block(self, number: int) -> Tensor:
        if self._held:
            return self._held[number]
        return self._read(self._rows[number * BLOCK : (number + 1) * BLOCK])

    def _read(self, rows: Rows) -> Tensor:
        values = self._normalisation(read(self._features, rows, self._what))
        values -= self._normalisation.centre
        # PyTorch's own memory is aligned the same in every run, so products round the same.
        return torch.from_numpy(values).clone()

    def _map(self, function: Callable[[slice, Tensor], T]) -> Iterator[T]:
        def one(number: int) -> T:
            torch.set_num_threads(1)  # of this thread: each has its own setting
            start = number * BLOCK
            return function(slice(start, min(start + BLOCK, self.count)), self._block(number))

        yield from map_in_order(one, range(-(-self.count // BLOCK)))

    def map(self, function: Callable[[slice, Tensor], T]) -> Iterator[T]:
        """`function(places, samples)` of every block, in order.

        The function is given the places of the block's samples among all of them and the samples
        (block, width) float32, which it must not change. It runs in one of several threads.
        """
        return self._map(function)

    def sample(self, count: int) -> Tensor:
        """(at most `count`, width) samples from evenly spaced places."""
        places = np.unique(np.linspace(0, self.count - 1, min(count, self.count)).astype(np.int64))
        return self._read(self._rows[places])


def in_threads(function: Callable[[Any], T], items: list[Any]) -> list[T]:
    """`function` of each item, each in one thread, in order."""

    def one(item: Any) -> T:
        torch.set_num_threads(1)
        return function(item)

    return list(map_in_order(one, items)) if len(items) > 1 else [one(item) for item in items]
