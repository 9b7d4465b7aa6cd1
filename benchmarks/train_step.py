"""A training step (forward, backward, AdamW): ours against Hugging Face transformers.

The peers are `ViTMAEForPreTraining` with its fastest attention (SDPA) and
`Swinv2ForMaskedImageModeling` (which has one), both with fused AdamW. Both sides have the same
weights, float32 images in memory, noise or mask, batch, threads and precision; both losses must be
equal before anything is timed. Nothing is compiled.

On a CPU (the default): float32, ViT-B/16 and a tiny ViT (192 wide, 12 deep, decoder 192 × 4) at
224 pixels with MAE, SwinV2-tiny at 256 pixels with SimMIM. One step of each side a round, in turn;
a ratio is the median over the rounds of the peer's time over ours of the same round. `…_same_gemm`
is ours with PyTorch's own matrix products in place of oneDNN's (models/linear.py): it tells what is
gained apart from them. Then the real trainer, fed by the loader from shards (`train_overhead.py`):
the share of a step that waits for data, and the share outside model and optimizer.

On a GPU (`--device cuda`): `train_gpu.py`.

    python benchmarks/train_step.py [--quick] [--rounds N] [--models NAME …] [--device cuda]
    [--shared-machine] [--no-trainer]
"""

import argparse
import gc
import json
import os
import platform
import statistics
import sys
import time
from collections.abc import Callable
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(Path(__file__).resolve().parent)]
os.environ["HF_HUB_OFFLINE"] = "1"

import torch
import train_models as models
import train_overhead
from torch import Tensor

from workflow_scripts.models import linear
from workflow_scripts.threads import usable_cores

VERSIONS = ("torch", "timm", "transformers", "numpy")
OURS, SAME, PEER = "ours", "ours_same_gemm", "peer"
Step = Callable[[], Tensor]


@contextmanager
def own_products() -> Any:
    """PyTorch's own float32 products, for our side only."""
    before, linear._X86 = linear._X86, False
    try:
        yield
    finally:
        linear._X86 = before


def with_own_products(step: Step) -> Step:
    """A step in which our layers leave oneDNN aside."""

    def plain() -> Tensor:
        with own_products():
            return step()

    return plain


def sides(name: str, recipe: models.Recipe, bands: int, images: int) -> dict[str, Step]:
    """A step of each side, after their losses were found equal."""
    ours = models.make_ours(recipe, bands, "cpu")
    peer = models.make_peer(ours, recipe, bands)
    batch = models.make_batch(recipe, bands, images, ours.cells, "cpu")
    our_loss, peer_loss = models.our_loss(ours, batch), models.peer_loss(peer, ours, batch)
    with torch.no_grad():
        losses = {OURS: our_loss().item(), PEER: peer_loss().item()}
        with own_products():
            losses[SAME] = our_loss().item()
    models.check_alike(name, losses)
    mine = models.step_of(our_loss, models.our_optimizer(ours), bf16=False, device="cpu")
    theirs = models.step_of(peer_loss, models.peer_optimizer(peer), bf16=False, device="cpu")
    return {OURS: mine, SAME: with_own_products(mine), PEER: theirs}


def timed(
    steps: dict[str, Step], rounds: int, clock: Callable[[], float]
) -> dict[str, list[float]]:
    """Seconds of each side's step, round by round, after a first; the order turns."""
    found: dict[str, list[float]] = {name: [] for name in steps}
    names = list(steps)
    for number in range(rounds + 1):
        at = number % len(names)
        for name in names[at:] + names[:at]:
            start = clock()
            steps[name]()
            found[name].append(clock() - start)
    return {name: rows[1:] for name, rows in found.items()}


def over(found: dict[str, list[float]], other: str, mine: str) -> float:
    """Median over the rounds of the other's time over mine."""
    pairs = zip(found[other], found[mine], strict=True)
    return round(statistics.median(theirs / ours for theirs, ours in pairs), 3)


def compare(
    cases: dict[str, Any], rounds: int, *, share: int, clock: Callable[[], float]
) -> tuple[dict[str, Any], dict[str, float]]:
    """Figures and ratios of all models; batches are cut to 1/share."""
    figures, ratios = {}, {}
    print(f"{'milliseconds a step':<28} {'median':>9}  (least … most)")
    for name, (recipe, bands, images) in cases.items():
        images = max(2, images // share)
        found = timed(sides(name, recipe, bands, images), rounds, clock)
        for side, rows in found.items():
            ms = [1e3 * row for row in rows]
            middle = statistics.median(ms)
            print(f"  {f'{name} × {images}, {side}':<34} {middle:9.1f}  "
                  f"({min(ms):.1f} … {max(ms):.1f})")  # fmt: skip
            figures[f"{name}_{side}_ms"] = round(middle, 2)
            figures[f"{name}_{side}_least_ms"] = round(min(ms), 2)
        figures[f"{name}_images"] = images
        ratios[name] = over(found, PEER, OURS)
        ratios[f"{name}_same_gemm"] = over(found, PEER, SAME)
        print(f"  {name}: {ratios[name]:.2f} × the peer's speed, "
              f"{ratios[f'{name}_same_gemm']:.2f} × with the same matrix products")  # fmt: skip
        gc.collect()
    return figures, ratios


def chosen(cases: dict[str, Any], names: list[str] | None) -> dict[str, Any]:
    """The models asked for; `tiny` stands for those that only try the script out."""
    if names == ["tiny"]:
        return models.TINY
    unknown = set(names or ()) - cases.keys()
    if unknown:
        raise SystemExit(f"no models {sorted(unknown)}; there are {', '.join(cases)} and tiny")
    return {name: cases[name] for name in names or cases}


def main() -> None:
    """Compare, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="small batches, few rounds")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--models", nargs="+", help="some of them, or tiny")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    told = "the GPU's measurements, also on a CPU (with --models tiny)"
    parser.add_argument("--gpu-table", action="store_true", help=told)
    parser.add_argument("--shared-machine", action="store_true",
                        help="one thread, and processor time instead of seconds (CPU)")  # fmt: skip
    parser.add_argument("--no-trainer", action="store_true", help="leave the real trainer out")
    arguments = parser.parse_args()
    # With one thread, processor time tells on a machine that others use too.
    shared = arguments.shared_machine
    torch.set_num_threads(1 if shared else usable_cores())
    sys.stdout.reconfigure(line_buffering=True)
    rounds = 3 if arguments.quick else arguments.rounds
    on_gpu = arguments.device == "cuda" or arguments.gpu_table
    if on_gpu:
        import train_gpu

        cases = chosen(models.GPU, arguments.models)
        figures, ratios = train_gpu.compare(cases, torch.device(arguments.device), rounds)
    else:
        cases = chosen(models.CPU, arguments.models)
        clock = time.process_time if shared else time.perf_counter
        figures, ratios = compare(cases, rounds, share=4 if arguments.quick else 1, clock=clock)
    if not arguments.no_trainer:
        figures |= train_overhead.measure(
            cases, torch.device(arguments.device), steps=6 if arguments.quick else 40
        )
    name = torch.cuda.get_device_name() if arguments.device == "cuda" else platform.machine()
    print(json.dumps({
        "benchmark": "train_step",
        "machine": f"{name}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": {"rounds": rounds, "threads": torch.get_num_threads(), **figures},
        "ratios": ratios,
    }))  # fmt: skip


if __name__ == "__main__":
    main()
