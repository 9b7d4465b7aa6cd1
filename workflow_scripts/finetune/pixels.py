"""What the network sees: random views in training, the middle of each sample at the test.

Views are the loader's, functions of (seed, epoch, sample), in 8 bits (chips: in counts), scaled as
the encoder was trained. Test samples are what every other protocol sees.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.features.samples import read_chip, read_image
from workflow_scripts.loader.batches import Batch, Batches
from workflow_scripts.loader.order import Order
from workflow_scripts.models.scaling import by_channel, normalised
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import IMAGES


class Pixels:
    """Samples of a corpus as an encoder takes them.

    Args:
        corpus: The packed benchmark.
        how: The `normalisation` of the encoder's `model.json`.
        size: Height and width, pixels.
        device: Where the network is.
    """

    def __init__(self, corpus: Corpus, how: dict[str, Any], *, size: int, device: str) -> None:
        self.corpus, self.size, self.device = corpus, size, device
        self.mean, self.std = by_channel(how["mean"], device), by_channel(how["std"], device)
        self.clip = how.get("clip")
        # Cards of runs that were exported before chips could miss pixels have the mean alone.
        self.missing: list[float] = how.get("missing") or how["mean"]

    def views(self, order: Order, augment: dict[str, Any], *, paths: int) -> Batches:
        """The reader of training views, with `paths` random numbers a sample as its noise."""
        # Pixels without a value are filled with the index's mean: here with what the encoder knows.
        self.corpus.index["mean"] = self.missing
        return Batches(self.corpus, order, augment=augment, size=self.size, cells=paths)

    def of_views(self, batch: Batch) -> Tensor:
        """(n, C, size, size) normalised, on the device, of what `views` reads."""
        images: Tensor = batch["images"].to(self.device).float()
        if self.corpus.kind == IMAGES:
            return self._normalised(images.permute(0, 3, 1, 2) / 255).contiguous()
        scale, offset = (batch[name].to(self.device)[:, :, None, None] for name in _CALIBRATION)
        return self._normalised((images - offset) * scale)

    def of_test(self, rows: NDArray[np.int64]) -> Tensor:
        """(n, C, size, size) of some samples as they are judged, on the device."""
        return self._normalised(torch.stack([self._read(row) for row in rows.tolist()]))

    def _read(self, row: int) -> Tensor:
        if self.corpus.kind == IMAGES:
            return read_image(self.corpus, row, self.size)
        return read_chip(self.corpus, row, self.size, self.missing)

    def _normalised(self, images: Tensor) -> Tensor:
        return normalised(images.to(self.device), mean=self.mean, std=self.std, clip=self.clip)


_CALIBRATION = ("scale", "offset")
