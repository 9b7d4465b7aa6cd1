"""Plain classification, with which the sample's small GFM teacher is made."""

from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import build_encoder, widths
from workflow_scripts.objectives.base import Batch, Objective


class Supervised(Objective):
    """Mean-pooled features and a linear head, trained by cross-entropy.

    Args:
        recipe: Uses `encoder`.
        channels: Bands of the input.
        mean: Corpus mean of each band.
        std: Corpus deviation of each band.
        classes: Names of the classes; labels index them.

    Raises:
        UserError: Fewer than two classes, or numbers of the encoder that do not fit together.
    """

    def __init__(
        self,
        recipe: dict[str, Any],
        *,
        channels: int,
        mean: list[float],
        std: list[float],
        classes: list[str],
    ) -> None:
        super().__init__(mean=mean, std=std)
        if len(classes) < 2:
            raise UserError(f"objective supervised needs two or more classes, got {classes}")
        self.encoder = build_encoder(recipe["encoder"], channels)
        self.head = nn.Linear(widths(recipe["encoder"])[-1], len(classes))

    def features(self, images: Tensor) -> Tensor:
        """Mean over tokens (a ViT's class token left out) of the encoder's output, (B, D)."""
        dtype = self.encoder.patch_embed.proj.weight.dtype
        x = self.encoder.forward_features(images.to(dtype))
        if x.ndim == 4:  # Swin: (B, h, w, D)
            return x.mean(dim=(1, 2))
        return x[:, self.encoder.num_prefix_tokens :].mean(dim=1)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Cross-entropy as `loss`, and the batch's `accuracy`; see the base class."""
        scores = self.head(self.features(batch["images"])).float()
        accuracy = (scores.argmax(dim=1) == batch["labels"]).float().mean()
        return {"loss": functional.cross_entropy(scores, batch["labels"]), "accuracy": accuracy}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Nothing is removed: the images themselves and an empty mask."""
        images = batch["images"].float()
        return images, torch.zeros_like(images[:, 0], dtype=torch.bool)
