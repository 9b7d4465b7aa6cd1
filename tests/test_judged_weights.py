"""Weights from elsewhere as encoders: odd architectures by way of a local file, no network."""

import io
import json

import numpy as np
import pytest
import torch
from model_folders import shaken_model, weights_recipe
from PIL import Image
from safetensors.torch import save_file
from tiny_runs import tiny_images

from workflow_scripts.features import __main__ as features
from workflow_scripts.features.store import StoredSet
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.weights import __main__ as weights

SIZE, MEAN, STD = 32, [0.4, 0.5, 0.6], [0.2, 0.3, 0.25]
# Architecture, and how many tokens of its last block stand before the patches.
ODD = {
    "a register, layer scale, no class token, the norm behind the mean": ("test_vit2", 1),
    "a class and a distillation token": ("deit_tiny_distilled_patch16_224", 2),
    "windows": ("swin_orbtest", 0),
}


def model_folder(folder, model, architecture):
    """What the stage `weights` makes of a model's weights in a local file."""
    save_file(model.state_dict(), folder / "weights.safetensors")
    recipe = weights_recipe(
        architecture, file=str(folder / "weights.safetensors"), image_size=SIZE, mean=MEAN, std=STD
    )
    card = folder / "made" / "model.json"
    options = ["--recipe", json.dumps(recipe), "--model", str(card)]
    weights.work(weights.parser().parse_args(options), recipe)
    return card.parent


def extracted(folder, model, index, poolings):
    """The sets of features that the stage `features` makes, by name."""
    recipe = {
        "encoder": "elsewhere", "benchmark": "tiny", "image_size": None, "layers": 1,
        "poolings": poolings, "seeds": [0, 1], "views": {"count": 0, "seeds": []},
    }  # fmt: skip
    output, store = folder / "features.json", folder / "store"
    options = [
        "--recipe", json.dumps(recipe), "--model", str(model), "--index", str(index),
        "--output", str(output), "--store", str(store), "--threads", "1",
    ]  # fmt: skip
    features.work(features.parser().parse_args(options), recipe)
    sets = json.loads(output.read_text())["sets"]
    return {name: StoredSet(store, one["digest"]) for name, one in sets.items()}


def pixels(corpus):
    """(n, 3, SIZE, SIZE) as the card says that the encoder is fed."""
    images = [Image.open(io.BytesIO(corpus.image(row))) for row in range(len(corpus))]
    values = np.stack([np.asarray(image, np.float32) for image in images])
    return torch.from_numpy((values / 255 - MEAN) / STD).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("case", ODD)
def test_odd_weights_are_judged_by_their_patches_and_their_class_token(tmp_path, case):
    architecture, before = ODD[case]
    model = shaken_model(architecture, num_classes=0, img_size=SIZE)
    has_class = getattr(model, "cls_token", None) is not None
    poolings = ["mean", "class"] if has_class else ["mean"]
    squares = ((SIZE, SIZE), (SIZE, SIZE))  # which nothing has to resize
    index = tiny_images(tmp_path / "corpus", count=6, shards=1, sizes=squares, judged=2)
    folder = model_folder(tmp_path, model, architecture)
    sets = extracted(tmp_path, folder, index, poolings)

    with torch.no_grad():
        tokens = model.forward_features(pixels(Corpus(index))).reshape(6, -1, model.num_features)
        after = getattr(model, "fc_norm", torch.nn.Identity())
        expected = {"mean": after(tokens[:, before:].mean(1)), "class": after(tokens[:, 0])}
    everything = slice(None)
    for pooling in poolings:
        found = sets["trained"].features(pooling, 1).take(everything)
        np.testing.assert_allclose(found, expected[pooling], rtol=1e-3, atol=1e-4)

    floors = [sets[f"random-{seed}"].features("mean", 1).take(everything) for seed in (0, 1)]
    for floor in floors:
        assert np.isfinite(floor).all()
        assert (floor.std(axis=0) > 0).any()  # it tells samples apart
    assert not np.allclose(*floors)
