"""Where the batches of a point come from: a corpus, or one batch that is held in memory."""

import math
from collections.abc import Iterator
from itertools import repeat
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.feed import PREFETCH, Feed
from workflow_scripts.pretrain.construct import Described, order_of
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.scaling.words import READING
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import Corpus

Recipe = dict[str, Any]
_RGB = 3


class Invented:
    """What stands for a corpus where nothing is read: images if it has three bands, else chips."""

    def __init__(self, channels: int) -> None:
        self.channels, self.classes = channels, list[str]()
        self.index: dict[str, Any] = {
            "kind": layout.IMAGES if channels == _RGB else layout.CHIPS,
            "corpus": "none",
            "mean": [0.5] * channels,
            "std": [0.25] * channels,
        }

    def batch(self, recipe: Recipe, *, cells: int, rank: int) -> dict[str, Tensor]:
        """One rank's batch as the feed would bring it, of random pixels from the run's seed.

        Args:
            recipe: The point's.
            cells: Numbers that each sample needs for its mask.
            rank: Whose.
        """
        draw = torch.Generator().manual_seed(recipe["pretrain"]["seed"] * 2**20 + rank)
        count, size = recipe["batch"], recipe["pretrain"]["encoder"]["image_size"]
        # The largest first: what does not fit is refused before the rest takes its memory.
        if self.channels == _RGB:
            own = {"images": _integers(256, (count, size, size, _RGB), draw).to(torch.uint8)}
        else:
            shape, bands = (count, self.channels, size, size), (count, self.channels)
            own = {
                "images": _integers(layout.MAX_COUNT + 1, shape, draw).to(torch.uint16),
                "scale": torch.full(bands, 1.0 / layout.MAX_COUNT),
                "offset": torch.zeros(bands),
            }
        return {
            **own,
            "noise": torch.rand((count, cells), generator=draw),
            "labels": torch.full((count,), -1),
        }


def _integers(end: int, shape: tuple[int, ...], draw: torch.Generator) -> Tensor:
    return torch.randint(end, shape, generator=draw, dtype=torch.int32)


def described(recipe: Recipe, index: Path | None) -> Described:
    """The corpus of a point that reads one, or what stands for it.

    Raises:
        UserError: It reads a corpus, and none is given.
    """
    if recipe["mode"] not in READING:
        return Invented(recipe["channels"])
    if index is None:
        raise UserError(f"mode {recipe['mode']} reads a corpus: give its index.json with --index")
    return Corpus(index)


class Source:
    """The batches of one rank, as many as are asked for.

    Args:
        recipe: The point's.
        corpus: As `described` returned it.
        ranks: This process's place.
        cells: Numbers that each sample needs for its mask.
        pin: Whether batches are in pinned memory, from which a GPU fetches them.
    """

    def __init__(
        self, recipe: Recipe, corpus: Described, *, ranks: Ranks, cells: int, pin: bool
    ) -> None:  # fmt: skip
        self.feed: Feed | None = None
        if isinstance(corpus, Invented):
            batch = corpus.batch(recipe, cells=cells, rank=ranks.rank)
            self._held = {name: part.pin_memory() if pin else part for name, part in batch.items()}
            return
        assert isinstance(corpus, Corpus)
        run = recipe["pretrain"]
        order = order_of(_long_enough(recipe, corpus), corpus)
        batches = Batches(
            corpus, order, augment=run["augment"], size=run["encoder"]["image_size"], cells=cells,
            rank=ranks.rank, ranks=ranks.world,
        )  # fmt: skip
        self.feed = Feed(
            batches, start=0, workers=recipe["workers"], pin=pin,
            prefetch=recipe["prefetch"] or PREFETCH,
        )  # fmt: skip

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        return iter(self.feed) if self.feed is not None else repeat(self._held)


def warmup_of(recipe: Recipe) -> int:
    """Steps before the clock starts: more than the batches that loader processes are ahead.

    They read while the model is built. What they have then would be measured as reading that takes
    no time.
    """
    ahead = (recipe["workers"] or 0) * (recipe["prefetch"] or PREFETCH)
    return int(max(recipe["warmup"], ahead + 1)) if ahead else int(recipe["warmup"])


def steps_of(recipe: Recipe) -> int:
    """Steps of a point, those of the warm-up among them."""
    return warmup_of(recipe) + int(recipe["steps"] * recipe["repeats"])


def _long_enough(recipe: Recipe, corpus: Corpus) -> Recipe:
    """The run with as many epochs as the point needs; the order of each is the same."""
    run: Recipe = recipe["pretrain"]
    epochs = math.ceil(steps_of(recipe) / max(1, len(corpus) // run["batch"]))
    return {**run, "epochs": max(run["epochs"], epochs)}
