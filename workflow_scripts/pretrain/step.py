"""One training step: forward and backward of each part of a batch, clipping, the optimizer.

Nothing here reads a value from the device. A step whose loss or gradient is not finite leaves
weights and moments as they are: the optimizer's kernel is told so on the device, and the caller
finds it out when it reads the gradient's norm.
"""

from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.strategies import parts_of

NORM = "grad_norm"
_CLIP_EPSILON = 1e-6  # as in torch's clip_grad_norm_


class Step:
    """What `Trainer` calls with each batch.

    Args:
        model: As `parallel.laid_out` returned it.
        optimizer: A fused AdamW over its parameters.
        normalise: Brings pixels to the device.
        clip: Largest norm of the gradient, or None.
        precision: `bf16` or `fp32`.
        samples: This rank's share of a batch.
        accumulate: Parts into which that is cut, one after the other; gradients are exchanged
            after the last.

    Raises:
        UserError: `accumulate` does not divide `samples`.
    """

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.AdamW, normalise: Normalise, *,
        clip: float | None, precision: str, samples: int, accumulate: int = 1,
    ) -> None:  # fmt: skip
        self.model, self.optimizer, self.normalise = model, optimizer, normalise
        self.objective = parallel.plain(model)
        self.clip, self.bf16 = clip, precision == "bf16"
        self.part, self.parts = parts_of(samples, accumulate), accumulate

    def __call__(self, batch: dict[str, Tensor], rate: float) -> dict[str, Tensor]:
        """Train on a batch.

        Args:
            batch: As `Normalise` takes it.
            rate: The learning rate.

        Returns:
            float32 scalars on the device: `loss` and its terms, means over this rank's share, and
            `grad_norm` of all ranks before clipping. Where the norm is not finite, the step was
            skipped.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        every = [
            self._forward_backward(self._cut(batch, part), last=part == self.parts - 1)
            for part in range(self.parts)
        ]
        norm = parallel.gradient_norm(self.objective)
        self._update(norm)
        terms = {name: torch.stack([t[name] for t in every]).mean(dim=0) for name in every[0]}
        return {**terms, NORM: norm}

    def _cut(self, batch: dict[str, Tensor], part: int) -> dict[str, Tensor]:
        if self.parts == 1:
            return batch
        here = slice(part * self.part, (part + 1) * self.part)
        return {name: v[here] if isinstance(v, Tensor) else v for name, v in batch.items()}

    def _forward_backward(self, batch: dict[str, Tensor], *, last: bool) -> dict[str, Tensor]:
        seen = self.normalise(batch)
        with parallel.exchanging(self.model, last):
            with torch.autocast(seen["images"].device.type, torch.bfloat16, enabled=self.bf16):
                terms = self.model(seen)
            loss = terms["loss"]
            # An L1 loss may be infinite where its gradient is not. A gradient that begins as NaN
            # is NaN everywhere, and the exchange of gradients tells every rank.
            share = torch.where(loss.isfinite(), 1.0 / self.parts, torch.nan)
            loss.backward(share)
        return {name: value.detach() for name, value in terms.items()}

    def _update(self, norm: Tensor) -> None:
        # Both are read by the fused kernel: it divides the gradient by the one, and where the
        # other is 1 it changes nothing, counters of steps included.
        optimizer: Any = self.optimizer
        if self.clip is not None:
            optimizer.grad_scale = ((norm + _CLIP_EPSILON) / self.clip).clamp(min=1.0)
        optimizer.found_inf = (~norm.isfinite()).float()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
