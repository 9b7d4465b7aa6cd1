"""The learning rate: linear warm-up, then half a cosine, by fractions of an epoch."""

import math
from typing import Any


def peak_rate(optim: dict[str, Any], *, batch: int) -> float:
    """Linear scaling rule: base rate × global batch / reference batch (Goyal et al. 2017)."""
    return float(optim["base_lr"]) * batch / float(optim["lr_reference_batch"])


def learning_rate(
    optim: dict[str, Any], *, step: int, steps_per_epoch: int, total_steps: int, batch: int
) -> float:
    """The rate of a step (from 0), as MAE's reference sets it in each iteration.

    Args:
        optim: The recipe's `optim`.
        step: Steps done before this one.
        steps_per_epoch: Steps of an epoch.
        total_steps: Steps of the run.
        batch: Global batch size.
    """
    peak, floor = peak_rate(optim, batch=batch), float(optim["min_lr"])
    warm = float(optim["warmup_epochs"]) * steps_per_epoch
    if step < warm:
        return peak * step / warm
    done = (step - warm) / max(1.0, total_steps - warm)
    return floor + (peak - floor) * 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))


def missed_peak(optim: dict[str, Any], *, epochs: int) -> str | None:
    """What is odd about a warm-up as long as the run; None if it is shorter."""
    warmup = float(optim["warmup_epochs"])
    if warmup < epochs:
        return None
    return (
        f"optim.warmup_epochs is {warmup:g} and epochs {epochs}: the learning rate rises until the "
        "end and never is what base_lr says; lower warmup_epochs"
    )
