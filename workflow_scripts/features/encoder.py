"""The frozen encoder of a model folder, or the same untrained, at the size a benchmark wants."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.features.store import Block
from workflow_scripts.models.encoders import from_card
from workflow_scripts.models.folder import CARD, WEIGHTS, read_card
from workflow_scripts.models.initialise import initialise
from workflow_scripts.models.linear import use_linear

MEAN, CLASS = "mean", "class"
POOLINGS = (MEAN, CLASS, f"{MEAN}+{CLASS}")
FP32, BF16 = "fp32", "bf16"


def load_model(folder: Path) -> tuple[dict[str, Any], nn.Module]:
    """The `model.json` of a model folder and its encoder with the weights beside it.

    Raises:
        UserError: A file is missing, or the weights are not those of the architecture.
    """
    card, weights = read_card(folder), folder / WEIGHTS
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; finish the run or make the weights first")
    encoder = from_card(card)
    try:
        encoder.load_state_dict(load_file(weights), strict=True)
    except RuntimeError as error:
        raise UserError(
            f"{weights}: not the weights of {card['architecture']} as {CARD} builds it "
            f"({error}); export the run again"
        ) from None
    return card, encoder


def random_like(card: dict[str, Any], seed: int) -> nn.Module:
    """The encoder of a card, untrained: a run of that seed starts from these very weights.

    Weights from elsewhere may have what runs have not (registers, layer scale); `initialise` has
    rules for those too.

    Raises:
        UserError: A parameter has no rule.
    """
    encoder = from_card(card)
    try:
        initialise(encoder, seed, prefix="encoder.")
    except RuntimeError as error:
        raise UserError(
            f"{card['architecture']}: cannot be made with random weights ({error}); leave this "
            "encoder out of the benchmark, or add a rule to models/initialise.py"
        ) from None
    return encoder


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
            f"image_size is {size}, which {model['architecture']} cannot take; "
            f"use a multiple of {step}"
        )
    # A card of weights from elsewhere may leave the window to the architecture's name.
    window = model["kwargs"].get("window_size") or model.get("encoder", {}).get("window")
    options = {"window_size": window} if stages > 1 and window else {}
    encoder.set_input_size(img_size=(size, size), **options)  # type: ignore[operator]


def stored_poolings(asked: Sequence[str]) -> list[str]:
    """What has to be kept for some poolings: `mean+class` is those two.

    Raises:
        UserError: No pooling, or an unknown one.
    """
    unknown = [name for name in asked if name not in POOLINGS]
    if unknown or not asked:
        raise UserError(f"poolings is {list(asked)}; use some of {', '.join(POOLINGS)}")
    parts = {part for name in asked for part in name.split("+")}
    return [name for name in (MEAN, CLASS) if name in parts]


class Pooled(nn.Module):
    """Pooled outputs of an encoder's last blocks, each after the final norm, side by side.

    Args:
        encoder: A timm ViT, Swin or SwinV2; it is set to eval and frozen, its products of float32
            on a CPU become oneDNN's (`models.linear`).
        poolings: `mean` of the patch tokens, the `class` token, or both.
        layers: How many of the last blocks (of a Swin's last stage).
        precision: `fp32`, or `bf16` for autocast.

    Attributes:
        columns: What stands in which columns: by pooling, and in each by block, the last one last.

    Raises:
        UserError: The encoder has no class token, or fewer blocks.
    """

    def __init__(
        self, encoder: nn.Module, *, poolings: Sequence[str], layers: int, precision: str = FP32
    ) -> None:
        super().__init__()
        self.poolings, self.precision = stored_poolings(poolings), precision
        if CLASS in self.poolings and getattr(encoder, "cls_token", None) is None:
            raise UserError(
                f"poolings is {list(poolings)}, but this encoder has no class token; take 'mean'"
            )
        use_linear(encoder)
        self.encoder = encoder.eval().requires_grad_(False)
        self.prefix = int(getattr(encoder, "num_prefix_tokens", 0))
        last: Any = encoder.layers[-1] if hasattr(encoder, "layers") else encoder  # type: ignore
        blocks = list(last.blocks)
        if not 1 <= layers <= len(blocks):
            raise UserError(
                f"layers is {layers}; this encoder's last stage has {len(blocks)} blocks"
            )
        width = int(encoder.num_features)  # type: ignore[arg-type]
        each = [(pooling, layer) for pooling in self.poolings for layer in range(layers, 0, -1)]
        self.columns = [
            Block(pooling=pooling, layer=layer, start=at * width, stop=(at + 1) * width)
            for at, (pooling, layer) in enumerate(each)
        ]
        self._kept = threading.local()  # several threads share one encoder
        for block in blocks[len(blocks) - layers :]:
            block.register_forward_hook(self._keep)

    def _keep(self, block: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> None:
        """Pool a block's output at once: the tokens of many blocks would fill the caches."""
        pooled = getattr(self._kept, "pooled", None)
        if pooled is None:  # this forward pass is not ours
            return
        norm: nn.Module = self.encoder.norm  # type: ignore[assignment]
        with torch.autocast(output.device.type, enabled=False):  # sums over many tokens
            tokens = norm(output.float())
            tokens = tokens.flatten(1, 2) if tokens.ndim == 4 else tokens
            pooled.append([self._pool(tokens, name) for name in self.poolings])

    @contextmanager
    def _keeping(self) -> Iterator[list[list[Tensor]]]:
        self._kept.pooled = []
        try:
            yield self._kept.pooled
        finally:
            self._kept.pooled = None

    def _pool(self, tokens: Tensor, pooling: str) -> Tensor:
        """(B, N, D) normed tokens, those before the patches first → (B, D)."""
        part = tokens[:, self.prefix :].mean(1) if pooling == MEAN else tokens[:, 0]
        # timm moves the norm behind the pooling in models that were made to pool by mean.
        after: nn.Module = getattr(self.encoder, "fc_norm", nn.Identity())
        found: Tensor = after(part)
        return found

    @torch.inference_mode()
    def forward(self, images: Tensor) -> NDArray[np.float32]:
        """Features (B, columns) of normalised images (B, C, H, W)."""
        half = torch.autocast(
            images.device.type, dtype=torch.bfloat16, enabled=self.precision == BF16
        )
        with self._keeping() as pooled, half:
            self.encoder.forward_features(images)  # type: ignore[operator]
        by_pooling = [part for parts in zip(*pooled, strict=True) for part in parts]
        found: NDArray[np.float32] = torch.cat(by_pooling, dim=1).cpu().numpy()
        return found
