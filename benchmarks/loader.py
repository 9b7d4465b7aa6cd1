"""Images and chips from storage to uint8 and uint16 batches: ours against four readers and limits.

Images are those of a folder (UC Merced), repeated. All readers deliver the same: random resized
crop to 224 pixels (area 0.2 to 1, bicubic) and random flip, uint8 batches of 64, two workers,
shuffled as each does it. A peer is measured as its guide says (Pillow and torchvision's transforms)
and with our decode and crop in its place, which tells reading from decoding. `decode_ours` and
`decode_pillow` decode, crop and flip bytes that lie in memory, in two plain processes: no reading,
no DataLoader. `ours` is what the trainer iterates, `ours_dataloader` our dataset in a DataLoader.

Chips are 6 × 128 × 128 random counts, whole, from the page cache: HDF5 with one chunk a chip
(`chunked`) and memcpy of a memory-mapped file (`memmap`), as a dataset of chips that torch
collates, and with our way of handing batches over (`…_batches`): items are batches, written into
the shared memory that goes to the main process. The ratio `chunked_chips` is against the former,
`chunked_chips_batches` against the latter, `memmap_chips` against the faster of both ways with the
memory-mapped file. `memmap_bare` is its memcpy in two plain processes into one batch that goes
nowhere, without any check: `memmap_chips_bare` is against that.

Every measurement has a fresh process and the readers take turns, several times. A rate is that of
all samples after the first batch of each worker; the time to the first batch is without imports;
processor time is that of all processes of a reader, its start included. Each reader must deliver
every sample once, in batches of the right shape and type. Ratios are the medians over the rounds
of our rate over the other's in the same round (higher is better for ours).

    python benchmarks/loader.py --images <folder of class folders> [--quick] [--rounds N]
"""

import argparse
import functools
import json
import os
import platform
import shutil
import statistics
import sys
import tempfile
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))
os.environ |= {
    "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1",
    "PYTHONWARNINGS": "ignore::UserWarning",  # of multiprocessing, on what streaming leaves behind
}  # fmt: skip

import loader_chips as chips
import loader_images as images
import loader_peers as peers
import numpy as np
import torch
from loader_measure import Result, apart, drain, measure

from workflow_scripts.threads import usable_cores

VERSIONS = (
    "torch", "torchvision", "pillow", "simplejpeg", "numpy", "h5py", "webdataset",
    "mosaicml-streaming", "datasets",
)  # fmt: skip
PEERS = {
    "image_folder": peers.read_image_folder,
    "webdataset": peers.read_webdataset,
    "mosaicml": peers.read_streaming,
    "hugging_face": peers.read_hugging_face,
}
LIMITS = {"decode_ours": True, "decode_pillow": False}
OURS, OURS_CHIPS = "ours", "ours_chips"
CHIPS = (
    "ours_chips_dataloader", "chunked", "chunked_batches", "memmap", "memmap_batches",
    "memmap_bare",
)  # fmt: skip
MOST_APART = 2.0  # grey levels between the means of two readers' pixels


def image_ways(
    folder: Path, sources: list[Path], count: int, classes: np.ndarray
) -> dict[str, Callable[[], Result]]:
    """Every way to read images, by name."""
    shape = (images.BATCH, images.SIZE, images.SIZE, 3)
    drained = functools.partial(drain, shape=shape, dtype=torch.uint8, count=count)
    ways: dict[str, Callable[[], Result]] = {
        name: functools.partial(
            drained, functools.partial(images.read_ours, folder, fed=fed), classes=classes
        )
        for name, fed in ((OURS, True), ("ours_dataloader", False))
    }
    for name, read in PEERS.items():
        for way, ours in ((name, False), (f"{name}_our_decoder", True)):
            reader = functools.partial(read, folder, ours=ours)
            ways[way] = functools.partial(drained, reader)
    for name, ours in LIMITS.items():
        ways[name] = functools.partial(images.decode_limit, sources, count, ours=ours)
    return ways


def chip_ways(folder: Path, count: int, epochs: int) -> dict[str, Callable[[], Result]]:
    """Every way to read chips, by name."""
    drained = functools.partial(
        drain, shape=(chips.BATCH, *chips.SHAPE), dtype=torch.uint16, count=count, epochs=epochs
    )
    made = {"chunked": (chips.Chunked, "chunked.h5"), "memmap": (chips.Memmap, "raw.bin")}
    ways: dict[str, Callable[[], Result]] = {
        name: functools.partial(
            drained, functools.partial(chips.read_ours, folder, epochs=epochs, fed=fed)
        )
        for name, fed in ((OURS_CHIPS, True), ("ours_chips_dataloader", False))
    }
    for name, (source, file) in made.items():
        for way, read in ((name, chips.read_items), (f"{name}_batches", chips.read_batches)):
            make = functools.partial(source, folder / file, count=count)
            reader = functools.partial(lambda read, make: read(make(), epochs=epochs), read, make)
            ways[way] = functools.partial(drained, reader)
    source = chips.Memmap(folder / "raw.bin", count=count)
    ways["memmap_bare"] = functools.partial(chips.copy_limit, source, epochs=epochs)
    return ways


def check_alike(results: dict[str, list[Result]]) -> None:
    """Readers that deliver other pictures (not decoded alike, not shuffled) are refused."""
    means = {name: statistics.mean(row["mean"] for row in rows) for name, rows in results.items()}
    if max(means.values()) - min(means.values()) > MOST_APART:
        raise SystemExit(f"the readers deliver other pixels: means {means}")


def prepare(folder: Path, sources: list[Path], count: int, chip_count: int) -> np.ndarray:
    """The files of all readers; returns the class of each sample of ours."""
    listed = images.write_folder(folder / "images", sources, count)
    for write in (
        images.write_ours, peers.write_webdataset, peers.write_streaming,
        peers.write_hugging_face,
    ):  # fmt: skip
        apart(functools.partial(write, folder, listed))
    apart(functools.partial(chips.write_chips, folder, chip_count))
    return apart(lambda: images.Corpus(folder / "ours" / "index.json").labels)


def ratios_of(results: dict[str, list[Result]]) -> dict[str, float]:
    """Our rate over the others', round by round, medians."""
    median = {
        name: statistics.median(row["rate"] for row in rows) for name, rows in results.items()
    }

    def best(*names: str) -> str:
        return max(names, key=lambda name: median[name])

    against = {
        "best_peer": (OURS, best(*PEERS)),
        "best_peer_our_decoder": (OURS, best(*(f"{name}_our_decoder" for name in PEERS))),
        "decode_limit": (OURS, "decode_ours"),
        "chunked_chips": (OURS_CHIPS, "chunked"),
        "chunked_chips_batches": (OURS_CHIPS, "chunked_batches"),
        "memmap_chips": (OURS_CHIPS, best("memmap", "memmap_batches")),
        "memmap_chips_bare": (OURS_CHIPS, "memmap_bare"),
    }
    return {
        name: round(
            statistics.median(
                mine["rate"] / other["rate"]
                for mine, other in zip(results[ours], results[peer], strict=True)
            ),
            3,
        )
        for name, (ours, peer) in against.items()
    }


def print_table(results: dict[str, list[Result]], what: str) -> None:
    """Medians, least and most, the time to the first batch, and processor time a sample."""
    print(f"{what:<28} {'per second':>10}  {'(least … most)':<16} {'first batch, s':>14} "
          f"{'processor, ms':>14}")  # fmt: skip
    for name, rows in results.items():
        rates = [row["rate"] for row in rows]
        spread = f"({min(rates):.0f} … {max(rates):.0f})"
        starts = [row["start"] for row in rows if "start" in row]
        start = f"{statistics.median(starts):14.2f}" if starts else f"{'–':>14}"
        cpu = statistics.median(row["cpu_ms"] for row in rows)
        print(f"  {name:<26} {statistics.median(rates):10.0f}  {spread:<16} {start} {cpu:14.3f}")


def report(results: dict[str, list[Result]], *, count: int, chip_count: int, rounds: int) -> None:
    """The tables and the last line."""
    in_chips = {OURS_CHIPS, *CHIPS}
    print(f"{rounds} rounds in turn; {count} images, {chip_count} chips; batches of "
          f"{images.BATCH}, {images.WORKERS} workers")  # fmt: skip
    print_table({n: rows for n, rows in results.items() if n not in in_chips}, "images")
    print_table({n: rows for n, rows in results.items() if n in in_chips}, "chips")
    figures: dict[str, Any] = {"images": count, "chips": chip_count, "rounds": rounds}
    for name, rows in results.items():
        figures[f"{name}_per_s"] = round(statistics.median(row["rate"] for row in rows), 1)
        figures[f"{name}_cpu_ms"] = round(statistics.median(row["cpu_ms"] for row in rows), 4)
        starts = [row["start"] for row in rows if "start" in row]
        if starts:
            figures[f"{name}_start_s"] = round(statistics.median(starts), 3)
    print(json.dumps({
        "benchmark": "loader",
        "machine": f"{platform.machine()}, {usable_cores()} cores",
        "versions": {"python": platform.python_version(), **{n: version(n) for n in VERSIONS}},
        "figures": figures,
        "ratios": ratios_of(results),
    }))  # fmt: skip


def main() -> None:
    """Prepare, measure, print the tables and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--quick", action="store_true", help="few images, one round")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scratch", type=Path, help="where files go (default: temporary folder)")
    arguments = parser.parse_args()
    # Multiples of a batch a worker and shard, so that no reader has a rest to drop or to deliver.
    count, chip_count, epochs = (1024, 512, 2) if arguments.quick else (20_992, 4096, 4)
    rounds = 1 if arguments.quick else arguments.rounds
    sources = sorted(path for path in arguments.images.glob("*/*") if path.suffix == ".jpg")
    if not sources:
        raise SystemExit(f"{arguments.images}: no <class>/*.jpg; give the folder of UC Merced")
    folder = Path(tempfile.mkdtemp(prefix="loader-benchmark-", dir=arguments.scratch))
    try:
        classes = prepare(folder, sources, count, chip_count)
        results = measure(
            image_ways(folder, sources, count, classes) | chip_ways(folder, chip_count, epochs),
            rounds,
        )
        check_alike({n: r for n, r in results.items() if n not in {OURS_CHIPS, *CHIPS}})
        report(results, count=count, chip_count=chip_count, rounds=rounds)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
