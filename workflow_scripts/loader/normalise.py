"""Batches on the device, normalised there: what crosses from the host is 8 or 16 bits a pixel."""

from typing import Any

import torch
from torch import Tensor

from workflow_scripts.models.scaling import STANDARDIZE, by_channel, normalisation, normalised
from workflow_scripts.shards import layout


class Normalise:
    """Batches on the device: images float32 (B, C, H, W) as `scaling` has them.

    Args:
        index: The corpus's index: `kind`, and its statistics by channel, in value/255 for images,
            in physical units for chips.
        device: Where the model is.
        scaling: As in `models.scaling`.
    """

    def __init__(
        self, index: dict[str, Any], device: torch.device, scaling: str = STANDARDIZE
    ) -> None:
        self.device = device
        self.is_images = index["kind"] == layout.IMAGES
        how = normalisation(index, scaling)
        self.mean, self.std = by_channel(how["mean"], device), by_channel(how["std"], device)
        self.clip = how["clip"]
        corpus_mean = by_channel(index["mean"], device)
        self.middle = normalised(corpus_mean, mean=self.mean, std=self.std, clip=self.clip)

    def __call__(self, batch: dict[str, Any]) -> dict[str, Tensor]:
        """The tensors of a batch on the device, its images normalised; counts are left out."""
        moved = {
            name: value.to(self.device, non_blocking=True)
            for name, value in batch.items()
            if isinstance(value, Tensor)
        }
        images = moved["images"].float()
        if self.is_images:
            images = images.permute(0, 3, 1, 2) / 255.0
        else:
            scale, offset = moved.pop("scale"), moved.pop("offset")
            images = (images - offset[:, :, None, None]) * scale[:, :, None, None]
        images = normalised(images, mean=self.mean, std=self.std, clip=self.clip)
        moved["images"] = images.contiguous()
        return moved

    def undone(self, images: Tensor) -> Tensor:
        """(B, C, H, W) back in [0, 1] for images, physical units for chips.

        What was cut off at the ends of a clipped range does not come back.
        """
        return images * self.std + self.mean
