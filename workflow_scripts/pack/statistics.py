"""Mean and standard deviation by channel over all pixels, in one pass."""

from typing import Any

import numpy as np
from numpy.typing import NDArray


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
    """Of physical values over chips, merged chip by chip.

    Sums within a chip are exact, being of integer counts; chips are merged by the update of
    Chan, Golub and LeVeque (1979), which does not cancel as the sum of squares would.

    Args:
        bands: How many channels the chips have.
    """

    def __init__(self, bands: int) -> None:
        self.pixels = 0
        self.mean: NDArray[np.float64] = np.zeros(bands)
        self.squares: NDArray[np.float64] = np.zeros(bands)  # sum of squared deviations

    def add(self, counts: NDArray[np.uint16], scale: NDArray[Any], offset: NDArray[Any]) -> None:
        """Take in one chip: counts (bands, height, width), scale and offset (bands,)."""
        wide = counts.reshape(len(counts), -1).astype(np.uint64)
        pixels = wide.shape[1]
        first = wide.sum(axis=1)
        second = (wide * wide).sum(axis=1)
        mean = (first / pixels - offset) * scale
        # n·Σc² − (Σc)² exceeds 64 bits for large chips, so it is left to Python's integers.
        spread = [pixels * int(b) - int(a) ** 2 for a, b in zip(first, second, strict=True)]
        squares = np.array([value / pixels for value in spread]) * np.square(scale)
        total = self.pixels + pixels
        step = mean - self.mean
        self.squares += squares + step**2 * (self.pixels * pixels / total)
        self.mean += step * (pixels / total)
        self.pixels = total

    def result(self) -> tuple[list[float], list[float]]:
        """Mean and standard deviation of each band in physical units."""
        return self.mean.tolist(), np.sqrt(self.squares / self.pixels).tolist()
