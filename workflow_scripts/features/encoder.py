"""The frozen encoder of a finished run, at the input size the benchmark wants."""

import threading
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.models.encoders import from_card

POOLINGS = ("mean", "class", "mean+class")


def load_model(run: Path) -> tuple[dict[str, Any], nn.Module]:
    """A run's `model.json` and its encoder with the exported weights.

    Raises:
        UserError: A file is missing, or the weights are not those of the architecture.
    """
    model = read_json(run / "model.json")
    weights = run / "weights.safetensors"
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; export the run before it is probed")
    encoder = from_card(model)
    try:
        encoder.load_state_dict(load_file(weights), strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{weights}: not the weights of {model['architecture']} as model.json builds it "
            f"({error}); export the run again"
        ) from None
    return model, encoder


def set_image_size(encoder: nn.Module, model: dict[str, Any], size: int) -> None:
    """Let an encoder take `size` × `size` pixels; position tables are interpolated by timm.

    Windowed encoders keep the window they were trained with.

    Raises:
        UserError: The size is no multiple of the encoder's patches (and of its merged patches).
    """
    if size == model["image_size"]:
        return
    stages = len(encoder.layers) if hasattr(encoder, "layers") else 1  # type: ignore[arg-type]
    step = int(encoder.patch_embed.patch_size[0]) * 2 ** (stages - 1)  # type: ignore
    if size <= 0 or size % step:
        raise UserError(
            f"probe: image_size is {size}, which {model['architecture']} cannot take; "
            f"use a multiple of {step}"
        )
    window = model["kwargs"].get("window_size")
    options = {"window_size": window} if stages > 1 and window else {}
    encoder.set_input_size(img_size=(size, size), **options)  # type: ignore[operator]


class Features(nn.Module):
    """Pooled outputs of an encoder's last blocks, each after the final norm, side by side.

    Args:
        encoder: A timm ViT, Swin or SwinV2; it is set to eval and frozen.
        pooling: `mean` of the patch tokens, the `class` token, or `mean+class`.
        layers: How many of the last blocks (of a Swin's last stage).

    Raises:
        UserError: The encoder has no class token, or fewer blocks.
    """

    def __init__(self, encoder: nn.Module, *, pooling: str, layers: int) -> None:
        super().__init__()
        if pooling not in POOLINGS:
            raise UserError(f"probe: pooling is {pooling!r}; use one of {', '.join(POOLINGS)}")
        self.encoder = encoder.eval().requires_grad_(False)
        self.pooling = pooling
        self.prefix = int(getattr(encoder, "num_prefix_tokens", 0))
        if "class" in pooling and getattr(encoder, "cls_token", None) is None:
            raise UserError(f"probe: pooling is {pooling!r}, but this encoder has no class token")
        last: Any = encoder.layers[-1] if hasattr(encoder, "layers") else encoder  # type: ignore
        blocks = list(last.blocks)
        if not 1 <= layers <= len(blocks):
            raise UserError(
                f"probe: layers is {layers}; this encoder's last stage has {len(blocks)} blocks"
            )
        self._kept = threading.local()  # several threads share one encoder
        for block in blocks[len(blocks) - layers :]:
            block.register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        outputs = getattr(self._kept, "outputs", None)
        if outputs is not None:  # None: this forward pass is not ours
            outputs.append(output)

    def _pool(self, tokens: Tensor) -> Tensor:
        """(B, N, D) or (B, H, W, D) → (B, D), or (B, 2·D) for `mean+class`."""
        if tokens.ndim == 4:
            tokens = tokens.flatten(1, 2)
        parts = []
        if "mean" in self.pooling:
            parts.append(tokens[:, self.prefix :].mean(1))
        if "class" in self.pooling:
            parts.append(tokens[:, 0])
        # timm moves the norm behind the pooling in models that were made to pool by mean.
        after: nn.Module = getattr(self.encoder, "fc_norm", nn.Identity())
        return torch.cat([after(part) for part in parts], dim=1)

    @torch.inference_mode()
    def forward(self, images: Tensor) -> NDArray[np.float32]:
        """Features (B, layers·D) of normalised images (B, C, H, W)."""
        outputs: list[Tensor] = []
        self._kept.outputs = outputs
        try:
            self.encoder.forward_features(images)  # type: ignore[operator]
        finally:
            self._kept.outputs = None
        norm: nn.Module = self.encoder.norm  # type: ignore[assignment]
        pooled = [self._pool(norm(output)) for output in outputs]
        return torch.cat(pooled, dim=1).float().cpu().numpy()
