"""Encoders: shapes, published parameter counts, initial weights, position tables, refusals."""

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


def vit(**changes):
    encoder = {"family": "vit", "image_size": 224, "patch": 16, "width": 768, "depths": [12]}
    return encoder | {"heads": [12], "mlp_ratio": 4.0, "window": None} | changes


def swin(**changes):
    encoder = {"family": "swin", "image_size": 32, "patch": 4, "width": 12, "depths": [2, 2]}
    return encoder | {"heads": [2, 4], "mlp_ratio": 2.0, "window": 4} | changes


def count(encoder, channels=3):
    with torch.device("meta"):
        return sum(p.numel() for p in build_encoder(encoder, channels).parameters())


MODIS = {"family": "swinv2", "image_size": 128, "window": 8}
PUBLISHED = [
    # name, encoder, channels, parameters (facts: the papers and the projects' public records)
    ("ViT-B/16", vit(), 3, 85_798_656),
    ("ViT-L/16", vit(width=1024, depths=[24], heads=[16]), 3, 303_301_632),
    ("ViT-H/14", vit(width=1280, depths=[32], heads=[16], patch=14), 3, 630_764_800),
    (
        "SwinV2-B/8",
        swin(family="swinv2", image_size=256, width=128, depths=[2, 2, 18, 2], window=8)
        | {"heads": [4, 8, 16, 32], "mlp_ratio": 4.0},
        3,
        86_893_816,
    ),
    (
        "Swin-B/7",
        swin(image_size=224, width=128, depths=[2, 2, 18, 2], window=7)
        | {"heads": [4, 8, 16, 32], "mlp_ratio": 4.0},
        3,
        86_743_224,
    ),
    (
        "MODIS SwinV2 100M",
        swin(width=96, depths=[2, 2, 8, 2], heads=[3, 6, 12, 24], mlp_ratio=4.0) | MODIS,
        6,
        31_146_306,
    ),
    (
        "MODIS SwinV2 200M",
        swin(width=138, depths=[2, 2, 18, 2], heads=[6, 12, 24, 48], mlp_ratio=4.0) | MODIS,
        6,
        101_053_914,
    ),
]


@pytest.mark.parametrize(
    ("encoder", "channels", "expected"),
    [row[1:] for row in PUBLISHED],
    ids=[r[0] for r in PUBLISHED],
)
def test_published_parameter_counts(encoder, channels, expected):
    assert count(encoder, channels) == expected


def test_gated_vit_has_the_5b_rungs_published_count():
    # Two depths give a block's parameters; the rest is the stem. 56 blocks need not be built.
    five = vit(width=1792, heads=[16], patch=14, mlp_ratio=15360 / 1792, gated=True)
    one, two = count(five | {"depths": [1]}), count(five | {"depths": [2]})
    assert (one + 55 * (two - one)) / 1e6 == pytest.approx(5347.7, abs=0.05)


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
    "swin": swin(),
    "swinv2": swin(family="swinv2"),
}


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
