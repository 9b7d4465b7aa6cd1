"""A tiny labelled corpus of six-band chips, some of whose pixels may have no value."""

import json

import numpy as np

from workflow_scripts.digests import file_sha256
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.layout import FORMAT_VERSION
from workflow_scripts.shards.writer import ChipSample, write_chip_shard

BANDS = ["6", "7", "20", "28", "29", "31"]
SCALE = np.array([0.002, 0.003, 1e-4, 2e-4, 4e-4, 6e-4])  # a count, W m⁻² sr⁻¹ µm⁻¹
OFFSET = np.array([0.0, 10.0, 2700.0, 2300.0, 2100.0, 1500.0])
MIDDLE = np.array([9000, 9500, 12000, 13000, 14000, 15000])  # counts of the mean
SIZE = 20


def six_band_chips(*, count=24, seed=0):
    """Counts (count, 6, 20, 20) of chips whose class (number modulo 3) is their texture."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:SIZE, :SIZE]
    waves = np.stack([np.zeros((SIZE, SIZE)), np.sin(y), np.sin(x)])
    noise = rng.normal(0, 400, (count, 6, SIZE, SIZE))
    return (MIDDLE[:, None, None] + 3000 * waves[np.arange(count) % 3][:, None] + noise).astype(
        np.uint16
    )


def holes(shape, *, share=0.1, seed=1):
    """Which pixels lack a value: single ones, and all of some bands."""
    rng = np.random.default_rng(seed)
    found = rng.random(shape) < share
    found[rng.random(shape[:2]) < share] = True
    return found


def six_band_corpus(folder, counts, *, classes=("flat", "rows", "columns")):
    """Write the chips, two thirds for training, and an index with the mean of `MIDDLE`."""
    folder.mkdir(parents=True, exist_ok=True)
    names = list(classes)
    samples = [
        ChipSample(
            key=f"chip{number}", counts=chip, scale=SCALE, offset=OFFSET,
            label=number % 3 if names else -1, split=2 if number % 9 > 5 else 0,
        )
        for number, chip in enumerate(counts)
    ]  # fmt: skip
    path = folder / "day.h5"
    write_chip_shard(path, samples, bands=BANDS, size=SIZE, attributes={}, classes=names)
    mean = (MIDDLE - OFFSET) * SCALE
    std = 1500 * SCALE
    index = {
        "format_version": FORMAT_VERSION, "kind": "chips", "corpus": "six", "synthetic": True,
        "channels": 6, "bands": BANDS, "classes": names, "count": len(counts),
        "mean": mean.tolist(), "std": std.tolist(), "mean_2sigma": (mean + 2 * std).tolist(),
        "shards": [{"file": path.name, "sha256": file_sha256(path), "count": len(counts)}],
    }  # fmt: skip
    index["content"] = content_digest(index)
    (folder / "index.json").write_text(json.dumps(index))
    return folder / "index.json"
