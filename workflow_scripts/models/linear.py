"""Linear layers whose float32 products on a CPU are oneDNN's.

PyTorch hands float32 products to MKL, which on AMD processors of today takes half the width of
the vector units: oneDNN, which PyTorch brings along for convolutions and bfloat16, is 2.2 times
as fast there and as fast elsewhere (docs/training-speed.md has the figures). Only where a product
is computed changes: parameters, names and initial weights are those of `nn.Linear`, results differ
by the order of summation.
"""

import platform
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional

_X86 = platform.machine() in {"x86_64", "AMD64"}
# Not of PyTorch's public interface: where a version or a build lacks it, nothing but speed is lost.
_POINTWISE: Any = getattr(torch.ops.mkldnn, "_linear_pointwise", None)


def _product(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """Of x (M, K), weight (N, K) and bias (N,), of any strides: x · weightᵀ + bias."""
    out: Tensor = _POINTWISE(x, weight, bias, "none", [], "")
    return out


class _Linear(torch.autograd.Function):
    """`functional.linear` of a matrix by oneDNN, forward and backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(x, weight)
        return _product(x, weight, bias)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight = ctx.saved_tensors
        needs_x, needs_weight, needs_bias = ctx.needs_input_grad
        of_x = _product(gradient, weight.t()) if needs_x else None
        of_weight = _weight_gradient(gradient, x) if needs_weight else None
        return of_x, of_weight, gradient.sum(0) if needs_bias else None


def _weight_gradient(gradient: Tensor, x: Tensor) -> Tensor:
    """Of gradient (M, N) and x (M, K): gradientᵀ · x."""
    (rows, n), k = gradient.shape, x.shape[1]
    # oneDNN cuts the work by rows of the outcome: few columns out of many samples run at half
    # speed, so such an outcome is computed turned; the copy that turns it back is small beside it.
    if n > k and rows > 4 * n:
        return _product(x.t(), gradient.t()).t()
    return _product(gradient.t(), x.t())


def _is_onednns(x: Tensor, weight: Tensor) -> bool:
    return (
        _X86
        and _POINTWISE is not None
        and x.device.type == "cpu"
        and x.dtype == weight.dtype == torch.float32
        and not torch.compiler.is_compiling()
        and not torch.is_autocast_enabled("cpu")
        and torch.backends.mkldnn.is_available()
        and bool(torch.backends.mkldnn.enabled)
        and x.numel() > 0
        and x.ndim > 1
    )


def linear(x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Tensor:
    """`functional.linear`, by oneDNN where tensors are float32 and on a CPU.

    What oneDNN computes can be differentiated once, by `backward` or `autograd.grad`.

    Args:
        x: (…, K).
        weight: (N, K).
        bias: (N,) or None.

    Returns:
        (…, N).
    """
    if _is_onednns(x, weight):
        out: Tensor = _Linear.apply(x.flatten(0, -2), weight, bias)
        return out.unflatten(0, x.shape[:-1])
    return functional.linear(x, weight, bias)


class Linear(nn.Linear):
    """`nn.Linear` with `linear` in it."""

    def forward(self, input: Tensor) -> Tensor:
        """As `nn.Linear`."""
        return linear(input, self.weight, self.bias)


def use_linear(module: nn.Module) -> None:
    """Turn every plain `nn.Linear` of a module into a `Linear`, parameters and names kept."""
    for part in module.modules():
        if type(part) is nn.Linear:
            part.__class__ = Linear
