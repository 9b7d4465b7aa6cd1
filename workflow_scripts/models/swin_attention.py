"""Window attention of SwinV2 (arXiv 2111.09883) in fewer passes over memory.

timm's blocks stay what they are, with their parameters, names and buffers; only how a block's
attention is computed differs. timm cuts the map into windows, projects, splits into heads, and
puts the outcome of each small step into memory. Here the projections, which look at one token at a
time, run on the map; windows and heads are cut in one copy and put together in one; scale and bias
go into the product of queries and keys.

On a CPU, not compiled, this has a backward pass of its own, because PyTorch's fused attention
there gives the bias no gradient. Elsewhere, and on a CPU in bfloat16, it is
`scaled_dot_product_attention` with the bias as its mask: queries and keys are normalised and scaled
in float32 and rounded to bfloat16 before their product, whose sum and softmax are float32. timm
rounds the cosine itself, which the scale then multiplies by up to 100.
"""

import math
from typing import Any

import torch
from timm.models.swin_transformer_v2 import SwinTransformerV2Block, WindowAttention
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

from workflow_scripts.models.linear import linear
from workflow_scripts.models.swinv2_extra_norm import ExtraNormBlock

_LARGEST_SCALE = math.log(100)  # of the paper: cosines are multiplied by 100 at most
_SMALLEST_NORM = 1e-12  # as in torch.nn.functional.normalize
_LARGEST_BIAS = 16.0  # of the paper: 16 · sigmoid

Window = tuple[int, int]


def cut(x: Tensor, window: Window, heads: int, parts: int) -> Tensor:
    """A map (B, H, W, parts · heads · d) by windows and heads: (parts, B, windows, heads, N, d)."""
    (b, h, w, _), (rows, columns) = x.shape, window
    x = x.reshape(b, h // rows, rows, w // columns, columns, parts, heads, -1)
    x = x.permute(5, 0, 1, 3, 6, 2, 4, 7).clone(memory_format=torch.contiguous_format)
    return x.view(parts, b, -1, heads, rows * columns, x.shape[-1])


def joined(x: Tensor, window: Window, size: tuple[int, int]) -> Tensor:
    """The inverse of `cut`, for a map of height and width `size`."""
    (parts, b, _, heads, _, d), (rows, columns), (h, w) = x.shape, window, size
    x = x.view(parts, b, h // rows, w // columns, heads, rows, columns, d)
    return x.permute(1, 2, 5, 3, 6, 0, 4, 7).reshape(b, h, w, parts * heads * d)


class _Attention(torch.autograd.Function):
    """softmax(scale·cosine(q, k) + bias)·v by windows, from the projected map to a map."""

    @staticmethod
    def forward(
        ctx: Any, qkv: Tensor, bias: Tensor, scale: Tensor, heads: int, window: Window
    ) -> Tensor:
        """From (B, H, W, 3 · heads · d), bias (1 or windows, heads, N, N) and scale (heads,)."""
        parts = cut(qkv, window, heads, 3)
        norms = torch.linalg.vector_norm(parts[:2], dim=-1, keepdim=True)
        factor = norms.clamp_(min=_SMALLEST_NORM).reciprocal_()
        factor[0] *= scale.view(-1, 1, 1)
        parts[:2] *= factor
        q, k, v = parts.flatten(1, 3).unbind()
        scores = qkv.new_empty(*parts.shape[1:5], parts.shape[4]).copy_(bias)
        attended = torch.softmax(scores.flatten(0, 2).baddbmm_(q, k.mT), dim=-1)
        ctx.save_for_backward(parts, attended, factor, scale)
        ctx.of = (heads, window, bias.shape)
        return joined(
            torch.bmm(attended, v).view_as(parts[:1]), window, (qkv.shape[1], qkv.shape[2])
        )

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        """Gradients of the map, the bias and the scale."""
        parts, attended, factor, scale = ctx.saved_tensors
        heads, window, bias_shape = ctx.of
        q, k, v = parts.flatten(1, 3).unbind()
        of_out = cut(gradient, window, heads, 1).flatten(0, 3)
        of_parts = torch.empty_like(parts)
        of_q, of_k, of_v = of_parts.flatten(1, 3).unbind()
        torch.bmm(attended.mT, of_out, out=of_v)
        of_scores = torch.ops.aten._softmax_backward_data(
            torch.bmm(of_out, v.mT), attended, -1, attended.dtype
        )
        torch.bmm(of_scores, k, out=of_q)
        torch.bmm(of_scores.mT, q, out=of_k)
        of_bias = of_scores.view(-1, *bias_shape).sum(0)
        of_scale = _through_norms(of_parts[:2], parts[:2], factor, scale)
        of_qkv = joined(of_parts, window, (gradient.shape[1], gradient.shape[2]))
        return of_qkv, of_bias, of_scale, None, None


def _through_norms(gradient: Tensor, scaled: Tensor, factor: Tensor, scale: Tensor) -> Tensor:
    """Turn gradients of scaled unit vectors s·x/|x|, in place, into those of x.

    With u = s·x/|x| the gradient of x is factor · (g − u (u·g) / s²), factor being s/|x|.

    Args:
        gradient: (2, B, windows, heads, N, d), of queries and keys.
        scaled: Likewise, u.
        factor: (2, B, windows, heads, N, 1).
        scale: (heads,) of the queries; that of keys is 1.

    Returns:
        The gradient of the scale, (heads,).
    """
    along = (gradient * scaled).sum(-1, keepdim=True)
    # Many terms that nearly cancel.
    of_scale = along[0].sum(dim=(0, 1, 3, 4), dtype=torch.float64).to(scale.dtype) / scale
    along[0] /= scale.view(-1, 1, 1).square()
    gradient.addcmul_(scaled, along, value=-1).mul_(factor)
    return of_scale


def attention(qkv: Tensor, bias: Tensor, scale: Tensor, *, heads: int, window: Window) -> Tensor:
    """softmax(scale·cosine(q, k) + bias)·v in each window of a map.

    Args:
        qkv: (B, H, W, 3 · heads · d), the window dividing H and W.
        bias: (1 or windows, heads, N, N), N tokens a window.
        scale: (heads,) by which cosines are multiplied.
        heads: Number of heads.
        window: Its height and width.

    Returns:
        (B, H, W, heads · d).
    """
    size = (qkv.shape[1], qkv.shape[2])
    on_cpu = qkv.device.type == "cpu" and qkv.dtype in (torch.float32, torch.float64)
    if on_cpu and not torch.compiler.is_compiling():
        out: Tensor = _Attention.apply(qkv, bias, scale, heads, window)
        return out
    q, k, v = cut(qkv, window, heads, 3)
    windows = v.shape[1]
    q = functional.normalize(_full(q), dim=-1) * scale.view(-1, 1, 1)
    k = functional.normalize(_full(k), dim=-1)
    # Windows count as heads, so that the bias is the same for each sample and not copied.
    mask = bias.to(v.dtype).expand(windows, -1, -1, -1).flatten(0, 1)
    q, k, v = (part.to(v.dtype).flatten(1, 2) for part in (q, k, v))
    attended = functional.scaled_dot_product_attention(q, k, v, attn_mask=mask, scale=1.0)
    return joined(attended.view(1, len(qkv), windows, heads, *v.shape[2:]), window, size)


def _full(x: Tensor) -> Tensor:
    """Values in float32, or what they are if that is longer."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def _by_pairs(table: Tensor, index: Tensor, shifted: Tensor | None) -> Tensor:
    """Bias (1 or windows, heads, N, N) from its table (distances, heads) and the shift's mask."""
    bias = table.t()[:, index].unsqueeze(0)
    return bias if shifted is None else bias + shifted.unsqueeze(1)


class _MapAttention(WindowAttention):
    """SwinV2's attention, given the map instead of its windows."""

    # Any: timm's class declares its buffers as what they are before they are filled.
    def forward(self: Any, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, H, W, C) to the same; mask (windows, N, N)."""
        bias = torch.cat((self.q_bias, self.k_bias.to(self.q_bias.dtype), self.v_bias))
        qkv = linear(x, self.qkv.weight, bias)
        table = self.cpb_mlp(self.relative_coords_table).view(-1, self.num_heads)
        table = _LARGEST_BIAS * torch.sigmoid(_full(table))
        scale = _full(self.logit_scale).clamp(max=_LARGEST_SCALE).exp().flatten()
        out = attention(
            qkv, _by_pairs(table, self.relative_position_index, mask), scale,
            heads=self.num_heads, window=self.window_size,
        )  # fmt: skip
        return self.proj(out)


class _OnTheMap:
    """A block of SwinV2 whose attention takes the map."""

    def _attn(self: Any, x: Tensor) -> Tensor:
        """(B, H, W, C) to the same, with the cyclic shift of every other block."""
        rows, columns = self.shift_size
        if not rows and not columns:
            return self.attn(x)
        x = self.attn(torch.roll(x, (-rows, -columns), (1, 2)), self.attn_mask)
        return torch.roll(x, (rows, columns), (1, 2))


class _Block(_OnTheMap, SwinTransformerV2Block):
    pass


class _ExtraNormBlock(_OnTheMap, ExtraNormBlock):
    pass


_OURS: dict[type, type] = {SwinTransformerV2Block: _Block, ExtraNormBlock: _ExtraNormBlock}


def use_window_attention(module: nn.Module) -> None:
    """Let the SwinV2 blocks of a module attend as above; parameters and names stay.

    Blocks whose map the window does not divide (timm pads it) stay as they are.
    """
    block: Any
    for block in module.modules():
        if type(block) not in _OURS:
            continue
        sizes = zip(block.input_resolution, block.window_size, strict=True)
        if all(size % window == 0 for size, window in sizes):
            block.__class__, block.attn.__class__ = _OURS[type(block)], _MapAttention
