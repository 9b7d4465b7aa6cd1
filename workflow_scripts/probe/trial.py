"""What a protocol is given and what it returns; files, splits and encoders are others' concern."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]
# (n,) class numbers, or (n, classes) of true and false where a sample has several labels.
Labels = NDArray[Any]


class Features(Protocol):
    """Features of a benchmark's samples, in memory or on disk; read by blocks of rows."""

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, dimensions)."""

    def take(self, rows: Rows | slice) -> NDArray[np.float32]:
        """(len(rows), dimensions) of some samples, contiguous; the caller may change it."""


@dataclass(frozen=True)
class InMemory:
    """Features that are an array: small benchmarks, and tests."""

    values: NDArray[np.float32]  # (samples, dimensions)

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, dimensions)."""
        samples, dimensions = self.values.shape
        return samples, dimensions

    def take(self, rows: Rows | slice) -> NDArray[np.float32]:
        """(len(rows), dimensions) of some samples, a copy."""
        return np.array(self.values[rows], np.float32, order="C")


@dataclass(frozen=True)
class OfSome:
    """Features that only some samples have, asked for by the numbers of all.

    Attributes:
        features: Of these samples, in their order.
        rows: (k,) their numbers, rising.
    """

    features: Features
    rows: Rows

    @property
    def shape(self) -> tuple[int, int]:
        """(samples that have features, dimensions)."""
        return self.features.shape

    def take(self, rows: Rows | slice) -> NDArray[np.float32]:
        """(len(rows), dimensions) of some samples.

        Raises:
            KeyError: One of them has no features.
        """
        asked = np.arange(int(self.rows[-1]) + 1)[rows] if isinstance(rows, slice) else rows
        places = np.searchsorted(self.rows, asked)
        if not np.array_equal(self.rows.take(places, mode="clip"), asked):
            raise KeyError("samples without features were asked for")
        return self.features.take(places)


@dataclass(frozen=True)
class Part:
    """One side of a split.

    Attributes:
        rows: (n,) where its samples are in the features.
        labels: (n,) class numbers, or (n, classes) bool for several labels.
        groups: (n,) equal for identical samples, which stay together when some are held out.
    """

    rows: Rows
    labels: Labels
    groups: Rows

    def __len__(self) -> int:
        return len(self.rows)

    def only(self, kept: NDArray[Any]) -> "Part":
        """The samples of this part that a mask or places in it name."""
        return Part(self.rows[kept], self.labels[kept], self.groups[kept])


@dataclass(frozen=True, kw_only=True)
class Trial:
    """One fit of a protocol: an encoder's features, a split and a seed.

    Attributes:
        features: By pooling (`mean`, `class`, `mean+class`), all of the same samples.
        train: What is learnt from, and from part of which hyper-parameters are chosen.
        test: What is judged; looked at once, with everything chosen.
        classes: How many.
        settings: The protocol's own, from the recipe.
        seed: Of every draw: what is held out, first weights, order, few shots.
        views: Features (by pooling) of the samples as augmented once, one entry a view; for lars.
        names: Of the classes, by number, for messages.
    """

    features: Mapping[str, Features]
    train: Part
    test: Part
    classes: int
    settings: Mapping[str, Any]
    seed: int
    views: tuple[Mapping[str, Features], ...] = field(default=())
    names: tuple[str, ...] = field(default=())

    def name(self, label: int) -> str:
        """A class for messages: its name in quotes, or its number where names are not given."""
        return repr(self.names[label]) if self.names else f"number {label} (from 0)"

    @property
    def multi_label(self) -> bool:
        """Whether samples have several labels."""
        return self.train.labels.ndim == 2


@dataclass(frozen=True)
class Outcome:
    """What a protocol found.

    Attributes:
        scores: (n_test, classes) float32, the larger the more likely.
        chosen: Hyper-parameters that were chosen or fixed: plain JSON values.
    """

    scores: NDArray[np.float32]
    chosen: dict[str, Any]
