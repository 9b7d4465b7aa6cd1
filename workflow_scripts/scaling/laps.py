"""Clocks of a point, which wait for the device and for other ranks only between repetitions."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

import torch

from workflow_scripts.pretrain import parallel


@dataclass(kw_only=True)
class Laps:
    """What this rank measured.

    Attributes:
        seconds: Of each repetition, until the device had done all of it.
        waited: Seconds of each repetition until batches were there.
        steps: Done so far, those of the warm-up among them.
    """

    seconds: list[float] = field(default_factory=list)
    waited: list[float] = field(default_factory=list)
    steps: int = 0


def border(device: torch.device) -> None:
    """Wait until the device, and every rank, is here."""
    _idle(device)
    parallel.summed(torch.zeros(1, device=device)).item()


def _idle(device: torch.device) -> None:
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def run_laps(
    laps: Laps, batches: Iterator[Any], once: Callable[[Any, int], None], *,
    device: torch.device, steps: int, repeats: int,
) -> None:  # fmt: skip
    """Take `repeats` times `steps` batches, with the clock on.

    Args:
        laps: Where the times go.
        batches: Where the batches come from.
        once: What is done with a batch, and the number of its step.
        device: What does it.
        steps: Of a repetition.
        repeats: How many.
    """
    for _ in range(repeats):
        border(device)
        waited, began = 0.0, time.perf_counter()
        for _ in range(steps):
            asked = time.perf_counter()
            batch = next(batches)
            waited += time.perf_counter() - asked
            once(batch, laps.steps)
            laps.steps += 1
        _idle(device)
        laps.seconds.append(time.perf_counter() - began)
        laps.waited.append(waited)
    border(device)
