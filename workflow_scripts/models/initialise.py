"""Initial weights that depend on the seed and on each parameter's name, and on nothing else.

Every parameter is drawn by a generator of its own, seeded from (seed, crc32 of its name). The
order of construction, the other parameters, the device, the strategy and the number of ranks
cannot change it. A parameter that no rule names is an error: nothing keeps a value by chance.
"""

import math
import zlib
from collections.abc import Callable
from typing import Any

import torch
from timm.layers import LayerScale
from timm.models.swin_transformer_v2 import SwinTransformerV2Block
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from workflow_scripts.models.positions import position_table
from workflow_scripts.models.start import Start

TOKEN_STD = 0.02  # of tokens (MAE) and, in Swin, of linear layers and relative position tables
LOGIT_SCALE = math.log(10)  # SwinV2, arXiv 2111.09883
_BARE = {"cls_token", "mask_token", "pos_embed", "relative_position_bias_table"}
_BARE |= {"logit_scale", "q_bias", "v_bias"}
_BARE |= {"dist_token", "reg_token"}  # of weights from elsewhere

Place = Callable[[nn.Parameter, Tensor], Any]


def _generator(seed: int, name: str) -> torch.Generator:
    # PyTorch's CPU generator keeps only the lower 32 bits of what it is given, so the seed must
    # not sit above them; an odd factor spreads it over all of them.
    return torch.Generator("cpu").manual_seed(
        (zlib.crc32(name.encode()) + seed * 0x9E3779B1) % 2**32
    )


def _uniform(shape: torch.Size, bound: float, generator: torch.Generator) -> Tensor:
    return torch.empty(shape, device="cpu").uniform_(-bound, bound, generator=generator)


def _normal(shape: torch.Size, generator: torch.Generator) -> Tensor:
    # The references truncate at 2, a hundred standard deviations away: the plain normal.
    return torch.empty(shape, device="cpu").normal_(0.0, TOKEN_STD, generator=generator)


def _bare(leaf: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """A parameter that belongs to no linear, convolution or normalisation layer."""
    if leaf == "pos_embed":
        tokens, width = shape[-2], shape[-1]
        side = math.isqrt(tokens)
        # Class token and registers stand before the patches, and have no place.
        before = torch.zeros(tokens - side * side, width, device="cpu")
        patches = position_table(width, side, class_token=False)
        return torch.cat([before, patches]).reshape(shape)
    if leaf == "logit_scale":
        return torch.full(shape, LOGIT_SCALE, device="cpu")
    if leaf in {"q_bias", "v_bias"}:
        return torch.zeros(shape, device="cpu")
    return _normal(shape, generator)


def _convolution(owner: nn.Conv2d, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """PyTorch's default of a convolution: weight and bias uniform in ±1/√fan_in."""
    fan_in = owner.in_channels * owner.kernel_size[0] * owner.kernel_size[1]
    return _uniform(shape, 1 / math.sqrt(fan_in), generator)


def _matrix(shape: torch.Size, generator: torch.Generator, *, xavier: bool) -> Tensor:
    if not xavier:
        return _normal(shape, generator)
    # qkv counts as one matrix, a patch embedding as its flattened view, as in MAE's code.
    rows, columns = shape[0], math.prod(shape[1:])
    return _uniform(shape, math.sqrt(6 / (rows + columns)), generator)


def _zero_norms(module: nn.Module) -> set[int]:
    """The norms of SwinV2 blocks, which start at weight zero (residual post-norm)."""
    blocks = [m for m in module.modules() if isinstance(m, SwinTransformerV2Block)]
    return {id(norm) for block in blocks for norm in (block.norm1, block.norm2)}


def initialise(
    module: nn.Module,
    seed: int,
    *,
    prefix: str = "",
    place: Place | None = None,
    start: Start | None = None,
) -> None:
    """Fill every parameter and recompute every non-persistent buffer of a module.

    With a ViT in it, linear layers and the patch embedding are Xavier-uniform (arXiv 2111.06377);
    else linear layers are normal with deviation 0.02 (Swin, arXiv 2103.14030). Biases of linear
    layers are zero, convolutions otherwise PyTorch's default, norms one and zero, tokens normal
    with deviation 0.02, SwinV2's block norms zero, layer scales as they were built.

    Args:
        module: On any device that holds data; not on "meta" (call `to_empty` first).
        seed: The run's seed.
        prefix: Put before each name, for a module that is a part of another in a run.
        place: How a value (float32, CPU, full shape) gets into its parameter; by default a copy.
            A caller with sharded parameters hands in how to cut the value.
        start: Weights that stand in place of the seed's, for the parameters it has.

    Raises:
        RuntimeError: A parameter has no rule or no memory (errors in the code that calls this).
    """
    xavier = any(isinstance(m, VisionTransformer) for m in module.modules())
    zero_norms = _zero_norms(module)
    with torch.no_grad():
        for path, owner in module.named_modules():
            for leaf, parameter in owner.named_parameters(recurse=False):
                name = prefix + (f"{path}.{leaf}" if path else leaf)
                if parameter.is_meta:
                    raise RuntimeError(f"{name} is on meta and cannot be filled: use to_empty")
                value = _value(owner, leaf, parameter.shape, _generator(seed, name), xavier=xavier)
                if value is None:
                    raise RuntimeError(f"no rule to initialise {name} of {type(owner).__name__}")
                if id(owner) in zero_norms:
                    value = torch.zeros_like(value)
                given = start.value(name) if start else None
                value = value if given is None else given
                (place or nn.Parameter.copy_)(parameter, value)
        for owner in module.modules():
            refill = getattr(owner, "init_non_persistent_buffers", None)
            if refill is not None:
                refill()


def _value(
    owner: nn.Module, leaf: str, shape: torch.Size, generator: torch.Generator, *, xavier: bool
) -> Tensor | None:
    if leaf in _BARE:
        return _bare(leaf, shape, generator)
    if isinstance(owner, nn.Linear):
        if leaf == "bias":
            return torch.zeros(shape, device="cpu")
        return _matrix(shape, generator, xavier=xavier)
    if isinstance(owner, nn.Conv2d):
        if leaf == "weight" and xavier:
            return _matrix(shape, generator, xavier=True)
        return _convolution(owner, shape, generator)
    if isinstance(owner, nn.LayerNorm):
        return torch.full(shape, 0.0 if leaf == "bias" else 1.0, device="cpu")
    if isinstance(owner, LayerScale):
        return torch.full(shape, float(owner.init_values), device="cpu")
    return None
