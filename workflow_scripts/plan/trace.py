"""One training step of a real objective on tensors without memory, and what it would hold.

The objective is built as a run builds it, then put on PyTorch's fake tensors: they have shapes,
types and an autograd graph, but no data. A forward and a backward pass of them makes and drops the
very tensors that a real step would, so what autograd saves is counted and not estimated.

The pass is cut into pieces where a block begins or ends: a strategy adds what it holds in each.
"""

import functools
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor, nn
from torch._subclasses import FakeTensorMode
from torch.nn import functional
from torch.overrides import TorchFunctionMode

from workflow_scripts.objectives.base import Objective
from workflow_scripts.plan.live import Bytes, Live
from workflow_scripts.pretrain.parallel.blocks import checkpointed

ROOT = -1  # the unit of all that belongs to no block

# What becomes of a gradient: it stays until the optimizer's step; it leaves when its block's
# backward pass ends (it is reduced and cut); or at once (it is added to one that is there).
Gradients = Literal["stay", "leave_with_block", "leave_at_once"]


@dataclass(frozen=True)
class Piece:
    """What was alive between two borders of blocks.

    Attributes:
        backward: Whether it belongs to the backward pass.
        unit: Number of the block, or ROOT between blocks.
        done: Blocks that had finished in this pass.
        start: At its beginning: the batch, and what autograd saved so far.
        peak: The most there was.
        end: At its end, before a finished block's gradients leave.
    """

    backward: bool
    unit: int
    done: int
    start: Bytes
    peak: Bytes
    end: Bytes


@dataclass(frozen=True, kw_only=True)
class How:
    """How a step is run.

    Attributes:
        batch: Samples that go through at a time on a rank.
        precision: `bf16` computes under autocast; `fp32`.
        parameters: Type of the parameters that the passes see.
        gpu: Whether autocast is that of GPUs.
        recompute: Whether a block keeps its input only (activation checkpointing).
        gradients: What becomes of them.
    """

    batch: int
    precision: str
    parameters: torch.dtype
    gpu: bool
    recompute: bool
    gradients: Gradients


def trace_step(build: Callable[[], Objective], *, side: int, how: How) -> list[Piece]:
    """The pieces of one forward and backward pass, in order.

    Args:
        build: Makes the objective on the meta device.
        side: Pixels on a side of them.
        how: How the step is run.
    """
    objective = build()
    with ExitStack() as stack:
        stack.enter_context(FakeTensorMode(allow_non_fake_inputs=True))
        objective.to_empty(device="cpu")
        for parameter in objective.parameters():
            parameter.data = parameter.data.to(how.parameters)
        live = Live([*objective.parameters(), *objective.buffers()])
        recorder = _Recorder(live, objective.wrap_blocks(), how.gradients)
        recorder.watch(objective)
        stack.enter_context(live)
        if how.recompute:
            if how.gpu:
                _take_along(objective.wrap_blocks())
            checkpointed(objective.wrap_blocks())
        if how.gpu:
            stack.enter_context(_GpuAutocast())
        batch = objective.blank_batch(how.batch, side, "cpu")  # alive to the end, as in a real step
        with torch.autocast("cpu", torch.bfloat16, enabled=how.precision == "bf16"):
            loss = objective(batch)["loss"]
        recorder.turn()
        loss.backward()
        recorder.cut(ROOT)
    return recorder.pieces


def _take_along(blocks: list[nn.Module]) -> None:
    """Autocast of GPUs in blocks that are computed again: no mode reaches into a backward pass."""

    def within(forward: Callable[..., Any], *args: Any) -> Any:
        with _GpuAutocast():
            return forward(*args)

    for block in blocks:
        block.forward = functools.partial(within, block.forward)


class _GpuAutocast(TorchFunctionMode):
    """Autocast of GPUs on fake CPU tensors: these are computed in float32 there, not on CPUs.

    From PyTorch's table of operations that autocast to float32 on CUDA, those that our models use.
    """

    _WIDE = frozenset(
        {functional.layer_norm, functional.softmax, torch.softmax, Tensor.softmax,
         functional.normalize, functional.cosine_similarity, Tensor.pow}
    )  # fmt: skip

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        if func in self._WIDE and torch.is_autocast_enabled("cpu"):
            args = tuple(_wide(value) for value in args)
            kwargs = {name: _wide(value) for name, value in kwargs.items()}
        return func(*args, **kwargs)


def _wide(value: Any) -> Any:
    return value.float() if isinstance(value, Tensor) and value.is_floating_point() else value


class _Recorder:
    """Cuts a pass into pieces by hooks on its blocks."""

    def __init__(self, live: Live, blocks: list[nn.Module], gradients: Gradients) -> None:
        self.live, self.blocks, self.gradients = live, blocks, gradients
        self.pieces: list[Piece] = []
        self.backward = False
        self._done = 0
        self._start = Bytes()

    def watch(self, objective: Objective) -> None:
        """Put the hooks on the blocks, and one that knows gradients on every parameter."""
        for unit, block in enumerate(self.blocks):
            block.register_forward_pre_hook(lambda *_: self.cut(ROOT))
            block.register_forward_hook(lambda *_, n=unit: self._end_block(n))
            block.register_full_backward_pre_hook(lambda *_: self.cut(ROOT))
            block.register_full_backward_hook(lambda *_, n=unit: self._end_block(n))
        for parameter in objective.parameters():
            parameter.register_post_accumulate_grad_hook(self._gradient)

    def cut(self, unit: int) -> None:
        """End a piece, which was of that unit."""
        peak, end = self.live.mark(), self.live.now()
        self.pieces.append(Piece(self.backward, unit, self._done, self._start, peak, end))
        self._start = end

    def turn(self) -> None:
        """The forward pass has ended."""
        self.cut(ROOT)
        self.backward, self._done = True, 0

    def _gradient(self, parameter: Tensor) -> None:
        assert parameter.grad is not None
        self.live.is_gradient(parameter.grad)
        if self.gradients == "leave_at_once":
            parameter.grad = None

    def _end_block(self, unit: int) -> None:
        self.cut(unit)
        self._done += 1
        if self.backward and self.gradients == "leave_with_block":
            for parameter in self.blocks[unit].parameters():
                parameter.grad = None
            self.live.mark()
            self._start = self.live.now()
