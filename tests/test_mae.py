"""MAE against float64 numpy written from the paper, in its own order of tokens."""

import math

import numpy as np
import pytest
import torch
from objective_cases import MAE, build, lively, make_batch
from scipy.special import erf

from workflow_scripts.models.positions import position_table
from workflow_scripts.objectives import build_objective

pytestmark = pytest.mark.usefixtures("one_thread")


def norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + 1e-6)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def transformer_block(x, weights, name, heads):
    tokens, width = x.shape
    qkv = linear(norm(x, weights, f"{name}.norm1"), weights, f"{name}.attn.qkv")
    q, k, v = qkv.reshape(tokens, 3, heads, width // heads).transpose(1, 2, 0, 3)
    scores = q @ k.transpose(0, 2, 1) / math.sqrt(width // heads)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    attended = (scores / scores.sum(-1, keepdims=True)) @ v
    x = x + linear(attended.transpose(1, 0, 2).reshape(tokens, width), weights, f"{name}.attn.proj")
    hidden = linear(norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp.fc1")
    if hidden.shape[1] > weights[f"{name}.mlp.fc2.weight"].shape[1]:  # SwiGLU, arXiv 2002.05202
        gate, value = np.split(hidden, 2, axis=1)
        return x + linear(gate / (1 + np.exp(-gate)) * value, weights, f"{name}.mlp.fc2")
    return x + linear(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, weights, f"{name}.mlp.fc2")


def mae_oracle(objective, recipe, batch):
    """Loss, and per sample the predictions of all patches (L, p * p * C) and the mask (L,)."""
    weights = {n: v.detach().double().numpy() for n, v in objective.named_parameters()}
    encoder, decoder = recipe["encoder"], recipe["decoder"]
    p, side = encoder["patch"], encoder["image_size"] // encoder["patch"]
    keep = int(side**2 * (1 - recipe["mask"]["ratio"]))
    tables = [
        position_table(part["width"], side, class_token=True).double().numpy()
        for part in (encoder, decoder)
    ]
    kernel = weights["encoder.patch_embed.proj.weight"]
    numerator, removed_patches, predictions, masks = 0.0, 0, [], []
    for image, noise in zip(batch["images"].double().numpy(), batch["noise"].numpy(), strict=True):
        cut = [
            image[:, r * p : (r + 1) * p, c * p : (c + 1) * p]
            for r in range(side)
            for c in range(side)
        ]
        tokens = np.stack([(kernel * patch).sum((1, 2, 3)) for patch in cut])
        tokens = tokens + weights["encoder.patch_embed.proj.bias"] + tables[0][1:]
        shuffle = np.argsort(noise)
        restore = np.argsort(shuffle)
        x = np.concatenate([weights["encoder.cls_token"][None], tokens[shuffle[:keep]]])
        for depth in range(encoder["depths"][0]):
            x = transformer_block(x, weights, f"encoder.blocks.{depth}", encoder["heads"][0])
        x = linear(norm(x, weights, "encoder.norm"), weights, "decoder_embed")
        masked = np.repeat(weights["mask_token"][None], side**2 - keep, axis=0)
        x = np.concatenate([x[:1], np.concatenate([x[1:], masked])[restore]]) + tables[1]
        for depth in range(decoder["depth"]):
            x = transformer_block(x, weights, f"decoder_blocks.{depth}", decoder["heads"])
        x = linear(norm(x, weights, "decoder_norm"), weights, "decoder_pred")[1:]
        target = np.stack([patch.transpose(1, 2, 0).ravel() for patch in cut])
        mean, deviation = target_statistics(target, p, recipe["mask"]["norm_pix"])
        error = ((x - (target - mean) / deviation) ** 2).mean(-1)
        mask = np.ones(side**2)
        mask[shuffle[:keep]] = 0
        numerator, removed_patches = numerator + (error * mask).sum(), removed_patches + mask.sum()
        predictions.append(x * deviation + mean)
        masks.append(mask)
    return numerator / removed_patches, predictions, masks


def target_statistics(target, p, norm_pix):
    if not norm_pix:
        return 0.0, 1.0
    if norm_pix == "per_channel":
        pixels = target.reshape(len(target), p * p, -1)
        mean, variance = pixels.mean(1), pixels.var(1, ddof=1)
        return np.tile(mean, p * p), np.tile(np.sqrt(variance + 1e-6), p * p)
    return target.mean(-1, keepdims=True), np.sqrt(target.var(-1, ddof=1, keepdims=True) + 1e-6)


@pytest.mark.parametrize("gated", [False, True])
@pytest.mark.parametrize("norm_pix", [False, True, "per_channel"])
def test_mae_equals_the_paper_in_float64(norm_pix, gated):
    recipe = MAE | {"mask": MAE["mask"] | {"norm_pix": norm_pix}}
    recipe["encoder"] = MAE["encoder"] | {"gated": gated}
    objective = lively(build(recipe))
    batch = make_batch(objective)
    batch["images"][1] *= 1e-3  # the constant under the root of a patch's variance counts
    expected, predictions, masks = mae_oracle(objective, recipe, batch)
    assert objective(batch)["loss"].item() == pytest.approx(expected, rel=2e-6)
    painted, mask = objective.reconstruct(batch)
    for sample in range(3):
        for cell in range(16):
            r, c = 8 * (cell // 4), 8 * (cell % 4)
            assert (mask[sample, r : r + 8, c : c + 8] == bool(masks[sample][cell])).all()
            if masks[sample][cell]:
                patch = predictions[sample][cell].reshape(8, 8, 6).transpose(2, 0, 1)
                got = painted[sample, :, r : r + 8, c : c + 8].numpy()
                np.testing.assert_allclose(got, patch, atol=2e-5)


def test_mae_truncates_the_number_of_kept_patches():
    # 16 * (1 - 0.7) is 4.8: the reference keeps 4, rounding would keep 5.
    objective = build(MAE)
    _, mask = objective.reconstruct(make_batch(objective))
    assert (mask.sum(dim=(1, 2)) == 12 * 64).all()


def test_every_norm_has_the_papers_constant():
    # Too small to be seen in a loss while tokens are of ordinary size.
    norms = [m for m in build(MAE).modules() if isinstance(m, torch.nn.LayerNorm)]
    assert {norm.eps for norm in norms} == {1e-6}
    assert len(norms) == 2 * (2 + 1) + 2


@pytest.mark.parametrize(
    ("width", "depth", "expected"),
    [
        (768, 12, 112_722_688),
        (1024, 14, 204_557_312),
        (1280, 32, 658_430_208),
        (1680, 32, 1_114_099_408),
    ],
)
def test_mae_has_the_modis_records_total_with_its_tables(width, depth, expected):
    encoder = MAE["encoder"] | {"image_size": 128, "patch": 16, "width": width, "depths": [depth]}
    recipe = MAE | {"encoder": encoder | {"heads": [8], "mlp_ratio": 4.0}}
    recipe["decoder"] = {"width": 512, "depth": 8, "heads": 16}
    with torch.device("meta"):
        objective = build_objective(
            recipe, channels=6, mean=[0.0] * 6, std=[1.0] * 6, classes=[], teacher=None
        )
    tables = (1 + objective.cells) * (width + 512)  # with the class token's row of zeros
    assert sum(p.numel() for p in objective.parameters()) + tables == expected
