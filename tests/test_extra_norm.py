"""Swin V2 with extra norms: where they sit, what they compute, and how others build it."""

import json
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
import timm
import torch
from objective_cases import GFM, MAE, SIMMIM, SUPERVISED, build, make_batch, shaken
from safetensors.torch import save_file

from tests.conftest import ROOT
from workflow_scripts.features.encoder import Pooled, load_model, set_image_size
from workflow_scripts.models.encoders import (
    build_encoder,
    needed_import,
    random_encoder,
    timm_architecture,
)

NORMED = {"family": "swinv2", "image_size": 32, "patch": 4, "width": 12, "depths": [2, 5]}
NORMED |= {"heads": [2, 4], "mlp_ratio": 2.0, "window": 4, "extra_norm_period": 2}
PLAIN = {key: value for key, value in NORMED.items() if key != "extra_norm_period"}
EXTRA = ["layers.0.blocks.1.norm3", "layers.1.blocks.1.norm3", "layers.1.blocks.3.norm3"]


def test_norms_sit_behind_every_second_block_of_each_stage_and_nothing_else_is_new():
    names, plain = (
        set(build_encoder(NORMED, 3).state_dict()),
        set(build_encoder(PLAIN, 3).state_dict()),
    )
    assert names - plain == {f"{name}.{leaf}" for name in EXTRA for leaf in ("weight", "bias")}
    assert plain < names
    giant = NORMED | {"depths": [2, 2, 42, 2], "heads": [2, 4, 8, 16], "extra_norm_period": 6}
    with torch.device("meta"):
        names = build_encoder(giant, 14).state_dict()
    blocks = [name.removesuffix(".norm3.weight") for name in names if "norm3.weight" in name]
    assert blocks == [f"layers.2.blocks.{index}" for index in range(5, 42, 6)]


def test_the_places_are_those_of_timms_other_swin_v2():
    # swin_transformer_v2_cr is written apart from both, and always ends its last stage with one.
    other = timm.create_model(
        "swinv2_cr_tiny_224", img_size=32, window_size=4, embed_dim=12, depths=(2, 5),
        num_heads=(2, 4), extra_norm_period=2, extra_norm_stage=False,
    )  # fmt: skip
    found = [
        f"layers.{i}.blocks.{j}.norm3"
        for i, stage in enumerate(other.stages)
        for j, block in enumerate(stage.blocks)
        if not isinstance(block.norm3, torch.nn.Identity)
    ]
    assert found == [*EXTRA, "layers.1.blocks.4.norm3"]


def test_a_normed_block_is_timms_block_and_a_layer_norm():
    normed = shaken(random_encoder(NORMED, 3, 0)).eval()
    plain = build_encoder(PLAIN, 3).eval()
    state = normed.state_dict()
    plain.load_state_dict({name: state[name] for name in plain.state_dict()})

    def layer_norm(x, name):
        rows = x.double().numpy()
        rows = (rows - rows.mean(-1, keepdims=True)) / np.sqrt(rows.var(-1, keepdims=True) + 1e-5)
        weight, bias = (state[f"{name}.{leaf}"].double().numpy() for leaf in ("weight", "bias"))
        return torch.from_numpy(rows * weight + bias).float()

    images = torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        x = plain.patch_embed(images)
        for i, stage in enumerate(plain.layers):
            x = stage.downsample(x)
            for j, block in enumerate(stage.blocks):
                x = block(x)
                if f"layers.{i}.blocks.{j}.norm3" in EXTRA:
                    x = layer_norm(x, f"layers.{i}.blocks.{j}.norm3")
        torch.testing.assert_close(normed.forward_features(images), plain.norm(x))


def test_extra_norms_start_as_plain_layer_norms():
    state = random_encoder(NORMED, 3, 0).state_dict()
    for name in EXTRA:
        assert (state[f"{name}.weight"] == 1).all(), "not zero like norm1 and norm2"
        assert not state[f"{name}.bias"].any()


def write_run(folder, encoder):
    """The part of a run's folder that others load, and the model."""
    model = shaken(random_encoder(encoder, 6, 5))
    name, kwargs = timm_architecture(encoder, 6)
    card = {"architecture": name, "kwargs": kwargs, "requires": needed_import(name)}
    card |= {"family": encoder["family"], "image_size": encoder["image_size"], "channels": 6}
    card |= {"encoder": encoder, "normalisation": {"mean": [0.3] * 6, "std": [0.5] * 6}}
    (folder / "model.json").write_text(json.dumps(card))
    save_file(model.state_dict(), folder / "weights.safetensors")
    return model.eval()


OBJECTIVES = {
    "simmim": SIMMIM | {"encoder": NORMED},
    "dense": SIMMIM | {"encoder": NORMED, "decoder": {"kind": "dense"}},
    "gfm": GFM | {"encoder": NORMED},
    "gfm with a plain swinv2": GFM | {"encoder": PLAIN},
    "supervised": SUPERVISED | {"encoder": NORMED},
    "gated mae": MAE | {"encoder": MAE["encoder"] | {"gated": True}},
}


@pytest.mark.parametrize("name", OBJECTIVES)
def test_every_objective_trains_and_exports_it(name, tmp_path):
    recipe = OBJECTIVES[name]
    write_run(tmp_path, NORMED)  # the teacher
    objective = build(recipe, teacher=tmp_path if recipe["objective"] == "gfm" else None)
    shaken(objective)(make_batch(objective))["loss"].backward()
    idle = [n for n, p in objective.named_parameters() if p.grad is None or not p.grad.any()]
    assert not idle
    assert not any("norm3" in n for n in objective.decay_names())
    exported = objective.export_encoder_state(objective.state_dict())
    architecture, kwargs = timm_architecture(recipe["encoder"], 6)
    timm.create_model(architecture, **kwargs).load_state_dict(exported, strict=True)


def test_gfm_paints_what_simmim_paints_with_any_family(tmp_path):
    write_run(tmp_path, NORMED)
    for encoder in (NORMED, PLAIN):
        gfm = shaken(build(GFM | {"encoder": encoder}, teacher=tmp_path))
        simmim = build(SIMMIM | {"encoder": encoder})
        simmim.load_state_dict({n: gfm.state_dict()[n] for n in simmim.state_dict()})
        batch = make_batch(gfm)
        with torch.no_grad():
            torch.testing.assert_close(gfm(batch)["simmim"], simmim(batch)["loss"])


def test_a_probe_reads_it_at_another_size(tmp_path):
    model = write_run(tmp_path, NORMED)
    card, encoder = load_model(tmp_path)
    images = torch.randn(2, 6, 32, 32)
    with torch.no_grad():
        expected = model.forward_features(images).mean(dim=(1, 2)).numpy()
    found = Pooled(encoder, poolings=["mean"], layers=1)(images)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    set_image_size(encoder, card, 64)
    assert Pooled(encoder, poolings=["mean"], layers=2)(torch.randn(1, 6, 64, 64)).shape == (1, 48)


def test_the_lines_of_the_page_load_it_where_only_timm_and_its_module_are(tmp_path):
    write_run(tmp_path, NORMED)
    module = "workflow_scripts/models/swinv2_extra_norm.py"
    (tmp_path / module).parent.mkdir(parents=True)
    shutil.copy(ROOT / module, tmp_path / module)
    (code,) = re.findall(r"```python\n(.*?)```", (ROOT / "docs/encoders.md").read_text(), re.DOTALL)
    code += "\nprint(type(encoder).__name__, encoder.layers[0].blocks[1].norm3.weight.shape)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, text=True, check=True,
        capture_output=True, env={**os.environ, "PYTHONPATH": str(tmp_path)},
    )  # fmt: skip
    assert done.stdout.split("\n")[0] == "SwinTransformerV2ExtraNorm torch.Size([12])"
    assert not done.stderr
