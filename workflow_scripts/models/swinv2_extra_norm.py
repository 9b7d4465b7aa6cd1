"""timm's Swin V2 with extra norms on the main branch; importing this registers it with timm.

Liu et al. (arXiv 2111.09883, section 3.6) add "an additional layer normalization layer on the
main branch every 6 layers" to their H and G models. The code they published stops at L and has
none. Where the norms sit is therefore taken from NASA's SatVision-TOA (nasa-nccs-hpda/
pytorch-caney, models/encoders/swinv2.py): `norm3` of a block, after the residual of its MLP, in
the blocks whose number within their stage (from 1) is a multiple of the period; weight one, bias
zero at the start. That the count starts anew with each stage is theirs; the paper does not say.

    import timm, swinv2_extra_norm
    model = timm.create_model("orbweaver_swinv2_extra_norm", extra_norm_period=6, ...)

The file needs nothing else of this package, so that it can be laid beside exported weights.
"""

from typing import Any

from timm.models import build_model_with_cfg, generate_default_cfgs, register_model
from timm.models.swin_transformer_v2 import (
    SwinTransformerV2,
    SwinTransformerV2Block,
    checkpoint_filter_fn,
)
from torch import Tensor, nn

NAME = "orbweaver_swinv2_extra_norm"

default_cfgs = generate_default_cfgs(
    {NAME: {"first_conv": "patch_embed.proj", "classifier": "head.fc", "fixed_input_size": True}}
)


class ExtraNormBlock(SwinTransformerV2Block):
    """A block of Swin V2 and, behind it, a norm on the main branch."""

    norm3: nn.LayerNorm

    def forward(self, x: Tensor) -> Tensor:
        """Tokens (B, h, w, D) to tokens of the same shape."""
        normed: Tensor = self.norm3(super().forward(x))
        return normed


class SwinTransformerV2ExtraNorm(SwinTransformerV2):
    """timm's `SwinTransformerV2` with a norm after every so many blocks of a stage.

    Args:
        extra_norm_period: Blocks from one extra norm to the next, counted in each stage.
        **kwargs: As of `SwinTransformerV2`.
    """

    def __init__(self, *, extra_norm_period: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        norm_layer = kwargs.get("norm_layer", nn.LayerNorm)
        where = {key: kwargs.get(key) for key in ("device", "dtype")}
        for stage in self.layers:
            blocks: Any = stage.blocks
            for block in blocks[extra_norm_period - 1 :: extra_norm_period]:
                # timm's stages make their blocks themselves and take no class for them.
                block.__class__ = ExtraNormBlock
                block.norm3 = norm_layer(block.dim, **where)


@register_model
def orbweaver_swinv2_extra_norm(pretrained: bool = False, **kwargs: Any) -> nn.Module:
    """Built by `timm.create_model`; there are no weights to download."""
    stages = len(kwargs.get("depths", (1, 1, 1, 1)))
    model: nn.Module = build_model_with_cfg(
        SwinTransformerV2ExtraNorm, NAME, pretrained,
        pretrained_filter_fn=checkpoint_filter_fn,
        feature_cfg={"flatten_sequential": True, "out_indices": tuple(range(stages))},
        **kwargs,
    )  # fmt: skip
    return model
