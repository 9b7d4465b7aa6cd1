"""An encoder's numbers and whether they fit together; without torch, for the configuration too.

A recipe's `encoder` is plain: family (`vit`, `swin`, `swinv2`), image_size and patch in pixels,
width (of the first stage), depths and heads (one number a stage; a ViT has one stage), mlp_ratio,
window in tokens (null for a ViT). Two keys stand only where they are not the default: `gated`
(ViT: an MLP of three matrices) and `extra_norm_period` (Swin V2: a norm on the main branch after
every so many blocks of a stage).
"""

import math
from typing import Any

from workflow_scripts.errors import UserError

FAMILIES = ("swin", "swinv2", "vit")
ALIGNED = 8  # fast attention kernels take head dimensions that are multiples of it


def widths(encoder: dict[str, Any]) -> list[int]:
    """Channels of each stage (one stage for a ViT)."""
    return [encoder["width"] * 2**i for i in range(len(encoder["depths"]))]


def stride(encoder: dict[str, Any]) -> int:
    """Pixels on a side of what one token of the last stage stands for."""
    return int(encoder["patch"]) * 2 ** (len(encoder["depths"]) - 1)


def patches_kept(encoder: dict[str, Any], ratio: float) -> int:
    """Patches of an image that MAE's mask leaves (arXiv 2111.06377, as its code rounds).

    Raises:
        UserError: None would stay, or all.
    """
    count = (encoder["image_size"] // encoder["patch"]) ** 2
    kept = int(count * (1 - ratio))
    if not 0 < kept < count:
        raise UserError(
            f"mask.ratio {ratio} keeps {kept} of {count} patches; "
            "at least one must stay and one must go"
        )
    return kept


def cells_masked(encoder: dict[str, Any], cell: int, ratio: float) -> int:
    """Cells of an image that SimMIM's mask hides (arXiv 2111.09886, as its code rounds).

    Args:
        encoder: Uses `image_size`, pixels.
        cell: Pixels on a side of a cell.
        ratio: Share of them.

    Raises:
        UserError: None would stay, or all.
    """
    count = (encoder["image_size"] // cell) ** 2
    masked = math.ceil(count * ratio)
    if not 0 < masked < count:
        raise UserError(
            f"mask.ratio {ratio} masks {masked} of {count} cells; "
            "at least one must stay and one must go"
        )
    return masked


def odd_heads(encoder: dict[str, Any]) -> str | None:
    """What is slow, though possible, about a ViT's head dimension; None if nothing is."""
    if encoder["family"] != "vit":  # windows are attended to without such kernels
        return None
    width, heads = encoder["width"], encoder["heads"][0]
    if width // heads % ALIGNED == 0:
        return None
    return (
        f"encoder: width {width} with {heads} heads has a head dimension of {width // heads}, no "
        f"multiple of {ALIGNED}: fast attention kernels pad it or leave it to slower ones"
    )


def check_encoder(encoder: dict[str, Any]) -> None:
    """Refuse an encoder that cannot be built, with the numbers that do not fit.

    Raises:
        UserError: An unknown family, lists of unequal length, an image that patches or windows do
            not divide, a head dimension that is not a whole number, or a key of another family.
    """
    family, size, patch = encoder["family"], encoder["image_size"], encoder["patch"]
    if family not in FAMILIES:
        raise UserError(f"encoder.family: {family!r} is not one of {', '.join(FAMILIES)}")
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
    _check_options(encoder)


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


def _check_options(encoder: dict[str, Any]) -> None:
    family, period = encoder["family"], encoder.get("extra_norm_period")
    if encoder.get("gated", False) and family != "vit":
        raise UserError(f"encoder.gated: {family} has no gated MLP; only vit has")
    if period is None:
        return
    if family != "swinv2":
        raise UserError(f"encoder.extra_norm_period: {family} has no extra norms; only swinv2 has")
    deepest = max(encoder["depths"])
    if not isinstance(period, int) or not 1 <= period <= deepest:
        raise UserError(
            f"encoder.extra_norm_period {period}: the deepest stage has {deepest} blocks, so it "
            f"must be a whole number from 1 to {deepest}; leave it out for no extra norm"
        )
