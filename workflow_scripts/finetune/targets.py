"""What the network is to say of a batch: smoothed labels, mixed as the images are, and the loss."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from timm.data import Mixup
from torch import Tensor
from torch.nn import functional


def smoothed(labels: Tensor, *, classes: int, smoothing: float) -> Tensor:
    """Targets (n, classes) float32.

    Of one label, `smoothing` is spread evenly over all classes (arXiv 1512.00567): rows sum to 1.
    Of several, each yes and no gives half of it to the other, as timm does.

    Args:
        labels: (n,) class numbers, or (n, classes) of true and false.
        classes: How many.
        smoothing: From 0 to below 1.
    """
    if labels.ndim == 2:
        return labels.float() * (1 - smoothing) + smoothing / 2
    return functional.one_hot(labels, classes).float() * (1 - smoothing) + smoothing / classes


def loss_sum(scores: Tensor, targets: Tensor, *, multi_label: bool) -> Tensor:
    """Cross-entropy of some samples added up; of several labels the binary one's mean by class."""
    if multi_label:
        total = functional.binary_cross_entropy_with_logits(scores, targets, reduction="sum")
        return total / targets.shape[1]
    return functional.cross_entropy(scores, targets, reduction="sum")


@contextmanager
def _numpy_seeded(seed: int, step: int) -> Iterator[None]:
    """Seed numpy's global generator, from which timm's Mixup draws, and put it back."""
    before = np.random.get_state()
    np.random.seed([seed % 2**32, step])
    try:
        yield
    finally:
        np.random.set_state(before)


class Mix:
    """timm's Mixup and CutMix of whole batches, a function of (seed, step), for any labels.

    Args:
        settings: `mixup` and `cutmix`, their α; each batch takes one of the two, by a fair coin if
            both are above 0.
        batch: Samples a batch.
        seed: The trial's.
    """

    def __init__(self, settings: dict[str, Any], *, batch: int, seed: int) -> None:
        self.seed, self.batch = seed, batch
        self.mixup = None
        if settings["mixup"] or settings["cutmix"]:
            # Classes are the places in the batch: its targets tell how much of which sample is in
            # each, whatever the labels are.
            self.mixup = Mixup(
                mixup_alpha=settings["mixup"], cutmix_alpha=settings["cutmix"],
                label_smoothing=0.0, num_classes=batch,
            )  # fmt: skip

    def __call__(self, images: Tensor, targets: Tensor, *, step: int) -> tuple[Tensor, Tensor]:
        """Images (batch, C, H, W), changed in place, and their targets (batch, classes)."""
        if self.mixup is None:
            return images, targets
        places = torch.arange(self.batch, device=images.device)
        with _numpy_seeded(self.seed, step):
            images, shares = self.mixup(images, places)
        return images, shares.float() @ targets
