"""Why the loader reads and decodes as it does: each choice beside what else the libraries offer.

Microseconds a sample in one process, warm cache, medians over rounds in turn: encoded images (UC
Merced's) and chips (6 × 128 × 128 uint16) out of a shard; CRC-32; decoding; resizing a crop of 60 %
of the area to 224 pixels; and large pictures decoded at 1/2, 1/4 and 1/8 with what that costs in
likeness (PSNR of the resized crop against full decoding).

    python benchmarks/reading.py --images <folder of class folders> [--large <folder of JPEGs>]
        [--quick] [--rounds N]
"""

import argparse
import functools
import io
import json
import mmap
import os
import platform
import statistics
import sys
import tempfile
import time
import zlib
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import h5py
import numpy as np
import simplejpeg
import torch
from isal import isal_zlib
from PIL import Image
from torch.nn.functional import interpolate

from workflow_scripts.shards.reader import Shard
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

CHIPS, SHAPE, SIZE = 512, (6, 128, 128), 224
Ways = dict[str, tuple[Callable[[Any], Any], list[Any]]]


def pillow(data: bytes) -> np.ndarray:
    """A JPEG decoded by Pillow."""
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


def torch_resized(
    pixels: np.ndarray, whole: tuple[int, ...] | None = None, by: int = 1
) -> torch.Tensor:
    """The upper left crop, resized by torch in 8 bits."""
    # Of a multiple of 8 pixels, so that it is the same crop at 1/2, 1/4 and 1/8.
    height, width = (round(0.775 * side / 8) * 8 // by for side in whole or pixels.shape[:2])
    crop = torch.from_numpy(pixels[:height, :width]).permute(2, 0, 1)[None]
    crop = crop.contiguous(memory_format=torch.channels_last)
    return interpolate(crop, (SIZE, SIZE), mode="bicubic", antialias=True)[0]


def pillow_resized(image: Image.Image) -> np.ndarray:
    """The same by Pillow."""
    width, height = (int(0.775 * side) for side in image.size)
    box = (0, 0, width, height)
    return np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BICUBIC, box=box))


def shrunk(data: bytes, by: int) -> np.ndarray:
    """A JPEG decoded at 1/by of its size."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    return simplejpeg.decode_jpeg(data, min_height=-(-height // by), min_width=-(-width // by))


def large_resized(data: bytes, by: int) -> torch.Tensor:
    """The upper left crop of a JPEG decoded at 1/by of its size, resized."""
    return torch_resized(shrunk(data, by), simplejpeg.decode_jpeg_header(data)[:2], by)


def reading_ways(folder: Path, images: list[bytes]) -> Ways:
    """Samples out of shards, in random order."""
    rows = [ImageSample(key=str(n), data=d, height=1, width=1) for n, d in enumerate(images)]
    write_image_shard(folder / "images.h5", rows, classes=[])
    rng = np.random.default_rng(0)
    chips = (
        ChipSample(key=str(n), counts=rng.integers(0, 32768, SHAPE, np.uint16), scale=np.ones(6),
                   offset=np.zeros(6))
        for n in range(CHIPS)
    )  # fmt: skip
    write_chip_shard(folder / "chips.h5", chips, bands=list("abcdef"), size=128, attributes={})
    file = h5py.File(folder / "images.h5", locking=False)
    pool, offsets = file["pool"], file["offsets"][:].tolist()
    counts = h5py.File(folder / "chips.h5", locking=False)["counts"]
    shard, shard_of_chips = Shard(folder / "images.h5"), Shard(folder / "chips.h5")
    out = np.ones(SHAPE, np.uint16)
    buffer, start = out.reshape(-1).data.cast("B"), counts.id.get_offset()
    descriptor = os.open(folder / "chips.h5", os.O_RDONLY)
    mapped = memoryview(mmap.mmap(descriptor, 0, prot=mmap.PROT_READ))
    size = buffer.nbytes

    def from_map(n: int) -> None:
        buffer[:] = mapped[start + n * size : start + (n + 1) * size]

    some, many = rng.permutation(len(images)).tolist(), rng.permutation(CHIPS).tolist()
    return {
        "image: h5py slice": (lambda n: pool[offsets[n] : offsets[n + 1]].tobytes(), some),
        "image: pread + CRC-32 (ours)": (shard.image, some),
        "chip: h5py slice": (lambda n: counts[n], many),
        "chip: h5py read_direct": (lambda n: counts.read_direct(out, np.s_[n]), many),
        "chip: preadv": (lambda n: os.preadv(descriptor, [buffer], start + n * size), many),
        "chip: preadv + CRC-32 (ours)": (lambda n: shard_of_chips.counts_to(n, buffer), many),
        "chip: mmap": (from_map, many),
        "CRC-32 of a chip: zlib": (lambda _: zlib.crc32(buffer), many),
        "CRC-32 of a chip: isal (ours)": (lambda _: isal_zlib.crc32(buffer), many),
    }


def decoding_ways(images: list[bytes]) -> Ways:
    """From bytes to pixels, and from a crop to the size that is asked for."""
    pixels = [simplejpeg.decode_jpeg(data) for data in images]
    return {
        "decode: Pillow": (pillow, images),
        "decode: simplejpeg (ours)": (simplejpeg.decode_jpeg, images),
        "decode: simplejpeg, fast DCT and upsampling": (
            lambda data: simplejpeg.decode_jpeg(data, fastdct=True, fastupsample=True), images,
        ),
        "resize: Pillow": (pillow_resized, [Image.fromarray(one) for one in pixels]),
        "resize: torch in 8 bits (ours)": (torch_resized, pixels),
    }  # fmt: skip


def large_ways(large: list[bytes]) -> tuple[Ways, dict[str, float]]:
    """Large pictures decoded smaller and resized, and their likeness in dB."""
    ways: Ways = {}
    likeness = {}
    for by in (1, 2, 4, 8):
        name = f"large picture at 1/{by}, resized"
        ways[name] = (functools.partial(large_resized, by=by), large)
        small, full = (torch.stack([large_resized(data, b) for data in large]) for b in (by, 1))
        if by > 1:
            error = (small.float() - full.float()).square().mean()
            likeness[name] = round(float(10 * torch.log10(255**2 / error)), 1)
    return ways, likeness


def main() -> None:
    """Measure in turn, print the table and one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=Path, required=True, help="a folder of class folders")
    parser.add_argument("--large", type=Path, help="a folder of large JPEG files")
    parser.add_argument("--quick", action="store_true", help="two rounds")
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    images = [path.read_bytes() for path in sorted(arguments.images.glob("*/*.jpg"))[::4]]
    large = sorted(arguments.large.glob("*.jp*g")) if arguments.large else []
    with tempfile.TemporaryDirectory(prefix="reading-benchmark-") as folder:
        ways = {**reading_ways(Path(folder), images), **decoding_ways(images)}
        more, likeness = large_ways([path.read_bytes() for path in large]) if large else ({}, {})
        ways |= more
        taken: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(2 if arguments.quick else arguments.rounds):
            for name, (work, items) in ways.items():
                start = time.perf_counter()
                for item in items:
                    work(item)
                taken[name].append(1e6 * (time.perf_counter() - start) / len(items))
    medians = {name: statistics.median(times) for name, times in taken.items()}
    for name, times in taken.items():
        alike = f"  {likeness[name]} dB" if name in likeness else ""
        print(f"{name:<46} {medians[name]:9.1f} µs  ({min(times):.1f} … {max(times):.1f}){alike}")
    ratios = {
        "image_read": medians["image: h5py slice"] / medians["image: pread + CRC-32 (ours)"],
        "chip_read": medians["chip: h5py slice"] / medians["chip: preadv + CRC-32 (ours)"],
        "crc": medians["CRC-32 of a chip: zlib"] / medians["CRC-32 of a chip: isal (ours)"],
        "decode": medians["decode: Pillow"] / medians["decode: simplejpeg (ours)"],
        "resize": medians["resize: Pillow"] / medians["resize: torch in 8 bits (ours)"],
    }
    print(json.dumps({
        "benchmark": "reading",
        "machine": platform.machine(),
        "versions": {"python": platform.python_version(),
                     **{n: version(n) for n in ("torch", "h5py", "isal", "pillow", "simplejpeg")}},
        "figures": {name: round(value, 2) for name, value in medians.items()} | {"db": likeness},
        "ratios": {name: round(value, 2) for name, value in ratios.items()},
    }))  # fmt: skip


if __name__ == "__main__":
    main()
