"""Encoders: shapes, initial weights, position tables, refusals."""

import json
import math

import numpy as np
import pytest
import timm
import torch

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import (
    build_encoder,
    encoder_blocks,
    random_encoder,
    timm_architecture,
)
from workflow_scripts.models.initialise import initialise
from workflow_scripts.models.positions import position_table
from workflow_scripts.models.shapes import odd_heads


def vit(**changes):
    encoder = {"family": "vit", "image_size": 224, "patch": 16, "width": 768, "depths": [12]}
    return encoder | {"heads": [12], "mlp_ratio": 4.0, "window": None} | changes


def swin(**changes):
    encoder = {"family": "swin", "image_size": 32, "patch": 4, "width": 12, "depths": [2, 2]}
    return encoder | {"heads": [2, 4], "mlp_ratio": 2.0, "window": 4} | changes


@pytest.mark.parametrize(
    ("size", "window", "sides"),
    [(128, 8, [8, 8, 8, 4]), (96, 6, [6, 6, 6, 3]), (64, 4, [4, 4, 4, 2]), (32, 7, [])],
)
@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_windows_shrink_with_the_last_stages(family, size, window, sides):
    encoder = swin(family=family, image_size=size, window=window, depths=[2, 2, 2, 2])
    encoder |= {"heads": [1, 2, 4, 8], "width": 4}
    if not sides:
        with pytest.raises(UserError, match="7 does not divide stage 1, which is 8"):
            build_encoder(encoder, 6)
        return
    model = build_encoder(encoder, 6).eval()
    second = [stage.blocks[1] for stage in model.layers]
    assert [block.window_size[0] for block in second] == sides
    widths = [size // 4 // 2**i for i in range(4)]
    # A stage that one window covers must not shift.
    shifted = [w > s for w, s in zip(widths, sides, strict=True)]
    assert [any(block.shift_size) for block in second] == shifted
    with torch.no_grad():
        features = model.forward_features(torch.zeros(1, 6, size, size))
    assert features.shape == (1, widths[-1], widths[-1], 32)


@pytest.mark.parametrize("encoder", [vit(width=24, heads=[3], depths=[2]), swin()])
def test_architecture_survives_json_and_rebuilds_the_model(encoder):
    name, kwargs = json.loads(json.dumps(timm_architecture(encoder, 6)))
    model = random_encoder(encoder, 6, 3)
    again = timm.create_model(name, **kwargs)
    again.load_state_dict(model.state_dict(), strict=True)
    images = torch.randn(2, 6, encoder["image_size"], encoder["image_size"])
    with torch.no_grad():
        assert torch.equal(again.eval()(images), model.eval()(images))
        assert torch.equal(model.train()(images), model.train()(images)), "no dropout of any kind"


@pytest.mark.parametrize(
    ("encoder", "message"),
    [
        (vit(image_size=100), "100 is not divisible by encoder.patch 16; use 96 or 112"),
        (vit(width=100, heads=[12]), "head dimension of 8.33333"),
        (vit(width=6, heads=[2]), "multiple of 4"),
        (vit(depths=[2, 2], heads=[2, 2]), "one number each"),
        (vit(family="resnet"), "'resnet' is not one of"),
        (vit(depths=[0]), "1 or more"),
        (swin(heads=[2, 2, 2]), "equally many"),
        (swin(heads=[2, 5]), "width 24 with 5 heads"),
        (swin(window=3), "does not divide stage 1, which is 8 tokens"),
        (swin(window=None), "needs a whole number"),
        (swin(image_size=36), "must be a multiple of 8"),
        (swin(gated=True), "swin has no gated MLP"),
        (vit(extra_norm_period=6), "vit has no extra norms"),
        (swin(extra_norm_period=2), "swin has no extra norms"),
        (swin(family="swinv2", extra_norm_period=3), "deepest stage has 2 blocks.*from 1 to 2"),
        (swin(family="swinv2", extra_norm_period=0), "from 1 to 2"),
    ],
)
def test_impossible_shapes_are_refused_with_their_numbers(encoder, message):
    with pytest.raises(UserError, match=message):
        timm_architecture(encoder, 3)


def test_position_table_is_the_papers():
    width, side = 16, 3
    table = position_table(width, side, class_token=True)
    assert table.shape == (10, width)
    assert table.dtype == torch.float32
    expected = np.zeros((10, width))
    for row in range(side):
        for column in range(side):
            for i in range(width // 4):
                omega = 10000 ** (-i / (width / 4))
                here = expected[1 + row * side + column]
                here[i], here[4 + i] = math.sin(column * omega), math.cos(column * omega)
                here[8 + i], here[12 + i] = math.sin(row * omega), math.cos(row * omega)
    np.testing.assert_allclose(table.numpy(), expected, atol=1e-7)
    assert torch.equal(position_table(width, side, class_token=False), table[1:])


ENCODERS = {
    "vit": vit(image_size=32, width=24, heads=[3], depths=[2]),
    "gated": vit(image_size=32, width=24, heads=[3], depths=[2], gated=True),
    "swin": swin(),
    "swinv2": swin(family="swinv2"),
    "extra norms": swin(family="swinv2", extra_norm_period=2),
}


def test_slow_head_dimensions_are_told():
    assert "head dimension of 105" in odd_heads(vit(width=5040, heads=[48]))
    assert odd_heads(vit()) is None
    assert odd_heads(swin(heads=[1, 2])) is None, "windows do not go through such kernels"


@pytest.mark.parametrize("family", ENCODERS)
def test_weights_depend_on_seed_and_name_only(family):
    first = random_encoder(ENCODERS[family], 3, 7).state_dict()
    torch.manual_seed(99)
    with torch.device("meta"):
        second = build_encoder(ENCODERS[family], 3)
    second.to_empty(device="cpu")
    initialise(second, 7, prefix="encoder.")
    state = second.state_dict()
    assert first.keys() == state.keys()
    assert all(torch.equal(first[name], state[name]) for name in first)
    # Buffers that no state dict holds are recomputed too: equal features say so.
    images = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        expected = random_encoder(ENCODERS[family], 3, 7)(images)
        assert torch.equal(second(images), expected)
    other = random_encoder(ENCODERS[family], 3, 8).state_dict()
    drawn = [n for n in first if first[n].std() > 0 and n != "pos_embed"]
    assert drawn
    assert not any(torch.equal(first[name], other[name]) for name in drawn)
    # No two parameters of one shape are alike: each has a generator of its own.
    assert len({first[name].flatten()[:4].numpy().tobytes() for name in drawn}) == len(drawn)


def test_order_of_construction_does_not_matter():
    def pair(order):
        module = torch.nn.Module()
        for name in order:
            module.add_module(name, torch.nn.Linear(3, 4))
        initialise(module, 5)
        return module.state_dict()

    first, second = pair("ab"), pair("ba")
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_vit_weights_are_distributed_as_in_the_mae_paper():
    model = random_encoder(vit(image_size=32, width=96, heads=[3], depths=[2]), 3, 0)
    qkv = model.blocks[0].attn.qkv
    bound = math.sqrt(6 / (96 + 3 * 96))
    assert qkv.weight.abs().max() <= bound
    assert qkv.weight.std().item() == pytest.approx(bound / math.sqrt(3), rel=0.05)
    assert not qkv.bias.any()
    stem = model.patch_embed.proj
    assert stem.weight.std().item() == pytest.approx(math.sqrt(2 / (96 + 768)), rel=0.05)
    assert 0 < stem.bias.abs().max() <= 1 / math.sqrt(768)
    assert model.cls_token.std().item() == pytest.approx(0.02, rel=0.4)
    table = position_table(96, 2, class_token=True)
    assert torch.equal(model.pos_embed[0], table)


def test_swinv2_block_norms_start_at_zero_and_others_at_one():
    model = random_encoder(ENCODERS["swinv2"], 3, 0)
    block = model.layers[0].blocks[0]
    assert not block.norm1.weight.any()
    assert not block.norm2.weight.any()
    assert (model.norm.weight == 1).all()
    assert block.attn.logit_scale.unique().item() == pytest.approx(math.log(10))
    assert model.layers[1].downsample.reduction.weight.std().item() == pytest.approx(0.02, rel=0.1)


def test_a_parameter_without_a_rule_and_one_without_memory_are_errors():
    module = torch.nn.Module()
    module.stray = torch.nn.Parameter(torch.zeros(3))
    with pytest.raises(RuntimeError, match="no rule to initialise stray"):
        initialise(module, 0)
    with pytest.raises(RuntimeError, match="on meta"):
        initialise(torch.nn.Linear(2, 2, device="meta"), 0)


@pytest.mark.parametrize("family", ENCODERS)
def test_blocks_are_all_transformer_blocks_in_order(family):
    model = random_encoder(ENCODERS[family], 3, 0)
    seen = []
    for index, block in enumerate(encoder_blocks(model)):
        block.register_forward_hook(lambda *_, index=index: seen.append(index))
    model(torch.zeros(1, 3, 32, 32))
    assert seen == list(range(sum(ENCODERS[family]["depths"])))
