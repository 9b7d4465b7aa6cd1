"""Encoders: a recipe's `encoder` as a timm architecture (timm 1.0).

Families: `vit` (arXiv 2010.11929), `swin` (arXiv 2103.14030), `swinv2` (arXiv 2111.09883). A ViT
may be `gated` (an MLP of three matrices, SwiGLU), which is what the published parameter count of
the 5B rung of arXiv 2404.11706 needs; a Swin V2 may have extra norms (`swinv2_extra_norm`).
Stochastic depth is off in all: a forward pass has no randomness of its own.
"""

from typing import Any

import timm
from torch import nn

from workflow_scripts.models import swinv2_extra_norm
from workflow_scripts.models.initialise import initialise
from workflow_scripts.models.shapes import check_encoder, stride, widths

__all__ = [
    "build_encoder", "check_encoder", "encoder_blocks", "from_card", "needed_import",
    "random_encoder", "stride", "timm_architecture", "widths",
]  # fmt: skip

_NAMES = {
    "vit": "vit_base_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "swinv2": "swinv2_tiny_window8_256",
}
# The registered ViT whose MLP is gated; a class cannot be written into model.json, a name can.
_GATED_VIT = "vit_giant_patch14_dinov2"


def timm_architecture(encoder: dict[str, Any], channels: int) -> tuple[str, dict[str, Any]]:
    """The name and arguments with which `timm.create_model` builds an encoder without a head.

    Args:
        encoder: The recipe's `encoder`: family, image_size, patch, width, depths, heads,
            mlp_ratio, window (null for a ViT) and, optionally, gated and extra_norm_period.
        channels: Bands of the input.

    Returns:
        The name and plain JSON arguments, as `model.json` records them.

    Raises:
        UserError: The numbers do not fit together.
    """
    check_encoder(encoder)
    kwargs: dict[str, Any] = {
        "img_size": encoder["image_size"],
        "patch_size": encoder["patch"],
        "in_chans": channels,
        "num_classes": 0,
        "embed_dim": encoder["width"],
        "mlp_ratio": encoder["mlp_ratio"],
        "drop_path_rate": 0.0,
    }
    if encoder["family"] != "vit":
        lists = {"depths": list(encoder["depths"]), "num_heads": list(encoder["heads"])}
        kwargs |= lists | {"window_size": encoder["window"]}
        period = encoder.get("extra_norm_period")
        if period is None:
            return _NAMES[encoder["family"]], kwargs
        return swinv2_extra_norm.NAME, kwargs | {"extra_norm_period": period}
    kwargs |= {"depth": encoder["depths"][0], "num_heads": encoder["heads"][0]}
    if not encoder.get("gated", False):
        return _NAMES["vit"], kwargs
    # timm packs gate and value into one matrix of twice the hidden width and truncates
    # width × ratio: the half keeps 30719.99… from losing a channel.
    hidden = round(encoder["width"] * encoder["mlp_ratio"])
    ratio = (2 * hidden + 0.5) / encoder["width"]
    # timm drops arguments that are None, and 0 also means no layer scale.
    return _GATED_VIT, kwargs | {"mlp_ratio": ratio, "init_values": 0.0}


def needed_import(architecture: str) -> str | None:
    """The module that has to be imported before timm knows an architecture; None for timm's own."""
    return swinv2_extra_norm.__name__ if architecture == swinv2_extra_norm.NAME else None


def from_card(card: dict[str, Any]) -> nn.Module:
    """The encoder that a `model.json` describes, with timm's random weights.

    Raises:
        KeyError: The card names no architecture or no arguments.
    """
    return timm.create_model(card["architecture"], **card["kwargs"])


def build_encoder(encoder: dict[str, Any], channels: int) -> nn.Module:
    """The timm model of a recipe's encoder, headless; honours a surrounding `torch.device`.

    Its weights are timm's random ones; `initialise` or `load_state_dict` gives it ours.
    """
    name, kwargs = timm_architecture(encoder, channels)
    return timm.create_model(name, **kwargs)


def random_encoder(encoder: dict[str, Any], channels: int, seed: int) -> nn.Module:
    """An untrained encoder with the very weights a pretraining run of that seed starts from."""
    model = build_encoder(encoder, channels)
    initialise(model, seed, prefix="encoder.")
    return model


def encoder_blocks(model: Any) -> list[nn.Module]:
    """The transformer blocks of a timm ViT or Swin, in the order in which they run."""
    if hasattr(model, "layers"):
        return [block for stage in model.layers for block in stage.blocks]
    return list(model.blocks)
