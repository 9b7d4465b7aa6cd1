"""The memory that protocol linear takes for features that do not fit: 200,000 × 768, 51 classes.

Features lie in a file that is mapped into memory and read by blocks of rows; the protocol chooses
among strengths on a held-out fifth, fits again and scores the test part, in a process of its own.
Its peak is what the kernel counted (`getrusage`): pages of the mapped file that are in use count
too, libraries as well. `memory_bound` is 2 GB over the peak.

    python benchmarks/probe_memory.py [--quick]
"""

import argparse
import json
import multiprocessing
import platform
import resource
import sys
import tempfile
import time
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from workflow_scripts.probe.linear import judge
from workflow_scripts.probe.trial import Part, Trial
from workflow_scripts.threads import usable_cores

BOUND = 2_000_000_000  # bytes
TEST = 0.2
SETTINGS = {
    "strengths": [0.001, 0.01, 0.1, 1.0, 10.0], "poolings": ["mean"],
    "normalisations": ["standardize"], "holdout": 0.2,
}  # fmt: skip


@dataclass(frozen=True)
class OnDisk:
    """Features in a file."""

    values: np.memmap

    @property
    def shape(self) -> tuple[int, int]:
        """(samples, dimensions)."""
        return self.values.shape

    def take(self, rows: np.ndarray | slice) -> np.ndarray:
        """(len(rows), dimensions), a copy."""
        return np.array(self.values[rows], np.float32, order="C")


def write(path: Path, labels: np.ndarray, width: int, classes: int) -> None:
    """Overlapping classes in a spectrum that falls, by blocks."""
    random = np.random.default_rng(0)
    fall = np.arange(1, width + 1) ** -0.5
    means = 0.2 * fall * random.standard_normal((classes, width))
    turn = np.linalg.qr(random.standard_normal((width, width)))[0]
    with path.open("wb") as file:
        for start in range(0, len(labels), 8192):
            some = labels[start : start + 8192]
            values = (means[some] + fall * random.standard_normal((len(some), width))) @ turn
            file.write(values.astype(np.float32).tobytes())


def run(path: Path, labels: np.ndarray, width: int, classes: int, sender: Any) -> None:
    """The protocol in a process of its own: the peak in bytes, before and after, and its result."""
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    features = OnDisk(np.memmap(path, np.float32, "r", shape=(len(labels), width)))
    count = round((1 - TEST) * len(labels))
    rows = np.arange(len(labels))
    parts = [Part(some, labels[some], some) for some in (rows[:count], rows[count:])]
    start = time.perf_counter()
    found = judge(
        Trial(
            features={"mean": features}, train=parts[0], test=parts[1], classes=classes,
            settings=SETTINGS, seed=0,
        )
    )  # fmt: skip
    sender.send({
        "seconds": time.perf_counter() - start,
        "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
        "before": before,
        "top1": 100 * float((found.scores.argmax(axis=1) == parts[1].labels).mean()),
        "chosen": found.chosen,
    })  # fmt: skip


def main() -> None:
    """Write the features, judge them, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="20,000 × 96, 10 classes")
    parser.add_argument("--scratch", type=Path, help="where the file goes (default: temporary)")
    arguments = parser.parse_args()
    # The training part is the 200,000.
    count, width, classes = (25_000, 96, 10) if arguments.quick else (250_000, 768, 51)
    labels = np.random.default_rng(1).integers(0, classes, count)
    with tempfile.TemporaryDirectory(prefix="probe-memory-", dir=arguments.scratch) as folder:
        path = Path(folder) / "features.bin"
        context = multiprocessing.get_context("spawn")
        # In a process of its own too: a process starts with the peak of the one that started it.
        writer = context.Process(target=write, args=(path, labels, width, classes))
        writer.start()
        writer.join()
        receiver, sender = context.Pipe(duplex=False)
        process = context.Process(target=run, args=(path, labels, width, classes, sender))
        process.start()
        sender.close()
        try:
            found = receiver.recv()
        except EOFError:
            raise SystemExit("the run failed; its error is above") from None
        process.join()
    size = f"{round(count * (1 - TEST))} × {width} training samples, {classes} classes"
    print(f"{size} ({4e-9 * count * width:.2f} GB of features with the test part)")
    print(f"peak {found['peak'] / 1e9:.2f} GB, {found['before'] / 1e9:.2f} GB before; "
          f"{found['seconds']:.0f} s, top-1 {found['top1']:.1f} %, {found['chosen']}")  # fmt: skip
    print(json.dumps({
        "benchmark": "probe_memory",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {n: version(n) for n in ("numpy", "torch")},
        "figures": {
            "peak_gb": round(found["peak"] / 1e9, 3), "before_gb": round(found["before"] / 1e9, 3),
            "seconds": round(found["seconds"], 1), "top1": round(found["top1"], 2),
        },
        "ratios": {"memory_bound": round(BOUND / found["peak"], 3)},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
