"""What copying shards to a node's own disk costs: the rate, and what training feels of it.

The real trainer on chips of 6 × 128 × 128 uint16, one worker, in turn without copying and with it
into an empty folder, a shard at a time. Of each: seconds from the start to the first step, share of
the time waiting for data, chips a second; and with nothing beside it the rates of hashing shards
and of copying them. Where copying takes longer than the training it goes on all the time.

    python benchmarks/staging.py [--quick] [--rounds N] [--gb N] [--scratch FOLDER]
"""

import argparse
import json
import os
import platform
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np

from workflow_scripts.digests import file_sha256
from workflow_scripts.shards.copy_folder import CopyFolder
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.writer import ChipSample, write_chip_shard
from workflow_scripts.threads import usable_cores

SHAPE, PER_SHARD, BATCH, LOG_EVERY = (6, 128, 128), 1024, 32, 5
BANDS = [str(band) for band in range(SHAPE[0])]
WAYS = {"without": (), "copying": ("--stage-to",)}


def write_corpus(folder: Path, shards: int) -> Path:
    """Shards of random chips, about 200 MB each, and their index."""
    rng, rows = np.random.default_rng(0), []
    calibration = {"scale": np.full(6, 1e-3), "offset": np.zeros(6)}
    for number in range(shards):
        counts = rng.integers(0, 32768, (PER_SHARD, *SHAPE), np.uint16)
        samples = [
            ChipSample(key=f"{number}:{n}", counts=one, split=0, **calibration)
            for n, one in enumerate(counts)
        ]
        path = folder / f"shard-{number:05d}.h5"
        write_chip_shard(path, samples, bands=BANDS, size=SHAPE[1], attributes={})
        rows.append({"file": path.name, "sha256": file_sha256(path), "count": PER_SHARD})
    count = shards * PER_SHARD
    index = {
        "format_version": 2, "corpus": "noise", "kind": "chips", "shards": rows, "count": count,
        "channels": 6, "bands": BANDS, "classes": [], "mean": [16.4] * 6, "std": [9.5] * 6,
        "values": [count * SHAPE[1] * SHAPE[2]] * 6, "synthetic": True,
    }  # fmt: skip
    index["content"] = content_digest(index)
    path = folder / "index.json"
    path.write_text(json.dumps(index))
    return path


def recipe(steps: int, count: int) -> dict[str, Any]:
    """A small ViT by MAE for some steps."""
    return {
        "objective": "mae", "seed": 0, "epochs": steps / (count // BATCH), "batch": BATCH,
        "split": None, "precision": "fp32", "shuffle_window": None, "gfm": None, "augment": None,
        "encoder": {"family": "vit", "image_size": 128, "patch": 16, "width": 192, "depths": [4],
                    "heads": [3], "mlp_ratio": 4.0, "window": None},
        "decoder": {"width": 96, "depth": 1, "heads": 3},
        "mask": {"ratio": 0.75, "patch": None, "norm_pix": True},
        "optim": {"base_lr": 1e-4, "lr_reference_batch": 256, "betas": [0.9, 0.95], "clip": None,
                  "weight_decay": 0.05, "warmup_epochs": 0.1, "min_lr": 0.0},
    }  # fmt: skip


def train(folder: Path, index: Path, own: dict[str, Any], options: tuple[str, ...]) -> Any:
    """One run of the real trainer, from nothing."""
    run, disk = folder / "run", folder / "disk"
    disk.mkdir()
    segment, began = run / "1.json", time.monotonic()
    staging = [word for name in options for word in (name, str(disk))]
    subprocess.run(
        [
            sys.executable, "-m", "workflow_scripts.pretrain", "--recipe", json.dumps(own),
            "--index", str(index), "--run", str(run), "--segment", str(segment),
            "--workers", "1", "--log-every", str(LOG_EVERY), *staging,
        ],
        cwd=ROOT, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    wall = time.monotonic() - began
    facts = json.loads((run / "1.provenance.json").read_text())
    (curve,) = run.glob("checkpoints/*/history.jsonl")
    rows = [json.loads(line) for line in curve.read_text().splitlines()]
    shutil.rmtree(run)
    shutil.rmtree(disk)
    return {
        "start_s": wall - facts["seconds"],
        "data_wait": statistics.mean(row["data_wait"] for row in rows[1:]),
        "chips_per_s": statistics.median(row["images_per_s"] for row in rows[1:]),
        "staged": facts["staged"],
    }


def rate(index: Path, work: Callable[[Path, str], Any]) -> tuple[float, float]:
    """GB/s, and seconds of a core for a GB, of what is done with shards, one after the other."""
    rows = json.loads(index.read_text())["shards"][:4]
    files = {index.parent / row["file"]: row["sha256"] for row in rows}
    size = sum(path.stat().st_size for path in files) / 1e9
    began, worked = time.perf_counter(), time.process_time()
    for path, sha256 in files.items():
        work(path, sha256)
    return size / (time.perf_counter() - began), (time.process_time() - worked) / size


def alone(folder: Path, index: Path) -> dict[str, float]:
    """What hashing shards, and copying them, takes with nothing beside it."""
    disk = folder / "alone"
    disk.mkdir()
    hashed = rate(index, lambda path, _: file_sha256(path))
    copied = rate(index, CopyFolder(disk).copy)
    shutil.rmtree(disk)
    return {
        "hash_gb_per_s": hashed[0], "hash_core_s_per_gb": hashed[1],
        "copy_gb_per_s": copied[0], "copy_core_s_per_gb": copied[1],
    }  # fmt: skip


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="little data, one round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--gb", type=float, default=8.0, help="size of the corpus")
    parser.add_argument("--steps", type=int, default=80)
    parser.add_argument("--scratch", type=Path, help="where files go (default: temporary folder)")
    arguments = parser.parse_args()
    rounds, size = (1, 0.8) if arguments.quick else (arguments.rounds, arguments.gb)
    folder = Path(tempfile.mkdtemp(prefix="staging-benchmark-", dir=arguments.scratch))
    try:
        (folder / "corpus").mkdir()
        index = write_corpus(folder / "corpus", max(4, round(size / 0.2)))
        own = recipe(arguments.steps, json.loads(index.read_text())["count"])
        found: dict[str, list[Any]] = {name: [] for name in WAYS}
        rates = []
        for number in range(rounds):
            rates.append(alone(folder, index))
            for name in sorted(WAYS, reverse=bool(number % 2)):
                found[name].append(train(folder, index, own, WAYS[name]))
    finally:
        shutil.rmtree(folder)
    report(found, rates)


def report(found: dict[str, list[Any]], rates: list[dict[str, float]]) -> None:
    """The table and the last line."""

    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in found[name])

    keys = ("start_s", "data_wait", "chips_per_s")
    figures = {f"{name}_{key}": round(median(name, key), 4) for name in WAYS for key in keys}
    staged = [row["staged"] for row in found["copying"]]
    figures |= {name: statistics.median(row[name] for row in rates) for name in rates[0]}
    figures["beside_training_gb_per_s"] = statistics.median(
        s["bytes"] / 1e9 / s["seconds"] for s in staged
    )
    figures["copied_gb"] = statistics.median(s["bytes"] / 1e9 for s in staged)
    figures["copy_s"] = statistics.median(s["seconds"] for s in staged)
    figures["samples_read_from_copies"] = statistics.median(s["samples_read"] for s in staged)
    for name, value in figures.items():
        print(f"{name:28} {value:10.3f}")
    for name in WAYS:
        for key in keys:
            print(f"{name} {key}:", " ".join(f"{row[key]:.3f}" for row in found[name]))
    print(json.dumps({
        "benchmark": "staging",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), "torch": version("torch")},
        "figures": {name: round(value, 4) for name, value in figures.items()},
        "ratios": {
            "copying_to_hashing": round(figures["copy_gb_per_s"] / figures["hash_gb_per_s"], 3),
            "speed_while_copying": round(
                figures["copying_chips_per_s"] / figures["without_chips_per_s"], 3
            ),
        },
    }))  # fmt: skip


if __name__ == "__main__":
    main()
