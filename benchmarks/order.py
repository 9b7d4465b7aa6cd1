"""What it costs to choose the samples of a step, in corpora of ten thousand to 200 million samples.

The 4,096 indices of a step: ours, with windows of 32 shards and over the whole corpus, against a
permutation that is drawn and stored each epoch as torch's RandomSampler does it (its share of one
step). Shards of 50,000 samples. `flat` is the time at the smallest corpus over that at the largest:
1 where the size costs nothing. Memory is what is kept between steps.

    python benchmarks/order.py [--quick] [--rounds N]
"""

import argparse
import json
import platform
import statistics
import sys
import time
from importlib.metadata import version
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import numpy as np
import torch

from workflow_scripts.loader.order import Order

BATCH, SHARD, WINDOW, STEPS = 4096, 50_000, 32, 50
COUNTS = (100_000, 10_000_000, 200_000_000)


def ours(count: int, window: int | None, epoch: int) -> tuple[float, float, float]:
    """Milliseconds of a step (median over an epoch), of an epoch's first; megabytes kept."""
    order = Order(np.full(count // SHARD, SHARD), batch=BATCH, epochs=epoch + 1, seed=0,
                  window=window)  # fmt: skip
    first = epoch * order.steps_per_epoch
    steps = np.linspace(first, first + order.steps_per_epoch - 1, STEPS).astype(int).tolist()
    taken = []
    for step in steps:
        start = time.perf_counter()
        order.batch_at(step)
        taken.append(1e3 * (time.perf_counter() - start))
    parts = [*vars(order).values(), order._windows_of(epoch).starts]
    parts += order._windows_of(epoch).shards
    kept = sum(part.nbytes for part in parts if isinstance(part, np.ndarray)) / 1e6
    return statistics.median(taken[1:]), taken[0], kept


def stored(count: int) -> float:
    """Milliseconds a step of a permutation that is drawn once an epoch."""
    start = time.perf_counter()
    torch.randperm(count)
    return 1e3 * (time.perf_counter() - start) / (count // BATCH)


def main() -> None:
    """Measure in turn, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="one round")
    parser.add_argument("--rounds", type=int, default=5)
    arguments = parser.parse_args()
    rounds = 1 if arguments.quick else arguments.rounds
    rows: dict[int, list[tuple[float, ...]]] = {count: [] for count in COUNTS}
    for epoch in range(1, rounds + 1):
        for count in COUNTS:
            mixed, whole = ours(count, WINDOW, epoch), ours(count, None, epoch)
            rows[count].append((*mixed, whole[0], stored(count)))
    figures = {}
    print(f"{'samples':>12} {'windows, ms':>12} {'first, ms':>10} {'whole, ms':>10} "
          f"{'stored, ms':>11} {'kept, MB':>9} {'stored, MB':>11}")  # fmt: skip
    for count, found in rows.items():
        windows, first, kept, whole, peer = (
            statistics.median(column) for column in zip(*found, strict=True)
        )
        print(f"{count:12d} {windows:12.2f} {first:10.2f} {whole:10.2f} {peer:11.2f} {kept:9.2f} "
              f"{8 * count / 1e6:11.0f}")  # fmt: skip
        figures[str(count)] = {
            "windows_ms": round(windows, 3), "first_of_epoch_ms": round(first, 3),
            "whole_ms": round(whole, 3), "stored_ms": round(peer, 3), "kept_mb": round(kept, 3),
        }  # fmt: skip
    small, large = figures[str(COUNTS[0])], figures[str(COUNTS[-1])]
    print(json.dumps({
        "benchmark": "order",
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(), "numpy": version("numpy"),
                     "torch": version("torch")},
        "figures": figures,
        "ratios": {"flat_windows": round(small["windows_ms"] / large["windows_ms"], 3),
                   "flat_whole": round(small["whole_ms"] / large["whole_ms"], 3),
                   "stored": round(large["stored_ms"] / large["windows_ms"], 3)},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
