"""Feature extraction against the bare forward pass of the same encoder, on UC Merced.

Extraction reads packed JPEG images, decodes, resizes and normalises them, encodes them, pools the
last blocks, checks the features and writes them to a store. The bare pass is given batches that are
normalised already and keeps nothing, in two ways: one batch at a time with all of torch's threads,
and batches side by side, one thread each, as extraction has them. The faster one is the limit. Both
use the same weights, batch size and matrix products (models/linear.py); `timm` is the faster of the
same two ways with the encoder as timm builds it. The ways take turns, and a ratio is the median
over the rounds.

    python benchmarks/probe_forward.py [--quick] [--images FOLDER] [--shared-machine]

`benchmarks/probe.py` takes `forward_limit` from here.
"""

import argparse
import json
import platform
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from importlib.metadata import version
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

import numpy as np
import torch
from torch import Tensor, nn

from workflow_scripts.digests import file_sha256
from workflow_scripts.features.encoder import Pooled
from workflow_scripts.features.extract import CPU_BATCH, extract, pooled_features
from workflow_scripts.features.parts import Parts
from workflow_scripts.features.samples import Seen
from workflow_scripts.models.encoders import random_encoder
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.threads import usable_cores

IMAGES = ROOT.parent / "shared" / "data" / "ucm"
ENCODER, LAYERS = "vit_small", 6
NORMALISATION = {"scale": "unit", "mean": [0.48, 0.49, 0.45], "std": [0.22, 0.2, 0.2]}
VERSIONS = ("torch", "timm", "numpy")


def packed(folder: Path, images: Path, count: int) -> Corpus:
    """The first images of each class of a folder of folders, packed as they are."""
    files = sorted(images.glob("*/*.jpg"), key=lambda path: (path.name[-6:], path.parent.name))
    if len(files) < count:
        raise SystemExit(f"{images}: {len(files)} JPEG images, {count} are needed")
    samples = [
        ImageSample(key=path.name, data=path.read_bytes(), height=256, width=256)
        for path in files[:count]
    ]
    shard = folder / "shard-00000.h5"
    write_image_shard(shard, samples, classes=[])
    row = {"file": shard.name, "sha256": file_sha256(shard), "count": count}
    index = {"format_version": 1, "kind": "images", "channels": 3, "classes": [], "shards": [row]}
    (folder / "index.json").write_text(json.dumps(index))
    return Corpus(folder / "index.json")


def all_threads(encoder: nn.Module, batches: list[Tensor]) -> None:
    """One batch after the other, each with all threads."""
    torch.set_num_threads(usable_cores())
    with torch.inference_mode():
        for batch in batches:
            encoder.forward_features(batch)


def side_by_side(encoder: nn.Module, batches: list[Tensor]) -> None:
    """As many batches at a time as there are cores, one thread each."""

    def one(batch: Tensor) -> None:
        torch.set_num_threads(1)
        with torch.inference_mode():
            encoder.forward_features(batch)

    with ThreadPoolExecutor(usable_cores()) as pool:
        list(pool.map(one, batches))


def ways(folder: Path, images: Path, count: int) -> dict[str, Callable[[int], None]]:
    """What is timed, by name; each takes the number of its round."""
    corpus = packed(folder, images, count)
    numbers = LIBRARY[ENCODER].numbers
    numbers = {**numbers, "depths": [numbers["depth"]], "heads": [numbers["heads"]]}
    numbers |= {"mlp_ratio": 4.0, "window": None}
    size = numbers["image_size"]
    plain = random_encoder(numbers, 3, 0).eval()
    pooled = Pooled(random_encoder(numbers, 3, 0), poolings=["mean", "class"], layers=LAYERS)
    seen = Seen(corpus, normalisation=NORMALISATION, size=size, views=None)
    rows = np.arange(count)
    batches = [seen.batch(rows[at : at + CPU_BATCH]) for at in range(0, count, CPU_BATCH)]

    def extraction(number: int) -> None:
        parts = Parts(store=folder, digest=f"round-{number}", name="round", samples=count)
        work = pooled_features(seen, pooled, "cpu")
        extract(parts, work, rows, numbers=list(range(parts.count)), batch=CPU_BATCH,
                threads=usable_cores())  # fmt: skip
        parts.join(pooled.columns, patience_s=0)

    return {
        "extraction": extraction,
        "all_threads": lambda _: all_threads(pooled.encoder, batches),
        "side_by_side": lambda _: side_by_side(pooled.encoder, batches),
        "timm_all_threads": lambda _: all_threads(plain, batches),
        "timm_side_by_side": lambda _: side_by_side(plain, batches),
    }


def measured(quick: bool, images: Path, clock: Callable[[], float]) -> dict[str, list[float]]:
    """Images/s of each way, round by round after a first; the order turns."""
    count, rounds = (64, 3) if quick else (512, 7)
    with tempfile.TemporaryDirectory() as folder:
        timed = ways(Path(folder), images, count)
        found: dict[str, list[float]] = {name: [] for name in timed}
        names = list(timed)
        for number in range(-1, rounds):
            at = number % len(names)
            for name in names[at:] + names[:at]:
                start = clock()
                timed[name](number)
                if number >= 0:
                    found[name].append(count / (clock() - start))
    return found


def forward_limit(
    quick: bool, images: Path = IMAGES, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Images/s of extraction and of the bare forward pass, and their ratio.

    Args:
        quick: Fewer images and rounds.
        images: A folder with a folder of JPEG images a class.
        clock: Seconds; `time.process_time`, summed over the threads, on a machine that others use
            too.

    Returns:
        Medians over the rounds: `extraction`; `forward` (the faster way of the bare pass) and each
        way by name; `timm`, the faster way of the encoder as timm builds it; and `ratio`, the
        median over the rounds of extraction against the faster way of that round.
    """
    rates = measured(quick, images, clock)
    figures = {name: statistics.median(rows) for name, rows in rates.items()}
    forward = [max(pair) for pair in zip(rates["all_threads"], rates["side_by_side"], strict=True)]
    pairs = zip(rates["extraction"], forward, strict=True)
    figures["forward"] = max(figures["all_threads"], figures["side_by_side"])
    figures["timm"] = max(figures["timm_all_threads"], figures["timm_side_by_side"])
    figures["ratio"] = statistics.median(ours / bare for ours, bare in pairs)
    return figures


def main() -> None:
    """Measure, print a table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="fewer images and rounds")
    parser.add_argument("--images", type=Path, default=IMAGES, help="folder of UC Merced")
    told = "processor time in place of seconds: images in a second of one core"
    parser.add_argument("--shared-machine", action="store_true", help=told)
    arguments = parser.parse_args()
    clock = time.process_time if arguments.shared_machine else time.perf_counter
    figures = forward_limit(arguments.quick, arguments.images, clock)
    for name, value in figures.items():
        print(f"{name:<20} {value:9.2f}" + ("" if name == "ratio" else " images/s"))
    print(json.dumps({
        "benchmark": "probe_forward",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": {name: round(value, 2) for name, value in figures.items()},
        "ratios": {"forward_limit": round(figures["ratio"], 3)},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
