"""Small model folders and timm architectures for the tests of weights, starts and teachers."""

import json

import timm
import torch
from safetensors.torch import save_file
from timm.models import generate_default_cfgs, register_model
from timm.models.swin_transformer import _create_swin_transformer

# An architecture of a published kind, small enough for a test: timm builds it by name.
default_cfgs = generate_default_cfgs(
    {
        "swin_orbtest.made_up": {
            "input_size": (3, 32, 32), "mean": (0.4, 0.5, 0.6), "std": (0.2, 0.3, 0.25),
            "num_classes": 5, "first_conv": "patch_embed.proj", "classifier": "head.fc",
            "license": "mit", "fixed_input_size": True,
        }
    }
)  # fmt: skip


@register_model
def swin_orbtest(pretrained=False, **kwargs):
    sizes = {"patch_size": 4, "window_size": 4, "embed_dim": 12, "depths": (2, 2),
             "num_heads": (2, 4), "img_size": 32, "mlp_ratio": 2.0}  # fmt: skip
    return _create_swin_transformer("swin_orbtest", pretrained=pretrained, **{**sizes, **kwargs})


def shaken_model(name, seed=0, **kwargs):
    """A timm model whose every parameter is off its special start."""
    generator = torch.Generator().manual_seed(seed)
    model = timm.create_model(name, **kwargs).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.1 * torch.randn(parameter.shape, generator=generator)
    return model


def weights_recipe(architecture="swin_orbtest", **changes):
    """A recipe of the stage `weights`."""
    recipe = {
        "weights": "elsewhere", "architecture": architecture, "file": None, "licence": "",
        "channels": 3, "image_size": None, "window": None, "scale": "unit", "mean": None,
        "std": None, "listing_digest": None,
    }  # fmt: skip
    return {**recipe, **changes}


def write_folder(folder, architecture, encoder, *, seed=0, channels=3, **kwargs):
    """A model folder of a shaken timm model; returns (folder, model)."""
    kwargs = {"num_classes": 0, "in_chans": channels, **kwargs}
    model = shaken_model(architecture, seed, **kwargs)
    card = {
        "architecture": architecture, "kwargs": kwargs, "family": encoder["family"],
        "image_size": encoder["image_size"], "channels": channels, "encoder": encoder,
        "normalisation": {"scale": "unit", "missing": None, "mean": [0.5] * channels,
                          "std": [0.25] * channels, "clip": None},
    }  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.json").write_text(json.dumps(card))
    save_file(model.state_dict(), folder / "weights.safetensors")
    return folder, model
