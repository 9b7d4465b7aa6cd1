"""Operations counted on the meta device, against published figures and a sum done by hand."""

import pytest
import torch
from objective_cases import GFM, SIMMIM, SUPERVISED, write_teacher

from workflow_scripts.models.flops import training_flops
from workflow_scripts.objectives import build_objective


def meta(recipe, channels=3, classes=("a", "b", "c"), teacher=None):
    statistics = {"mean": [0.0] * channels, "std": [1.0] * channels}
    with torch.device("meta"):
        return build_objective(
            recipe, channels=channels, classes=list(classes), teacher=teacher, **statistics
        )


def vit(patch, width, depth, heads):
    return {"family": "vit", "image_size": 224, "patch": patch, "width": width, "depths": [depth],
            "heads": [heads], "mlp_ratio": 4.0, "window": None}  # fmt: skip


@pytest.mark.parametrize(
    ("encoder", "published"),
    [(vit(16, 768, 12, 12), 58.7), (vit(16, 1024, 24, 16), 124.5), (vit(14, 1280, 32, 16), 291),
     (vit(14, 1536, 32, 16), 400), (vit(14, 2816, 32, 32), 1238), (vit(14, 5040, 48, 48), 5767)],
    ids=["base", "large", "huge", "1b", "3b", "15b"],
)  # fmt: skip
def test_masked_autoencoders_cost_what_is_published(encoder, published):
    recipe = {"objective": "mae", "encoder": encoder, "gfm": None,
              "decoder": {"width": 512, "depth": 8, "heads": 16},
              "mask": {"ratio": 0.75, "patch": None, "norm_pix": True}}  # fmt: skip
    found = training_flops(meta(recipe), size=224) / 1e9
    # The published figures predict visible patches too, which no loss looks at.
    assert 0.97 * published < found < 1.001 * published


def block(tokens, width, keys):
    """Forward: qkv, projection and an MLP four times as wide; two products of attention."""
    return 2 * tokens * (4 + 8) * width**2 + 2 * 2 * tokens * keys * width


def test_a_vit_costs_what_its_shapes_say():
    embedding = 2 * 196 * 16 * 16 * 3 * 768
    rest = 12 * block(197, 768, 197) + 2 * 768 * 3
    # Backward costs twice the forward pass, but images need no gradient.
    expected = 3 * (embedding + rest) - embedding
    recipe = SUPERVISED | {"encoder": vit(16, 768, 12, 12)}
    assert training_flops(meta(recipe), size=224, images=2) == expected


@pytest.mark.parametrize("family", ["swin", "swinv2"])
def test_a_swin_costs_what_its_shapes_say(family):
    encoder = {"family": family, "image_size": 64, "patch": 4, "width": 32, "depths": [2, 3],
               "heads": [2, 4], "mlp_ratio": 4.0, "window": 8}  # fmt: skip
    embedding = 2 * 256 * 4 * 4 * 3 * 32
    rest = 2 * block(256, 32, 64) + 2 * 64 * (4 * 32) * 64 + 3 * block(64, 64, 64) + 2 * 64 * 3
    expected = 3 * (embedding + rest) - embedding
    if family == "swinv2":
        # Once a pass: (2w - 1)^2 offsets, which need no gradient, through an MLP of 512.
        heads = [2, 2, 4, 4, 4]
        expected += sum(15**2 * (2 * 2 * 2 * 512 + 3 * 2 * 512 * h) for h in heads) / 8
    found = training_flops(meta(SUPERVISED | {"encoder": encoder}), size=64, images=8)
    assert found == expected


def test_a_frozen_teacher_counts_with_its_forward_pass_and_keeps_its_weights(tmp_path):
    gfm = meta(GFM, channels=6, teacher=write_teacher(tmp_path))
    before = {name: value.clone() for name, value in gfm.teacher.state_dict().items()}
    alone = training_flops(meta(SIMMIM, channels=6), size=32, images=2)
    # The teacher: 48 pixels, patch 4, windows of 6, up to its merging; and the student's projector.
    teacher = 2 * 144 * 4 * 4 * 6 * 8 + 2 * (2 * 144 * (4 + 4) * 8**2 + 4 * 144 * 36 * 8)
    teacher += 2 * 36 * (4 * 8) * 16
    assert training_flops(gfm, size=32, images=2) - alone == teacher + 3 * 2 * 24 * 16
    assert not any(value.is_meta for value in gfm.teacher.state_dict().values())
    assert all(torch.equal(before[n], value) for n, value in gfm.teacher.state_dict().items())
