"""Masked autoencoder (He et al., arXiv 2111.06377), in the order of the paper.

The encoder sees the visible patches only; a small decoder sees all tokens and paints the removed
patches. Attention does not care about the order of its tokens, each of which carries its
position: the decoder takes the visible tokens first and the removed ones after them, so nothing
has to be shuffled back, and its last layers run on the removed tokens only. The loss is the
reference's, which orders tokens by their place.

Tokens are vectors (D,) and position tables are buffers: `fully_shard` pads a parameter of shape
(1, N, D) to the number of ranks. The export has timm's shapes.
"""

import math
from pathlib import Path
from typing import Any

import timm
import torch
from timm.layers import LayerNorm
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import encoder_blocks, timm_architecture
from workflow_scripts.models.linear import linear
from workflow_scripts.models.positions import position_table
from workflow_scripts.models.shapes import patches_kept
from workflow_scripts.models.start import Start
from workflow_scripts.objectives.base import Batch, Objective, split_by_noise

DECODER_MLP_RATIO = 4.0
EPSILON = 1e-6  # under the root of a patch's variance


def patchify(images: Tensor, patch: int) -> Tensor:
    """Cut (B, C, H, W) into (B, L, patch * patch * C), each patch as (row, column, channel)."""
    b, c, h, w = images.shape
    x = images.reshape(b, c, h // patch, patch, w // patch, patch)
    return x.permute(0, 2, 4, 3, 5, 1).reshape(b, (h // patch) * (w // patch), patch * patch * c)


def unpatchify(patches: Tensor, patch: int) -> Tensor:
    """The inverse of `patchify` for square images: (B, L, patch * patch * C) to (B, C, H, W)."""
    b, cells, values = patches.shape
    side, c = math.isqrt(cells), values // patch**2
    x = patches.reshape(b, side, side, patch, patch, c)
    return x.permute(0, 5, 1, 3, 2, 4).reshape(b, c, side * patch, side * patch)


def take(rows: Tensor, index: Tensor) -> Tensor:
    """Rows (B, L, V) of each sample at index (B, K): (B, K, V)."""
    return rows.gather(1, index.unsqueeze(-1).expand(-1, -1, rows.shape[-1]))


class Mae(Objective):
    """Masked autoencoder over a ViT.

    Args:
        recipe: Uses `encoder`, `decoder` (width, depth, heads) and `mask` (ratio; norm_pix:
            false, true for statistics over a whole patch as in the paper, or "per_channel").
        channels: Bands of the input.
        mean: Corpus mean of each band.
        std: Corpus deviation of each band.

    Raises:
        UserError: A family other than `vit`, or numbers that do not fit together.
    """

    positions: Tensor
    decoder_positions: Tensor

    def __init__(
        self, recipe: dict[str, Any], *, channels: int, mean: list[float], std: list[float]
    ) -> None:
        super().__init__(mean=mean, std=std)
        encoder, decoder, mask = recipe["encoder"], recipe["decoder"], recipe["mask"]
        name, kwargs = timm_architecture(encoder, channels)
        _check(encoder, decoder, mask)
        self.patch: int = encoder["patch"]
        self.side: int = encoder["image_size"] // self.patch
        self.cells = self.side**2
        self.kept = patches_kept(encoder, mask["ratio"])
        self.norm_pix = mask["norm_pix"]
        d, e = encoder["width"], decoder["width"]
        own = {"class_token": False, "pos_embed": "none", "global_pool": ""}
        self.encoder = timm.create_model(name, **(kwargs | own))
        # NaN until `initialise` has run: forgetting it shows in the first loss.
        self.encoder.cls_token = nn.Parameter(torch.full((d,), torch.nan))
        self.decoder_embed = nn.Linear(d, e)
        self.mask_token = nn.Parameter(torch.full((e,), torch.nan))
        self.decoder_blocks = nn.ModuleList(
            Block(e, decoder["heads"], mlp_ratio=DECODER_MLP_RATIO, qkv_bias=True)
            for _ in range(decoder["depth"])
        )
        self.decoder_norm = LayerNorm(e)
        self.decoder_pred = nn.Linear(e, self.patch**2 * channels)
        # A start brings a table of its own, which checkpoints have to keep.
        for buffer, width, kept in (
            ("positions", d, recipe.get("start") is not None),
            ("decoder_positions", e, False),
        ):
            self.register_buffer(buffer, torch.empty(self.cells, width), persistent=kept)
        self._fill_positions()

    def init_non_persistent_buffers(self) -> None:
        """Fill the statistics and both position tables."""
        super().init_non_persistent_buffers()
        if "positions" in self._buffers:
            self._fill_positions()

    def _fill_positions(self) -> None:
        for table in (self.positions, self.decoder_positions):
            table.copy_(position_table(table.shape[1], self.side, class_token=False))
        started = self.start.positions() if self.start else None
        if started is not None:
            self.positions.copy_(started)

    def start_from(self, folder: Path, encoder: dict[str, Any]) -> None:
        """As of the base class; the start's position table, if any, becomes the fixed one."""
        tokens, width = self.positions.shape
        self.start = Start(folder, self.encoder, expected=encoder, positions=(tokens, width))

    def encode(self, patches: Tensor, kept: Tensor) -> Tensor:
        """Encoder on the class token and the visible patches.

        Args:
            patches: float32 (B, L, patch * patch * C).
            kept: (B, K) indices of the visible ones.

        Returns:
            (B, 1 + K, D), class token first.
        """
        projection = self.encoder.patch_embed.proj
        # The patch embedding's convolution as a product with the visible patches only.
        weight = projection.weight.permute(0, 2, 3, 1).flatten(1)
        visible = take(patches, kept).to(weight.dtype)
        x = linear(visible, weight, projection.bias)
        x = x + self.positions.to(weight.dtype)[kept]
        token = self.encoder.cls_token.expand(len(x), 1, -1)
        x = torch.cat([token.to(x.dtype), x], dim=1)
        for block in self.encoder.blocks:
            x = block(x)
        return self.encoder.norm(x)

    def decode(self, latent: Tensor, kept: Tensor, removed: Tensor) -> Tensor:
        """Decoder on all tokens; predictions (B, R, patch * patch * C) of the removed patches."""
        x = self.decoder_embed(latent)
        positions = self.decoder_positions.to(self.mask_token.dtype)
        token, visible = x[:, :1], x[:, 1:] + positions[kept]
        painted = self.mask_token + positions[removed]
        x = torch.cat([token.to(visible.dtype), visible, painted.to(visible.dtype)], dim=1)
        for block in self.decoder_blocks:
            x = block(x)
        return self.decoder_pred(self.decoder_norm(x[:, -removed.shape[1] :]))

    def statistics(self, patches: Tensor) -> tuple[Tensor, Tensor]:
        """Mean and deviation by which target patches (B, R, patch * patch * C) are normalised.

        The variance is the unbiased one, over the pixels and channels of a patch together, or over
        its pixels for each channel. Both results broadcast against the patches.
        """
        if not self.norm_pix:
            return patches.new_zeros(1), patches.new_ones(1)
        if self.norm_pix == "per_channel":
            pixels = self.patch**2
            var, mean = torch.var_mean(patches.unflatten(-1, (pixels, -1)), dim=-2)
            return mean.repeat(1, 1, pixels), (var + EPSILON).sqrt().repeat(1, 1, pixels)
        var, mean = torch.var_mean(patches, dim=-1, keepdim=True)
        return mean, (var + EPSILON).sqrt()

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """Mean squared error over the removed patches; see the base class."""
        patches = patchify(batch["images"].float(), self.patch)
        kept, removed = split_by_noise(batch["noise"], self.kept)
        prediction = self.decode(self.encode(patches, kept), kept, removed)
        target = take(patches, removed)
        mean, deviation = self.statistics(target)
        return {"loss": functional.mse_loss(prediction.float(), (target - mean) / deviation)}

    @torch.no_grad()
    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Prediction with each patch's true statistics put back, and the removed pixels."""
        patches = patchify(batch["images"].float(), self.patch)
        kept, removed = split_by_noise(batch["noise"], self.kept)
        prediction = self.decode(self.encode(patches, kept), kept, removed).float()
        mean, deviation = self.statistics(take(patches, removed))
        index = removed.unsqueeze(-1).expand_as(prediction)
        painted = patches.scatter(1, index, prediction * deviation + mean)
        mask = torch.zeros_like(batch["noise"], dtype=torch.bool).scatter(1, removed, True)
        mask = mask.unflatten(1, (self.side, self.side))
        for dim in (1, 2):
            mask = mask.repeat_interleave(self.patch, dim)
        return unpatchify(painted, self.patch), mask

    def wrap_blocks(self) -> list[nn.Module]:
        """Encoder and decoder blocks."""
        return [*encoder_blocks(self.encoder), *self.decoder_blocks]

    def decay_names(self) -> set[str]:
        """Matrices and, as in the reference, where they are matrices, both tokens."""
        return super().decay_names() | {"encoder.cls_token", "mask_token"}

    def export_encoder_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """Encoder weights with the class token and the position table in timm's shapes."""
        exported = super().export_encoder_state(state)
        token = exported["cls_token"]
        width = token.shape[-1]
        table = position_table(width, self.side, class_token=True)
        if "positions" in state:
            table[1:] = state["positions"]
        exported["cls_token"] = token.reshape(1, 1, width)
        exported["pos_embed"] = table.to(token.device, token.dtype).reshape(1, -1, width)
        return exported


def _check(encoder: dict[str, Any], decoder: dict[str, Any], mask: dict[str, Any]) -> None:
    if encoder["family"] != "vit":
        raise UserError(
            f"objective mae needs encoder.family vit, got {encoder['family']!r}; "
            "use simmim for swin and swinv2"
        )
    if mask["norm_pix"] not in (False, True, "per_channel"):
        raise UserError(f"mask.norm_pix: {mask['norm_pix']!r} is not true, false or per_channel")
    width, heads = decoder["width"], decoder["heads"]
    if width % heads or width % 4:
        raise UserError(
            f"decoder.width {width} must be a multiple of decoder.heads {heads} and of 4"
        )
