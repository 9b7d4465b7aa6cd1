"""Small benchmarks, model folders and command lines for the tests of feature extraction."""

import argparse
import io
import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from safetensors.torch import save_file

from workflow_scripts.digests import file_sha256
from workflow_scripts.features.__main__ import parser, run_rank
from workflow_scripts.models.encoders import random_encoder, timm_architecture
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.shards.writer import ImageSample, write_image_shard

VIT = {
    "family": "vit", "image_size": 16, "patch": 8, "width": 16, "depths": [3], "heads": [2],
    "mlp_ratio": 2.0, "window": None,
}  # fmt: skip
SWIN = {
    "family": "swinv2", "image_size": 32, "patch": 4, "width": 12, "depths": [1, 2],
    "heads": [1, 2], "mlp_ratio": 2.0, "window": 4,
}  # fmt: skip
AUGMENT = {"scale": [0.3, 1.0], "ratio": [0.75, 1.3333333333333333], "flip": True, "rotate": True}
RECIPE = {
    "encoder": "scenes-mae", "benchmark": "blots", "image_size": None, "layers": 2,
    "poolings": ["mean", "class"], "seeds": [0],
    "views": {"count": 0, "augment": AUGMENT, "seeds": []},
}  # fmt: skip
MEAN, STD = [0.2, 0.4, 0.5], [0.3, 0.2, 0.25]


def png(pixels: np.ndarray) -> bytes:
    """An image without loss."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_index(folder: Path, shards: list[Path], counts: list[int], **own: Any) -> Path:
    """The index of some shards of a benchmark."""
    rows = [
        {"file": path.name, "sha256": file_sha256(path), "count": count}
        for path, count in zip(shards, counts, strict=True)
    ]
    index = {
        "format_version": 1, "kind": "images", "synthetic": True, "count": sum(counts),
        "classes": ["a", "b"], "channels": 3, "bands": ["red", "green", "blue"], "shards": rows,
        **own,
    }  # fmt: skip
    index["content"] = content_digest(index)
    (folder / "index.json").write_text(json.dumps(index))
    return folder / "index.json"


def benchmark(folder: Path, *, count: int = 40, spoiled: int | None = None) -> Path:
    """A benchmark of two shards: images of odd sizes, every fifth without a split.

    Args:
        folder: Where it is written.
        count: Images.
        spoiled: The number of one that is no image.
    """
    folder.mkdir(parents=True, exist_ok=True)
    random, samples = np.random.default_rng(0), []
    for number in range(count):
        height, width = (17, 24) if number % 2 else (31, 16)
        data = png(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
        samples.append(
            ImageSample(
                key=f"blots/{number:03d}.png",
                data=b"\x89PNG but no image" if number == spoiled else data,
                height=height, width=width, label=number % 2,
                split=-1 if number % 5 == 4 else (0 if number % 3 else 2),
            )
        )  # fmt: skip
    parts = samples[: count // 3], samples[count // 3 :]
    shards = [folder / f"shard-{number:05d}.h5" for number in range(len(parts))]
    for path, part in zip(shards, parts, strict=True):
        write_image_shard(path, list(part), classes=["a", "b"])
    return write_index(folder, shards, [len(part) for part in parts])


def model_folder(folder: Path, encoder: dict[str, Any] = VIT, *, spoil: Any = None,
                 **card: Any) -> Path:  # fmt: skip
    """A finished run's folder; `spoil` changes the weights, `card` keys of `model.json`."""
    name, kwargs = timm_architecture(encoder, 3)
    state = random_encoder(encoder, 3, 7).state_dict()
    state = {key: value.clone().contiguous() for key, value in state.items()}
    if spoil is not None:
        spoil(state)
    folder.mkdir(parents=True, exist_ok=True)
    save_file(state, folder / "weights.safetensors")
    body = {
        "architecture": name, "kwargs": kwargs, "family": encoder["family"],
        "image_size": encoder["image_size"], "channels": 3, "encoder": encoder,
        "bands": ["red", "green", "blue"],
        "normalisation": {"scale": "unit", "missing": None, "mean": MEAN, "std": STD, "clip": None},
    }  # fmt: skip
    (folder / "model.json").write_text(json.dumps({**body, **card}))
    return folder


def options(recipe: dict[str, Any], model: Path, index: Path, output: Path, *more: str) -> list:
    """The command line of the stage; its store lies beside the output."""
    return [
        "--recipe", json.dumps(recipe), "--model", str(model), "--index", str(index),
        "--output", str(output), "--store", str(output.parent / "store"), *more,
    ]  # fmt: skip


def extract_here(recipe: dict[str, Any], model: Path, index: Path, output: Path, *more: str,
                 ranks: Ranks | None = None) -> dict[str, Any]:  # fmt: skip
    """Run the stage, or one of its ranks, in this process; the first one's result."""
    ranks = ranks or Ranks()
    given = options(recipe, model, index, output, "--ranks", str(ranks.world), *more)
    arguments: argparse.Namespace = parser().parse_args(given)
    run_rank(arguments, recipe, ranks)
    return json.loads(output.read_text()) if ranks.is_first else {}


def arrays(output: Path) -> dict[str, bytes]:
    """The bytes of each set that a result names."""
    store = output.parent / "store"
    sets = json.loads(output.read_text())["sets"]
    return {
        name: (store / entry["digest"] / "features.npy").read_bytes()
        for name, entry in sets.items()
    }


def left_over(output: Path) -> list[str]:
    """Files in the store that belong to no finished set."""
    named = {"features.npy", "set.json", ".set.json.lock"}
    store = output.parent / "store"
    return sorted(path.name for path in store.glob("*/*") if path.name not in named)
