"""Tiny recipes, batches and a teacher that the tests of the objectives share."""

import json

import torch
from safetensors.torch import save_file

from workflow_scripts.models.encoders import random_encoder, timm_architecture
from workflow_scripts.models.initialise import initialise
from workflow_scripts.objectives import build_objective

MAE = {
    "objective": "mae",
    "encoder": {"family": "vit", "image_size": 32, "patch": 8, "width": 24, "depths": [2]}
    | {"heads": [3], "mlp_ratio": 2.0, "window": None},
    "decoder": {"width": 16, "depth": 1, "heads": 2},
    "mask": {"ratio": 0.7, "patch": None, "norm_pix": True},
    "gfm": None,
}
SIMMIM = {
    "objective": "simmim",
    "encoder": {"family": "swin", "image_size": 32, "patch": 4, "width": 12, "depths": [2, 2]}
    | {"heads": [2, 4], "mlp_ratio": 2.0, "window": 4},
    "decoder": {"kind": "pixelshuffle"},
    "mask": {"ratio": 0.6, "patch": 8, "norm_pix": False},
    "gfm": None,
}
SWINV2 = SIMMIM | {"encoder": SIMMIM["encoder"] | {"family": "swinv2"}}
GFM = SIMMIM | {"objective": "gfm", "gfm": {"alpha": 0.5}}
SUPERVISED = SIMMIM | {"objective": "supervised"}
RECIPES = {"mae": MAE, "simmim": SIMMIM, "swinv2": SWINV2, "gfm": GFM, "supervised": SUPERVISED}


def build(recipe, channels=6, seed=1, teacher=None):
    statistics = {"mean": [0.1 * (i + 1) for i in range(channels)], "std": [0.5] * channels}
    objective = build_objective(
        recipe, channels=channels, classes=["a", "b", "c"], teacher=teacher, **statistics
    )
    initialise(objective, seed)
    return objective


def make_batch(objective, channels=6, count=3, seed=0, size=32):
    generator = torch.Generator().manual_seed(seed)
    return {
        "images": torch.randn(count, channels, size, size, generator=generator),
        "noise": torch.rand(count, objective.cells, generator=generator),
        "labels": torch.arange(count) % 3,
    }


def lively(module):
    """Redraw every parameter so that every part of a model, residual branches too, counts."""
    generator = torch.Generator().manual_seed(12)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            noise = torch.randn(parameter.shape, generator=generator)
            if "norm" in name and name.endswith("weight"):
                parameter.copy_(1 + 0.2 * noise)
            elif "logit_scale" in name:
                parameter.copy_(2.5 + 0.3 * noise)
            elif parameter.ndim > 1 and "table" not in name:
                parameter.copy_(noise / parameter[0].numel() ** 0.5)
            else:
                parameter.copy_(0.3 * noise)
    return module


def shaken(objective):
    """Move every parameter off its special start, so that biases and scales count in a test."""
    generator = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in objective.parameters():
            parameter += 0.05 * torch.randn(parameter.shape, generator=generator)
    return objective


def write_teacher(folder, channels=6):
    """A run folder with a Swin of another size, window and normalisation than the student's."""
    encoder = SIMMIM["encoder"] | {"image_size": 48, "width": 8, "window": 6, "heads": [2, 2]}
    name, kwargs = timm_architecture(encoder, channels)
    card = {"architecture": name, "kwargs": kwargs, "family": "swin", "image_size": 48}
    card |= {"channels": channels, "encoder": encoder}
    card["normalisation"] = {
        "mean": [0.3] * channels,
        "std": [0.2 + 0.1 * i for i in range(channels)],
    }
    (folder / "model.json").write_text(json.dumps(card))
    save_file(random_encoder(encoder, channels, 5).state_dict(), folder / "weights.safetensors")
    return folder
