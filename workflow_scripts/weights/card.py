"""The model card (`model.json`) of pretrained weights from elsewhere."""

import difflib
from typing import Any

import timm
from timm.layers import GluMlp, PatchEmbed, SwiGLU
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vision_transformer import VisionTransformer
from torch import nn

from workflow_scripts.errors import UserError

_FAMILIES = {"vit": VisionTransformer, "swin": SwinTransformer, "swinv2": SwinTransformerV2}


def arguments(recipe: dict[str, Any]) -> dict[str, Any]:
    """What `timm.create_model` needs beside the name: plain JSON, without a head."""
    sizes = {"img_size": recipe["image_size"], "window_size": recipe["window"]}
    given = {name: value for name, value in sizes.items() if value is not None}
    return {"in_chans": recipe["channels"], "num_classes": 0, "drop_path_rate": 0.0, **given}


def build(recipe: dict[str, Any]) -> nn.Module:
    """The model of a recipe; honours a surrounding `torch.device`.

    Raises:
        UserError: timm has no such name, or cannot build it with these numbers.
    """
    name = recipe["architecture"]
    key = f"weights.{recipe['weights']}"
    if not timm.is_model(name):
        close = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=1)
        hint = f"; did you mean {close[0]!r}?" if close else ""
        raise UserError(f"{key}.architecture: timm has no {name!r}{hint}")
    try:
        model: nn.Module = timm.create_model(name, pretrained=False, **arguments(recipe))
    except (RuntimeError, AssertionError, TypeError, ValueError) as error:
        raise UserError(f"{key}: timm cannot build {name} as configured ({error})") from None
    return model


def encoder_of(model: Any, name: str) -> dict[str, Any]:
    """What a recipe's `encoder` would say of a timm model: family and numbers.

    Args:
        model: A timm model.
        name: Its architecture, for the error.

    Raises:
        UserError: It is no plain ViT, Swin or Swin V2.
    """
    family = next((key for key, kind in _FAMILIES.items() if isinstance(model, kind)), None)
    if family is None or not isinstance(model.patch_embed, PatchEmbed):
        raise UserError(
            f"architecture {name}: timm's {type(model).__name__} is no plain ViT, Swin or Swin V2"
        )
    stages = [model] if family == "vit" else list(model.layers)
    firsts = [stage.blocks[0] for stage in stages]
    width, mlp = model.embed_dim, firsts[0].mlp
    found = {
        "family": family,
        "image_size": int(model.patch_embed.img_size[0]),
        "patch": int(model.patch_embed.patch_size[0]),
        "width": int(width),
        "depths": [len(stage.blocks) for stage in stages],
        "heads": [int(block.attn.num_heads) for block in firsts],
        "mlp_ratio": mlp.fc2.in_features / width,
        # Later stages shrink theirs to their grid.
        "window": None if family == "vit" else int(firsts[0].window_size[0]),
    }
    gated = isinstance(mlp, GluMlp | SwiGLU)
    return found | ({"gated": True} if gated else {})


def model_card(
    recipe: dict[str, Any], model: nn.Module, pretrained: dict[str, Any]
) -> dict[str, Any]:
    """What `model.json` says: enough to build the encoder with timm and to feed it.

    Args:
        recipe: The recipe.
        model: What `build` made of it.
        pretrained: timm's `pretrained_cfg` of the architecture.
    """
    encoder = encoder_of(model, recipe["architecture"])
    mean = list(recipe["mean"] or pretrained["mean"])
    std = list(recipe["std"] or pretrained["std"])
    return {
        "architecture": recipe["architecture"],
        "kwargs": arguments(recipe),
        "requires": None,  # timm alone knows the name
        "family": encoder["family"],
        "image_size": encoder["image_size"],
        "channels": recipe["channels"],
        "normalisation": {
            "scale": recipe["scale"],
            "missing": mean if recipe["scale"] == "physical" else None,
            "mean": mean,
            "std": std,
            "clip": None,
        },
        "encoder": encoder,
        "licence": recipe["licence"] or pretrained.get("license") or None,
    }
