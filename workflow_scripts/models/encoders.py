"""Encoders: a recipe's `encoder` as a timm architecture (timm 1.0), and the checks of its numbers.

Families: `vit` (arXiv 2010.11929), `swin` (arXiv 2103.14030), `swinv2` (arXiv 2111.09883). A ViT
may be `gated` (an MLP of three matrices, SwiGLU), which is what the published parameter count of
the 5B rung of arXiv 2404.11706 needs. Stochastic depth is off in all: a forward pass has no
randomness of its own.
"""

from typing import Any

import timm
from torch import nn

from workflow_scripts.errors import UserError
from workflow_scripts.models.initialise import initialise

_NAMES = {
    "vit": "vit_base_patch16_224",
    "swin": "swin_tiny_patch4_window7_224",
    "swinv2": "swinv2_tiny_window8_256",
}
# The registered ViT whose MLP is gated; a class cannot be written into model.json, a name can.
_GATED_VIT = "vit_giant_patch14_dinov2"


def widths(encoder: dict[str, Any]) -> list[int]:
    """Channels of each stage (one stage for a ViT)."""
    return [encoder["width"] * 2**i for i in range(len(encoder["depths"]))]


def stride(encoder: dict[str, Any]) -> int:
    """Pixels on a side of what one token of the last stage stands for."""
    return int(encoder["patch"]) * 2 ** (len(encoder["depths"]) - 1)


def check_encoder(encoder: dict[str, Any]) -> None:
    """Refuse an encoder that cannot be built, with the numbers that do not fit.

    Raises:
        UserError: An unknown family, lists of unequal length, an image that patches or windows do
            not divide, or a head dimension that is not a whole number.
    """
    family, size, patch = encoder["family"], encoder["image_size"], encoder["patch"]
    if family not in _NAMES:
        raise UserError(f"encoder.family: {family!r} is not one of {', '.join(sorted(_NAMES))}")
    depths, heads = encoder["depths"], encoder["heads"]
    if len(depths) != len(heads) or not 1 <= len(depths) <= (1 if family == "vit" else 4):
        expected = "one number each" if family == "vit" else "1 to 4 numbers each, equally many"
        raise UserError(f"encoder.depths {depths} and heads {heads}: {family} takes {expected}")
    if min([size, patch, encoder["width"], *depths, *heads]) < 1:
        raise UserError(f"encoder: sizes, depths and heads must be 1 or more, got {encoder}")
    if size % patch:
        raise UserError(
            f"encoder.image_size {size} is not divisible by encoder.patch {patch}; "
            f"use {size // patch * patch or patch} or {(size // patch + 1) * patch}"
        )
    for width, count in zip(widths(encoder), heads, strict=True):
        if width % count:
            raise UserError(
                f"encoder: a stage of width {width} with {count} heads has a head dimension of "
                f"{width / count:g}; the width must be a multiple of the heads"
            )
    if family == "vit" and encoder["width"] % 4:
        raise UserError(
            f"encoder.width {encoder['width']}: the fixed position table needs a multiple of 4"
        )
    if family != "vit":
        _check_windows(encoder)


def _check_windows(encoder: dict[str, Any]) -> None:
    size, window, step = encoder["image_size"], encoder["window"], stride(encoder)
    if not isinstance(window, int) or window < 1:
        raise UserError(f"encoder.window: {encoder['family']} needs a whole number, got {window!r}")
    if size % step:
        raise UserError(
            f"encoder.image_size {size} with patch {encoder['patch']} and "
            f"{len(encoder['depths'])} stages must be a multiple of {step}"
        )
    for stage in range(len(encoder["depths"])):
        side = size // encoder["patch"] // 2**stage
        if side > window and side % window:
            raise UserError(
                f"encoder.window {window} does not divide stage {stage + 1}, which is {side} "
                f"tokens wide (image_size {size}, patch {encoder['patch']}); choose a divisor of "
                f"{side} or change image_size"
            )


def timm_architecture(encoder: dict[str, Any], channels: int) -> tuple[str, dict[str, Any]]:
    """The name and arguments with which `timm.create_model` builds an encoder without a head.

    Args:
        encoder: The recipe's `encoder`: family, image_size, patch, width, depths, heads,
            mlp_ratio, window (null for a ViT) and, optionally, gated.
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
        return _NAMES[encoder["family"]], kwargs | lists | {"window_size": encoder["window"]}
    kwargs |= {"depth": encoder["depths"][0], "num_heads": encoder["heads"][0]}
    if not encoder.get("gated", False):
        return _NAMES["vit"], kwargs
    # timm packs gate and value into one matrix of twice the hidden width and truncates
    # width × ratio: the half keeps 30719.99… from losing a channel.
    hidden = round(encoder["width"] * encoder["mlp_ratio"])
    ratio = (2 * hidden + 0.5) / encoder["width"]
    # timm drops arguments that are None, and 0 also means no layer scale.
    return _GATED_VIT, kwargs | {"mlp_ratio": ratio, "init_values": 0.0}


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
