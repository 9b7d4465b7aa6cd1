"""Hugging Face transformers' MAE and SwinV2 SimMIM with our weights, for `train_step.py` and tests.

`vit_mae` and `swinv2` build the peer of a recipe; `copy_weights` gives it an objective's weights
by an explicit table of names; `as_ours` brings its gradients back under our names. Two linear
layers of the peer may be one of ours (query, key, value): their rows follow one another.

A table names every parameter that the peer trains, exactly once, and every parameter of ours:
anything else is an error. The peer's position tables come from its own function, not from ours.
"""

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from transformers import (
    Swinv2Config,
    Swinv2ForMaskedImageModeling,
    ViTMAEConfig,
    ViTMAEForPreTraining,
)
from transformers.models.vit_mae.modeling_vit_mae import build_2d_sinusoidal_position_embedding

from workflow_scripts.models.encoders import stride
from workflow_scripts.objectives.mae import DECODER_MLP_RATIO, Mae
from workflow_scripts.objectives.simmim import Simmim, enlarge

Names = dict[str, tuple[str, ...]]  # ours: the peer's, whose rows make up ours

_VIT_LAYERS = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "attn.proj": "attention.o_proj",
    "mlp.fc1": "mlp.fc1", "mlp.fc2": "mlp.fc2",
}  # fmt: skip
_SWIN_LAYERS = {
    "norm1": "layernorm_before", "norm2": "layernorm_after", "mlp.fc1": "intermediate.dense",
    "mlp.fc2": "output.dense", "attn.proj": "attention.output.dense",
}  # fmt: skip
_SWIN_ATTENTION = {
    "q_bias": "query.bias", "v_bias": "value.bias", "logit_scale": "logit_scale",
    "cpb_mlp.0.weight": "continuous_position_bias_mlp.0.weight",
    "cpb_mlp.0.bias": "continuous_position_bias_mlp.0.bias",
    "cpb_mlp.2.weight": "continuous_position_bias_mlp.2.weight",
}  # fmt: skip


def vit_mae(
    recipe: Mapping[str, Any], *, channels: int, attention: str = "sdpa"
) -> ViTMAEForPreTraining:
    """The peer of an `mae` recipe with a plain ViT; its norm_pix is joint or off.

    Args:
        recipe: Uses `encoder`, `decoder` and `mask` as our objective does.
        channels: Bands of the input.
        attention: The peer's way to attend: "sdpa" (its fastest on a CPU) or "eager".

    Raises:
        ValueError: A gated ViT or statistics per channel, which the peer does not have.
    """
    encoder, decoder, mask = recipe["encoder"], recipe["decoder"], recipe["mask"]
    if encoder.get("gated") or mask["norm_pix"] not in (False, True):
        raise ValueError(f"transformers' ViTMAE has no peer of {encoder} with {mask}")
    config = ViTMAEConfig(
        image_size=encoder["image_size"], patch_size=encoder["patch"], num_channels=channels,
        hidden_size=encoder["width"], num_hidden_layers=encoder["depths"][0],
        num_attention_heads=encoder["heads"][0], layer_norm_eps=1e-6,
        intermediate_size=int(encoder["width"] * encoder["mlp_ratio"]),
        decoder_hidden_size=decoder["width"], decoder_num_hidden_layers=decoder["depth"],
        decoder_num_attention_heads=decoder["heads"],
        decoder_intermediate_size=int(decoder["width"] * DECODER_MLP_RATIO),
        mask_ratio=mask["ratio"], norm_pix_loss=mask["norm_pix"], attn_implementation=attention,
    )  # fmt: skip
    peer = ViTMAEForPreTraining(config)
    _fill_positions(peer.vit.embeddings.position_embeddings)
    _fill_positions(peer.decoder.decoder_pos_embed)
    return peer


def _fill_positions(table: nn.Parameter) -> None:
    # In transformers 5.23 a model made from a configuration, not from a checkpoint, is left with
    # tables of zeros. Its function gives [row | column], its checkpoints hold [column | row].
    side, width = math.isqrt(table.shape[1] - 1), table.shape[2]
    own = build_2d_sinusoidal_position_embedding(side, side, embed_dim=width, cls_token=True)
    table.data.copy_(own.roll(width // 2, dims=1))


def swinv2(recipe: Mapping[str, Any], *, channels: int) -> Swinv2ForMaskedImageModeling:
    """The peer of a `simmim` recipe with a SwinV2 and the pixelshuffle decoder.

    Raises:
        ValueError: Another family or decoder.
    """
    encoder, kind = recipe["encoder"], recipe["decoder"]["kind"]
    if encoder["family"] != "swinv2" or kind != "pixelshuffle":
        raise ValueError(f"transformers' Swinv2 has no peer of {encoder['family']} with {kind}")
    config = Swinv2Config(
        image_size=encoder["image_size"], patch_size=encoder["patch"], num_channels=channels,
        embed_dim=encoder["width"], depths=list(encoder["depths"]),
        num_heads=list(encoder["heads"]), window_size=encoder["window"],
        mlp_ratio=encoder["mlp_ratio"], drop_path_rate=0.0, encoder_stride=stride(dict(encoder)),
    )  # fmt: skip
    return Swinv2ForMaskedImageModeling(config)


def swinv2_mask(objective: Simmim, noise: Tensor) -> Tensor:
    """`bool_masked_pos` of the peer, bool (B, patches), where ours masks with this noise."""
    return enlarge(objective.mask_cells(noise), objective.cell // objective.patch).flatten(1)


def _both(ours: str, peers: tuple[str, ...], leaves: tuple[str, ...]) -> Names:
    return {f"{ours}.{leaf}": tuple(f"{peer}.{leaf}" for peer in peers) for leaf in leaves}


def _layer(ours: str, *peers: str) -> Names:
    return _both(ours, peers, ("weight", "bias"))


def _vit_block(ours: str, peer: str) -> Names:
    attention = (f"{peer}.attention.{part}_proj" for part in "qkv")
    names = _layer(f"{ours}.attn.qkv", *attention)
    for a, b in _VIT_LAYERS.items():
        names |= _layer(f"{ours}.{a}", f"{peer}.{b}")
    return names


def mae_names(objective: Mae) -> Names:
    """Our names of an MAE and the peer's."""
    names: Names = {
        "encoder.cls_token": ("vit.embeddings.cls_token",),
        "mask_token": ("decoder.mask_token",),
    }
    names |= _layer("encoder.patch_embed.proj", "vit.embeddings.patch_embeddings.projection")
    names |= _layer("encoder.norm", "vit.layernorm")
    for part in ("embed", "norm", "pred"):
        names |= _layer(f"decoder_{part}", f"decoder.decoder_{part}")
    for i in range(len(objective.encoder.blocks)):
        names |= _vit_block(f"encoder.blocks.{i}", f"vit.layers.{i}")
    for i in range(len(objective.decoder_blocks)):
        names |= _vit_block(f"decoder_blocks.{i}", f"decoder.decoder_layers.{i}")
    return names


def _swin_block(ours: str, peer: str) -> Names:
    core = f"{peer}.attention.self"
    parts = tuple(f"{core}.{part}" for part in ("query", "key", "value"))
    names = _both(f"{ours}.attn.qkv", parts, ("weight",))
    for a, b in _SWIN_LAYERS.items():
        names |= _layer(f"{ours}.{a}", f"{peer}.{b}")
    return names | {f"{ours}.attn.{a}": (f"{core}.{b}",) for a, b in _SWIN_ATTENTION.items()}


def swinv2_names(objective: Simmim) -> Names:
    """Our names of a SimMIM over SwinV2 and the peer's."""
    names: Names = {"mask_token": ("swinv2.embeddings.mask_token",)}
    names |= _layer("encoder.patch_embed.proj", "swinv2.embeddings.patch_embeddings.projection")
    names |= _layer("encoder.patch_embed.norm", "swinv2.embeddings.norm")
    names |= _layer("encoder.norm", "swinv2.layernorm")
    names |= _layer("decoder.0", "decoder.0")
    for i, stage in enumerate(objective.encoder.layers):
        peer = f"swinv2.encoder.layers.{i}"
        for j in range(len(stage.blocks)):
            names |= _swin_block(f"encoder.layers.{i}.blocks.{j}", f"{peer}.blocks.{j}")
        if i:  # the peer counts a patch merging to the stage before it
            before, ours = f"swinv2.encoder.layers.{i - 1}.downsample", f"encoder.layers.{i}"
            names |= _layer(f"{ours}.downsample.norm", f"{before}.norm")
            names |= _both(f"{ours}.downsample.reduction", (f"{before}.reduction",), ("weight",))
    return names


def copy_weights(objective: nn.Module, peer: nn.Module, names: Names) -> None:
    """Give the peer an objective's weights.

    Raises:
        ValueError: A parameter of either that the table does not name, or a name without one.
    """
    ours = dict(objective.named_parameters())
    theirs = {name: p for name, p in peer.named_parameters() if p.requires_grad}
    listed = [name for parts in names.values() for name in parts]
    wrong = (ours.keys() ^ names.keys()) | (theirs.keys() ^ set(listed))
    if wrong or len(listed) != len(set(listed)):
        raise ValueError(f"the table of names and the two models do not agree on {sorted(wrong)}")
    with torch.no_grad():
        for name, parts in names.items():
            sizes = [_rows(theirs[part], len(parts)) for part in parts]
            for part, rows in zip(parts, ours[name].split(sizes), strict=True):
                theirs[part].copy_(rows.reshape(theirs[part].shape))


def _rows(parameter: Tensor, parts: int) -> int:
    # A token of shape (1, 1, D) is a vector (D,) with us.
    return parameter.numel() if parts == 1 and parameter.shape[0] == 1 else parameter.shape[0]


def as_ours(objective: nn.Module, peer: nn.Module, names: Names) -> dict[str, Tensor]:
    """The peer's gradients under our names and in our shapes."""
    theirs = dict(peer.named_parameters())
    shapes = {name: p.shape for name, p in objective.named_parameters()}
    return {
        name: torch.cat([_gradient(theirs[part]).flatten() for part in parts]).view(shapes[name])
        for name, parts in names.items()
    }


def _gradient(parameter: nn.Parameter) -> Tensor:
    if parameter.grad is None:
        raise ValueError("the peer has no gradients yet: call backward on its loss")
    return parameter.grad
