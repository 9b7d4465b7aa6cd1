"""What sampling power and utilisation costs a training step: off, in a thread, in a process.

A step of matrix products on all usable cores but none to spare, as a rank on a CPU has it: any
cycle that sampling takes is missed there, which a GPU's host would not notice. The three take turns
in a random order, round after round; what is told is the median over rounds of the time of a step
with sampling over that without in the same round, with the quartiles. Sampling reads a counter in a
file of the format of Cray's and the load of this process, and writes its line.

The period is far shorter than in a run, so that a cost can be seen at all: `cost_of_a_sample` is
what one sample takes of the step, and `share` what that makes at the run's period. Before that the
processor time of a sample is told, which other work on the machine does not change.

    python benchmarks/energy_sampling.py [--rounds N] [--seconds S] [--period S]
"""

import argparse
import json
import multiprocessing as mp
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import torch

from workflow_scripts.energy.counters.cpu import cpu_load
from workflow_scripts.energy.counters.cray import cray
from workflow_scripts.energy.rank import Energy
from workflow_scripts.energy.sampler import PERIOD, Sampler
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.threads import usable_cores

SIDE = 384  # of the matrices


def sampler(folder: Path, period_s: float) -> Sampler:
    """A sampler of a counter that can be read anywhere."""
    (folder / "energy").write_text("172604398 J 1700000000123456 us\n")
    counter = cray(folder)
    assert counter is not None
    energy = Energy(Ranks(), node=[counter], own=None, load=cpu_load(usable_cores()))
    return Sampler(
        Ranks(), energy, counted=True, folder=folder, progress=lambda: (0.0, 0), period_s=period_s
    )


def _alone(folder: Path, period_s: float, ready: object, stop: object) -> None:
    with sampler(folder, period_s):
        ready.set()  # type: ignore[attr-defined]
        stop.wait()  # type: ignore[attr-defined]


def sample_ms(folder: Path, count: int = 500) -> float:
    """Processor time of one sample: what it can take from a step at most, whoever else computes."""
    one = sampler(folder, PERIOD)
    for _ in range(5):
        one._sample()
    begin = time.thread_time()
    for _ in range(count):
        one._sample()
    return 1e3 * (time.thread_time() - begin) / count


@contextmanager
def sampled(how: str, folder: Path, period_s: float) -> Iterator[None]:
    """Sample in a thread, in a process of its own, or not at all."""
    if how == "thread":
        with sampler(folder, period_s):
            yield
    elif how == "process":
        context = mp.get_context("spawn")
        ready, stop = context.Event(), context.Event()
        process = context.Process(target=_alone, args=(folder, period_s, ready, stop))
        process.start()
        ready.wait()
        yield
        stop.set()
        process.join()
    else:
        yield


def step(weights: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Some forward and backward, with Python between the products, as a model has it."""
    for _ in range(6):
        values = torch.tanh(values @ weights)
    loss = values.square().mean()
    loss.backward()
    return loss


def step_ms(seconds: float) -> float:
    """Mean time of a step over a while."""
    weights = torch.randn(SIDE, SIDE, requires_grad=True)
    values = torch.randn(SIDE, SIDE)
    steps, begin = 0, time.perf_counter()
    while (spent := time.perf_counter() - begin) < seconds:
        weights.grad = None
        step(weights, values)
        steps += 1
    return 1e3 * spent / steps


def main() -> None:
    """Measure, and print the figures as JSON."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=1.0, help="of each turn")
    parser.add_argument("--period", type=float, default=0.02, help="seconds between readings")
    arguments = parser.parse_args()
    torch.set_num_threads(usable_cores())
    found: dict[str, Any] = {}
    times: dict[str, list[float]] = {"off": [], "thread": [], "process": []}
    with tempfile.TemporaryDirectory() as folder:
        found["sample_cpu_ms"] = round(sample_ms(Path(folder)), 4)
        found[f"share_of_a_core_at_{PERIOD:g}_s"] = round(found["sample_cpu_ms"] / 1e3 / PERIOD, 7)
        step_ms(1.0)
        for _ in range(arguments.rounds):
            for how in random.sample(list(times), len(times)):
                with sampled(how, Path(folder), arguments.period):
                    times[how].append(step_ms(arguments.seconds))
    found["step_ms"] = round(statistics.median(times["off"]), 3)
    for how in ("thread", "process"):
        pairs = zip(times[how], times["off"], strict=True)
        low, middle, high = statistics.quantiles([one / off - 1 for one, off in pairs], n=4)
        found[f"{how}_slower"] = round(middle, 5)
        found[f"{how}_slower_quartiles"] = [round(low, 5), round(high, 5)]
        found[f"{how}_cost_of_a_sample_ms"] = round(1e3 * middle * arguments.period, 4)
        found[f"{how}_share_at_{PERIOD:g}_s"] = round(middle * arguments.period / PERIOD, 7)
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
