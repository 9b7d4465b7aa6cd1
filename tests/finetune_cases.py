"""Small encoders and benchmarks for the tests of fine-tuning."""

import argparse
import json

import feature_cases
import numpy as np
from feature_cases import SWIN, png
from safetensors.torch import save_file

from workflow_scripts.config_finetune import FinetuneSettings
from workflow_scripts.digests import file_sha256
from workflow_scripts.features.encoder import random_like
from workflow_scripts.files import write_json
from workflow_scripts.finetune.__main__ import finetune
from workflow_scripts.finetune.network import build
from workflow_scripts.finetune.trial import Trial
from workflow_scripts.models.encoders import timm_architecture
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.split.samples import read_benchmark
from workflow_scripts.split.table import write_table

VIT = {
    "family": "vit", "image_size": 16, "patch": 8, "width": 32, "depths": [3], "heads": [2],
    "mlp_ratio": 2.0, "window": None,
}  # fmt: skip
PLAIN_SWIN = {**SWIN, "family": "swin"}
COLOURS = ["red", "green", "blue"]
CLASSES = ["dark", "red", "striped"]
SPLITS = ("train", "val", "test")
MILD = {"scale": (0.5, 1.0), "ratio": (0.8, 1.25), "flip": True, "rotate": False}


def settings(**changes):
    """A few epochs of small batches; the recipe's `finetune`."""
    small = {
        "epochs": 6, "warmup_epochs": 1, "batch": 36, "base_lr": 0.02, "lr_reference_batch": 36,
        "augment": MILD, "floor": False,
    }  # fmt: skip
    return json.loads(FinetuneSettings(**{**small, **changes}).model_dump_json())


def card(encoder, channels=3):
    name, kwargs = timm_architecture(encoder, channels)
    return {
        "architecture": name, "kwargs": kwargs, "family": encoder["family"],
        "image_size": encoder["image_size"], "channels": channels, "encoder": encoder,
        "bands": COLOURS[:channels], "synthetic": True,
        "normalisation": {
            "scale": "unit", "missing": None, "mean": [0.3] * channels, "std": [0.3] * channels,
            "clip": None,
        },
    }  # fmt: skip


def model_folder(folder, encoder=VIT, seed=7):
    folder.mkdir(parents=True, exist_ok=True)
    write_json(folder / "model.json", card(encoder))
    state = random_like(card(encoder), seed).state_dict()
    save_file({k: v.contiguous() for k, v in state.items()}, folder / "weights.safetensors")
    return folder


def picture(label, random, size=20):
    """Dark, reddish or striped, with noise and brightness of its own."""
    image = random.integers(0, 60, (size, size, 3)).astype(np.float64)
    if label == 1:
        image[:, :, 0] += 120
    if label == 2:
        image[::4] += 130
    return (image * random.uniform(0.8, 1.2)).clip(0, 255).astype(np.uint8)


def write_index(folder, file, *, count, bands=COLOURS, **own):
    """The index of one shard."""
    own = {"classes": CLASSES, "mean": [0.2] * len(bands), **own}
    return feature_cases.write_index(
        folder, [file], [count], channels=len(bands), bands=list(bands), **own
    )


def benchmark(folder, *, train=24, test=8, label_of=lambda label, number: label, spoil=None):
    """`train` and `test` pictures a class; labels may be others than what is seen."""
    random = np.random.default_rng(0)
    samples = []
    for split, count in (("train", train), ("test", test)):
        for number in range(count):
            for label in range(3):
                key = f"looks/{split}/{label}/{number}"
                data = b"no image" if key == spoil else png(picture(label, random))
                one = ImageSample(
                    key=key, data=data, height=20, width=20, label=label_of(label, number),
                    split=SPLITS.index(split),
                )  # fmt: skip
                samples.append(one)
    write_image_shard(folder / "s.h5", samples, classes=CLASSES)
    return write_index(folder, folder / "s.h5", count=len(samples))


def recipe(**changes):
    own = {key: changes.pop(key) for key in list(changes) if key in FinetuneSettings.model_fields}
    return {
        "encoder": "looks-mae", "run": "looks-mae", "step": None, "benchmark": "looks",
        "synthetic": True, "image_size": None, "seeds": [0],
        "finetune": settings(**own), **changes,
    }  # fmt: skip


def options(folder, index, *, encoder=VIT, threads=2, splits=None, name="result"):
    return argparse.Namespace(
        model=model_folder(folder / f"model-{encoder['family']}", encoder), index=index,
        splits=splits, corpora=[], output=folder / f"{name}.json", work=folder / f"work-{name}",
        device="cpu", threads=threads,
    )  # fmt: skip


def result_of(folder, index, *, encoder=VIT, threads=2, splits=None, name="result", **changes):
    made = options(folder, index, encoder=encoder, threads=threads, splits=splits, name=name)
    finetune(made, recipe(**changes))
    return made.output


def trial(index, *, encoder=VIT, seed=0, table=None, **changes):
    found = read_benchmark(index, table)
    return Trial(
        name="t", model=card(encoder), state=random_like(card(encoder), 7).state_dict(),
        benchmark=found, sides=found.splits[0], settings=settings(**changes),
        size=encoder["image_size"], seed=seed,
    )  # fmt: skip


def network(encoder=VIT, *, classes=3, seed=0, size=None, **changes):
    model = card(encoder)
    state = random_like(model, 7).state_dict()
    made = build(
        model, state, classes=classes, settings=settings(**changes),
        size=size or encoder["image_size"], seed=seed,
    )  # fmt: skip
    return made, state


def table_of(folder, cells, *, classes, multi_label=False, name="seed-0"):
    """A table of one split: side and label (names joined by `;`) by key."""
    path = folder / "looks.csv"
    sides, labels = ([pair[at] for pair in cells.values()] for at in (0, 1))
    write_table(path, list(cells), ["0" * 64] * len(cells), labels, {name: sides})
    body = {
        "dataset": "looks", "classes": classes, "multi_label": multi_label,
        "table": {"sha256": file_sha256(path)}, "splits": [{"name": name, "digest": "d" * 64}],
    }  # fmt: skip
    write_json(path.with_suffix(".json"), body)
    return path
