"""SimMIM over Swin and SwinV2 against float64 numpy written from the papers."""

import math

import numpy as np
import pytest
import torch
from numpy_swin import simmim
from objective_cases import SIMMIM, SWINV2, build, lively, make_batch

pytestmark = pytest.mark.usefixtures("one_thread")

DENSE = {"decoder": {"kind": "dense"}}
# Windows of 4 on sides of 8 and 4: the second block shifts in the first stage and not in the last.
# Of 6 on 24, 12, 6 and of 8 on 16, 8, 4, where the window of the last stage shrinks.
CASES = {
    "swin": (SIMMIM, {}, 6),
    "swin-dense": (SIMMIM | DENSE, {}, 6),
    "swin-gfm-window": (
        SIMMIM, {"image_size": 96, "window": 6, "depths": [2, 2, 2], "heads": [1, 2, 4]}, 3
    ),
    "swinv2": (SWINV2, {}, 6),
    "swinv2-dense": (SWINV2 | DENSE, {}, 3),
    "swinv2-extra-norms": (SWINV2, {"depths": [2, 3], "extra_norm_period": 2}, 3),
    "swinv2-shrinking": (
        SWINV2, {"image_size": 64, "window": 8, "depths": [2, 2, 2], "heads": [2, 2, 4]}, 3
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_simmim_equals_the_paper_in_float64(case):
    base, changes, channels = CASES[case]
    recipe = base | {"encoder": base["encoder"] | changes}
    objective = lively(build(recipe, channels))
    if "swinv2" in case:  # a temperature beyond its limit, where no window is shifted
        with torch.no_grad():
            objective.encoder.layers[0].blocks[0].attn.logit_scale[0] = 5.5
    batch = make_batch(objective, channels, 2, size=recipe["encoder"]["image_size"])
    batch["images"][1] *= 0.003  # the constant in the norm of the patch embedding counts
    expected, samples = simmim(objective, recipe, batch)
    assert objective(batch)["loss"].item() == pytest.approx(expected, rel=2e-6)
    for ours, mask, (image, removed, _) in zip(*objective.reconstruct(batch), samples, strict=True):
        np.testing.assert_array_equal(mask.numpy(), removed)
        got = ours.numpy()[:, removed]
        np.testing.assert_allclose(got, image[:, removed], rtol=0, atol=2e-5 * image.std())


@pytest.mark.parametrize(
    ("size", "cell", "ratio", "masked", "cells"),
    # 100 * 0.55 is 55.00000000000001 in floating point: the reference also masks 56.
    [
        (192, 32, 0.6, 22, 36),
        (128, 32, 0.6, 10, 16),
        (128, 8, 0.6, 154, 256),
        (64, 32, 0.5, 2, 4),
        (64, 32, 0.51, 3, 4),
        (160, 16, 0.55, 56, 100),
    ],
)
def test_masked_cells_are_counted_as_in_the_reference(size, cell, ratio, masked, cells):
    sizes = {"image_size": size, "window": size // 8}
    recipe = SIMMIM | {"encoder": SIMMIM["encoder"] | sizes}
    objective = build(recipe | {"mask": SIMMIM["mask"] | {"patch": cell, "ratio": ratio}})
    noise = torch.rand(50, cells, generator=torch.Generator().manual_seed(3))
    mask = objective.mask_cells(noise)
    assert mask.shape == (50, math.isqrt(cells), math.isqrt(cells))
    assert mask.sum((1, 2)).tolist() == [masked] * 50
    assert len({tuple(row) for row in mask.flatten(1).tolist()}) > 1
