"""Training steps on one GPU in bfloat16: for `train_step.py`.

Of each model: ours as it is, with blocks compiled, with blocks computed again in the backward
pass, and with each backend of PyTorch's fused attention alone; the peer as it is and compiled.
Images a second, share of the device's peak (MFU; operations counted on the meta device), peak
memory, and the profile of our step. With one rank every strategy lays out the same plain module,
so there is one row for all of them; rows of several ranks are `scaling`'s.

What does not fit the memory is said so and has no figure.
"""

import gc
import statistics
import time
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import torch
import train_models as models
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.profiler import ProfilerActivity, profile

from workflow_scripts.models.flops import training_flops
from workflow_scripts.pretrain.peaks import device_peak

STEPS = 5  # a round
ROWS = 15  # of the profile
OURS, PEER = "ours", "peer"
LAYOUTS: dict[str, dict[str, bool]] = {
    OURS: {}, "ours_compiled": {"compile": True},
    "ours_checkpointed": {"activation_checkpointing": True},
}  # fmt: skip
BACKENDS = {
    "flash": SDPBackend.FLASH_ATTENTION, "efficient": SDPBackend.EFFICIENT_ATTENTION,
    "cudnn": SDPBackend.CUDNN_ATTENTION, "math": SDPBackend.MATH,
}  # fmt: skip
UNAVAILABLE = ("No available kernel", "No viable backend")  # of a GPU, of a CPU
PEERS = {PEER: False, "peer_compiled": True}


def synchronise(device: torch.device) -> None:
    """Wait for everything that was started."""
    if device.type == "cuda":
        torch.cuda.synchronize()


def our_step(case: Any, device: torch.device, **layout: bool) -> Callable[[], Tensor]:
    """A step of ours."""
    recipe, bands, images = case
    ours = models.make_ours(recipe, bands, device, precision="bf16", **layout)
    batch = models.make_batch(recipe, bands, images, ours.cells, device)
    loss = models.our_loss(ours, batch)
    return models.step_of(loss, models.our_optimizer(ours), bf16=True, device=device.type)


def peer_step(case: Any, device: torch.device, *, compiled: bool) -> Callable[[], Tensor]:
    """A step of the peer, after its loss was found equal to ours within bfloat16."""
    recipe, bands, images = case
    ours = models.make_ours(recipe, bands, device, precision="bf16")
    peer = models.make_peer(ours, recipe, bands)
    batch = models.make_batch(recipe, bands, images, ours.cells, device)
    loss = models.peer_loss(peer, ours, batch)
    with torch.no_grad(), torch.autocast(device.type, torch.bfloat16):
        losses = {OURS: models.our_loss(ours, batch)().item(), PEER: loss().item()}
    models.check_alike("bf16", losses, models.APART_BF16)
    if compiled:
        peer.compile()
    return models.step_of(loss, models.peer_optimizer(peer), bf16=True, device=device.type)


def rates(step: Callable[[], Tensor], images: int, device: torch.device, rounds: int) -> list:
    """Images a second of each round; two steps go before."""
    for _ in range(2):
        step()
    found = []
    for _ in range(rounds):
        synchronise(device)
        start = time.perf_counter()
        for _ in range(STEPS):
            step()
        synchronise(device)
        found.append(STEPS * images / (time.perf_counter() - start))
    return found


def row(
    make: Callable[[], Callable[[], Tensor]], images: int, device: torch.device, rounds: int
) -> dict[str, float] | None:
    """Images a second and peak memory of a variant; None where it does not fit the memory."""
    gc.collect()
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
    try:
        speeds = rates(make(), images, device, rounds)
    except torch.cuda.OutOfMemoryError:
        return None
    peak = torch.cuda.max_memory_allocated() if device.type == "cuda" else 0
    return {
        "images_per_s": statistics.median(speeds), "least": min(speeds), "most": max(speeds),
        "peak_gb": peak / 1e9,
    }  # fmt: skip


def variants(case: Any, device: torch.device) -> dict[str, Any]:
    """What is measured: a context to run in and what makes the step, by name."""
    made: dict[str, Any] = {
        name: (nullcontext(), lambda how=how: our_step(case, device, **how))
        for name, how in LAYOUTS.items()
    }
    for name, compiled in PEERS.items():
        made[name] = (
            nullcontext(), lambda compiled=compiled: peer_step(case, device, compiled=compiled)
        )  # fmt: skip
    for name, backend in BACKENDS.items():
        made[f"ours_{name}"] = (sdpa_kernel(backend), lambda: our_step(case, device))
    return made


def print_profile(name: str, case: Any, device: torch.device) -> None:
    """What our step spends its time with, by operator."""
    step = our_step(case, device)
    step()
    cuda = device.type == "cuda"
    activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * cuda
    with profile(activities=activities) as seen:
        for _ in range(3):
            step()
        synchronise(device)
    by = "self_cuda_time_total" if cuda else "self_cpu_time_total"
    print(f"profile of {name}, three steps")
    print(seen.key_averages().table(sort_by=by, row_limit=ROWS, max_name_column_width=60))


def compare(
    cases: dict[str, Any], device: torch.device, rounds: int
) -> tuple[dict[str, Any], dict[str, float]]:
    """Figures and ratios (the best of ours over the best of the peer) of all models."""
    figures: dict[str, Any] = {}
    ratios = {}
    peak = device_peak(device, "bf16")
    for name, case in cases.items():
        recipe, bands, images = case
        flops = training_flops(models.bare(recipe, bands), size=recipe["encoder"]["image_size"])
        figures[f"{name}_gflop_an_image"] = round(flops / 1e9, 2)
        best: dict[str, float] = {}
        for variant, (context, make) in variants(case, device).items():
            try:
                with context:
                    found = row(make, images, device, rounds)
            except RuntimeError as error:
                # A backend that cannot take these shapes, this mask or this device says so.
                if not any(words in str(error) for words in UNAVAILABLE):
                    raise
                print(f"  {name} × {images}, {variant}: not to be had here")
                continue
            if found is None:
                print(f"  {name} × {images}, {variant}: does not fit the memory")
                continue
            mfu = found["images_per_s"] * flops / peak if peak else None
            print(f"  {name} × {images}, {variant:<18} {found['images_per_s']:9.1f} images/s "
                  f"({found['least']:.1f} … {found['most']:.1f}), {found['peak_gb']:6.2f} GB"
                  + ("" if mfu is None else f", MFU {mfu:.1%}"))  # fmt: skip
            figures[f"{name}_{variant}"] = {
                **{key: round(value, 3) for key, value in found.items()},
                "mfu": None if mfu is None else round(mfu, 4),
            }
            side = PEER if variant.startswith(PEER) else OURS
            best[side] = max(best.get(side, 0.0), found["images_per_s"])
        if best.keys() == {OURS, PEER}:
            ratios[name] = round(best[OURS] / best[PEER], 3)
        print_profile(name, case, device)
    return figures, ratios
