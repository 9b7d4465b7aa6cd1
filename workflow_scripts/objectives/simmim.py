"""SimMIM (Xie et al., arXiv 2111.09886) over Swin and SwinV2, in the order of the paper.

A grid of mask cells, each several patches wide, is masked after the patch embedding; all tokens go
through the encoder; a one-layer decoder paints pixels; the loss is L1 over the masked ones.
"""

from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import build_encoder, check_encoder, stride, widths
from workflow_scripts.models.shapes import cells_masked
from workflow_scripts.objectives.base import Batch, Objective, split_by_noise

EPSILON = 1e-5  # in the loss's divisor, as in the reference


def build_decoder(kind: str, *, features: int, channels: int, step: int, size: int) -> nn.Module:
    """The one-layer decoder from (B, features, h, w) to (B, channels, size, size).

    Args:
        kind: `pixelshuffle` (1 × 1 convolution and PixelShuffle, the paper's) or `dense` (one
            linear layer from the mean token to all pixels, which the published parameter counts
            of the MODIS SwinV2 ladder imply).
        features: Channels of the encoder's last stage.
        channels: Bands of the image.
        step: Pixels on a side of a last-stage token.
        size: Pixels on a side of the image.

    Raises:
        UserError: Another kind.
    """
    if kind == "pixelshuffle":
        return nn.Sequential(nn.Conv2d(features, step**2 * channels, 1), nn.PixelShuffle(step))
    if kind == "dense":
        return nn.Sequential(
            nn.AdaptiveAvgPool2d(1),
            nn.Flatten(),
            nn.Linear(features, channels * size * size),
            nn.Unflatten(1, (channels, size, size)),
        )
    raise UserError(f"decoder.kind: {kind!r} is not pixelshuffle or dense")


class Simmim(Objective):
    """Masked image modelling with a Swin or SwinV2.

    Args:
        recipe: Uses `encoder`, `decoder` (kind) and `mask` (ratio, patch: pixels on a side of a
            mask cell; norm_pix must be false, SimMIM's target is the image itself).
        channels: Bands of the input.
        mean: Corpus mean of each band.
        std: Corpus deviation of each band.

    Raises:
        UserError: A family other than `swin` and `swinv2`, or numbers that do not fit together.
    """

    def __init__(
        self, recipe: dict[str, Any], *, channels: int, mean: list[float], std: list[float]
    ) -> None:
        super().__init__(mean=mean, std=std)
        encoder, mask = recipe["encoder"], recipe["mask"]
        check_encoder(encoder)
        _check(recipe["objective"], encoder, mask)
        size = encoder["image_size"]
        self.side: int = size // mask["patch"]
        self.cell: int = mask["patch"]
        self.patch: int = encoder["patch"]
        self.cells = self.side**2
        self.masked = cells_masked(encoder, self.cell, mask["ratio"])
        self.encoder = build_encoder(encoder, channels)
        # NaN until `initialise` has run: forgetting it shows in the first loss.
        self.mask_token = nn.Parameter(torch.full((encoder["width"],), torch.nan))
        self.decoder = build_decoder(
            recipe["decoder"]["kind"],
            features=widths(encoder)[-1],
            channels=channels,
            step=stride(encoder),
            size=size,
        )

    def mask_cells(self, noise: Tensor) -> Tensor:
        """Which cells are masked: bool (B, side, side), the same count in each sample."""
        _, removed = split_by_noise(noise, self.cells - self.masked)
        mask = torch.zeros_like(noise, dtype=torch.bool).scatter(1, removed, True)
        return mask.unflatten(1, (self.side, self.side))

    def embed(self, images: Tensor, cells: Tensor) -> Tensor:
        """Patch embedding with the mask token in the masked places: (B, h, w, D)."""
        patch_embed = self.encoder.patch_embed
        x = patch_embed(images.to(patch_embed.proj.weight.dtype))
        mask = enlarge(cells, self.cell // self.patch).unsqueeze(-1)
        return torch.where(mask, self.mask_token.to(x.dtype), x)

    def paint(self, x: Tensor) -> Tensor:
        """Image (B, C, H, W) from the last stage's tokens (B, h, w, D) before the final norm."""
        return self.decoder(self.encoder.norm(x).permute(0, 3, 1, 2))

    def loss(self, images: Tensor, painted: Tensor, cells: Tensor) -> Tensor:
        """Mean absolute error over masked pixels and all channels, in float32."""
        mask = enlarge(cells, self.cell).unsqueeze(1)
        difference = (images.float() - painted.float()).abs() * mask
        return difference.sum() / (mask.sum() + EPSILON) / images.shape[1]

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """L1 over masked pixels; see the base class."""
        cells = self.mask_cells(batch["noise"])
        painted = self.paint(self.encoder.layers(self.embed(batch["images"], cells)))
        return {"loss": self.loss(batch["images"], painted, cells)}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """The painted image with the visible pixels pasted, and the masked pixels."""
        images, cells = batch["images"].float(), self.mask_cells(batch["noise"])
        painted = self.paint(self.encoder.layers(self.embed(images, cells))).float()
        mask = enlarge(cells, self.cell)
        return torch.where(mask.unsqueeze(1), painted, images), mask


def enlarge(cells: Tensor, factor: int) -> Tensor:
    """Each entry of (B, h, w) as a square of factor × factor entries."""
    return cells.repeat_interleave(factor, 1).repeat_interleave(factor, 2)


def _check(objective: str, encoder: dict[str, Any], mask: dict[str, Any]) -> None:
    if encoder["family"] == "vit":
        raise UserError(
            f"objective {objective} needs encoder.family swin or swinv2, got 'vit'; use mae"
        )
    if mask["norm_pix"]:
        raise UserError(
            f"mask.norm_pix belongs to mae; with {objective} the target is the image: set it false"
        )
    cell, size, patch = mask["patch"], encoder["image_size"], encoder["patch"]
    if not isinstance(cell, int) or cell < 1:
        raise UserError(f"mask.patch: {objective} needs a whole number of pixels, got {cell!r}")
    if size % cell or cell % patch:
        raise UserError(
            f"mask.patch {cell} must divide encoder.image_size {size} and be a multiple of "
            f"encoder.patch {patch}"
        )
