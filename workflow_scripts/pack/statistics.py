"""Mean and standard deviation by channel over all pixels, in one pass."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.shards import layout


class ImageStatistics:
    """Of value/255 over 8-bit images, exact: a histogram by channel holds all there is to know."""

    def __init__(self) -> None:
        self.histogram: NDArray[np.int64] = np.zeros((3, 256), np.int64)

    def add(self, histogram: NDArray[np.int64]) -> None:
        """Count in one image's (3, 256) histogram."""
        self.histogram += histogram

    def result(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each channel, in units of value/255."""
        values = np.arange(256)
        means, deviations = [], []
        for counts in self.histogram:
            # Python's integers: the sums are exact and the difference below loses nothing.
            pixels = int(counts.sum())
            first = int((counts * values).sum())
            second = int((counts * values**2).sum())
            means.append(first / pixels / 255)
            deviations.append((pixels * second - first**2) ** 0.5 / pixels / 255)
        return means, deviations


class ChipStatistics:
    """Of physical values over the pixels of chips that have a value.

    Sums within a chip are exact, being of integer counts; chips, blocks of them and days are merged
    as by Chan, Golub and LeVeque (1979), which does not cancel as the sum of squares would. The
    same digits need the same blocks in the same order.

    Args:
        bands: How many channels the chips have.

    Attributes:
        values: (bands,) pixels that have a value.
        mean: (bands,) their mean in physical units.
        squares: (bands,) the sum of their squared deviations from it.
    """

    def __init__(self, bands: int) -> None:
        self.values: NDArray[np.int64] = np.zeros(bands, np.int64)
        self.mean: NDArray[np.float64] = np.zeros(bands)
        self.squares: NDArray[np.float64] = np.zeros(bands)

    def add(self, counts: NDArray[np.uint16], scale: NDArray[Any], offset: NDArray[Any]) -> None:
        """Take in chips: counts (n, bands, height, width), scale and offset (n, bands)."""
        flat = counts.reshape(*counts.shape[:2], -1)
        has_value = flat <= layout.MAX_COUNT
        values = has_value.sum(axis=2)
        # A squared count fits 32 bits, their sum 64; n·Σc² − (Σc)² may not: Python's integers.
        kept = np.where(has_value, flat, 0).astype(np.uint32)
        first = kept.sum(axis=2, dtype=np.uint64)
        second = np.square(kept, out=kept).sum(axis=2, dtype=np.uint64)
        some, exact = np.maximum(values, 1), first.astype(object)
        spread = (values * second.astype(object) - exact * exact) / some.astype(object)
        mean = (first / some - offset) * scale
        squares = spread.astype(np.float64) * np.square(scale)
        total = values.sum(axis=0)
        whole = (values * mean).sum(axis=0) / np.maximum(total, 1)
        squares = squares + values * np.square(mean - whole)
        self._merge(total, whole, squares.sum(axis=0))

    def merge(self, other: "ChipStatistics") -> None:
        """Take in what was summed elsewhere."""
        self._merge(other.values, other.mean, other.squares)

    def _merge(
        self, values: NDArray[np.int64], mean: NDArray[np.float64], squares: NDArray[np.float64]
    ) -> None:
        total = self.values + values
        share = values / np.maximum(total, 1)
        step = np.where(values > 0, mean - self.mean, 0.0)
        self.squares += np.where(values > 0, squares, 0.0) + step**2 * self.values * share
        self.mean += step * share
        self.values = total

    def result(self) -> dict[str, list[Any]]:
        """By channel, in physical units; every channel needs a value.

        Returns:
            `mean`, `std` (over pixels, of the whole population), `mean_2sigma` (mean + 2·std, by
            which RICC divides) and `values`, the number of pixels that have one.
        """
        std = np.sqrt(self.squares / self.values)
        return {
            "mean": self.mean.tolist(),
            "std": std.tolist(),
            "mean_2sigma": (self.mean + 2 * std).tolist(),
            "values": self.values.tolist(),
        }
