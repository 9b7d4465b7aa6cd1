"""Weight decay by name, for every parameter, and the curve of the learning rate.

In MAE's code everything has decay but vectors and biases; class and mask token are matrices
(1, 1, D) there. In SimMIM's, which GFM took over, likewise, but mask token, relative position
tables, `cpb_mlp` and `logit_scale` have none.
"""

import math

import pytest
from objective_cases import RECIPES, build, write_teacher

from workflow_scripts.pretrain.construct import adamw
from workflow_scripts.pretrain.schedule import learning_rate

BLOCK = ("attn.qkv", "attn.proj", "mlp.fc1", "mlp.fc2")
SWIN = (
    {"encoder.patch_embed.proj.weight", "encoder.layers.1.downsample.reduction.weight"}
    | {f"encoder.layers.{i}.blocks.{j}.{m}.weight" for i in (0, 1) for j in (0, 1) for m in BLOCK}
)  # fmt: skip
DECAYED = {
    "mae": {"encoder.cls_token", "mask_token", "encoder.patch_embed.proj.weight"}
    | {f"encoder.blocks.{i}.{part}.weight" for i in (0, 1) for part in BLOCK}
    | {f"decoder_blocks.0.{part}.weight" for part in BLOCK}
    | {"decoder_embed.weight", "decoder_pred.weight"},
    "simmim": SWIN | {"decoder.0.weight"},
    "swinv2": SWIN | {"decoder.0.weight"},
    "gfm": SWIN | {"decoder.0.weight", "projector.weight"},
    "supervised": SWIN | {"head.weight"},
}
# Some of the rest, so that a renamed parameter does not leave a rule without a case.
FREE = {
    "mae": {"encoder.norm.weight", "encoder.blocks.0.attn.qkv.bias", "decoder_norm.bias"},
    "simmim": {"mask_token", "encoder.layers.0.blocks.0.attn.relative_position_bias_table"},
    "swinv2": {
        f"encoder.layers.1.blocks.0.attn.{part}"
        for part in ("logit_scale", "q_bias", "cpb_mlp.0.weight", "cpb_mlp.2.weight")
    },
    "gfm": {"mask_token", "projector.bias"},
    "supervised": {"head.bias", "encoder.norm.weight"},
}


@pytest.mark.parametrize("name", RECIPES)
def test_weight_decay_falls_on_the_papers_parameters_and_no_other(name, tmp_path):
    objective = build(RECIPES[name], teacher=write_teacher(tmp_path))
    assert objective.decay_names() == DECAYED[name]
    optimizer = adamw(objective, {"weight_decay": 0.05, "betas": [0.9, 0.95]})
    names = {id(p): n for n, p in objective.named_parameters()}
    groups = {
        g["weight_decay"]: {names[id(p)] for p in g["params"]} for g in optimizer.param_groups
    }
    assert groups == {0.05: DECAYED[name], 0.0: set(names.values()) - DECAYED[name]}
    assert groups[0.0] >= FREE[name]


@pytest.mark.parametrize("warmup", [0.0, 0.35, 2.0, 4.0])
def test_the_learning_rate_is_the_references_curve_by_epochs(warmup):
    # As MAE's code has it, in fractions of an epoch; 7 steps in each of 4 epochs.
    optim = {"base_lr": 1.5e-4, "lr_reference_batch": 256, "warmup_epochs": warmup, "min_lr": 2e-6}
    peak = 1.5e-4 * 1024 / 256
    for step in range(28):
        epoch = step / 7
        if epoch < warmup:
            expected = peak * epoch / warmup
        else:
            done = (epoch - warmup) / (4 - warmup)
            expected = 2e-6 + (peak - 2e-6) * 0.5 * (1 + math.cos(math.pi * done))
        found = learning_rate(optim, step=step, steps_per_epoch=7, total_steps=28, batch=1024)
        assert found == pytest.approx(expected, rel=1e-12)
    past = learning_rate(optim, step=28, steps_per_epoch=7, total_steps=28, batch=1024)
    assert past == pytest.approx(peak if warmup == 4.0 else 2e-6)
