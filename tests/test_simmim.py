"""SimMIM: counts of masked cells, the loss and the mask token, from the paper."""

import numpy as np
import pytest
import torch
from objective_cases import SIMMIM, SWINV2, build, make_batch, shaken

from workflow_scripts.objectives import build_objective


@pytest.mark.parametrize(("size", "cell", "masked"), [(192, 32, 22), (128, 32, 10), (128, 8, 154)])
def test_simmim_masks_the_papers_number_of_cells(size, cell, masked):
    encoder = SIMMIM["encoder"] | {"image_size": size, "window": 8}
    recipe = SIMMIM | {"encoder": encoder, "mask": SIMMIM["mask"] | {"patch": cell}}
    with torch.device("meta"):
        objective = build_objective(
            recipe, channels=3, mean=[0.0] * 3, std=[1.0] * 3, classes=[], teacher=None
        )
    cells = objective.mask_cells(torch.rand(5, objective.cells))
    assert cells.shape == (5, size // cell, size // cell)
    assert (cells.sum(dim=(1, 2)) == masked).all()


@pytest.mark.parametrize("recipe", [SIMMIM, SWINV2], ids=["swin", "swinv2"])
@pytest.mark.parametrize("channels", [3, 6])
def test_simmim_loss_is_the_papers(recipe, channels):
    objective = shaken(build(recipe, channels))
    batch = make_batch(objective, channels)
    painted, _ = objective.reconstruct(batch)
    total, pixels = 0.0, 0
    for image, got, noise in zip(
        batch["images"].double().numpy(), painted.double().numpy(), batch["noise"], strict=True
    ):
        hidden = sorted(range(16), key=lambda cell: noise[cell].item())[-10:]  # ceil(9.6) = 10
        for cell in hidden:
            r, c = 8 * (cell // 4), 8 * (cell % 4)
            here = np.s_[:, r : r + 8, c : c + 8]
            total += np.abs(image[here] - got[here]).sum()
            pixels += 64
    expected = total / (pixels + 1e-5) / channels
    assert objective(batch)["loss"].item() == pytest.approx(expected, rel=1e-5)


@pytest.mark.parametrize("recipe", [SIMMIM, SWINV2], ids=["swin", "swinv2"])
def test_simmim_puts_its_token_after_the_patch_embedding(recipe):
    objective = shaken(build(recipe))
    batch = make_batch(objective)
    cells = objective.mask_cells(batch["noise"])
    embedded = objective.embed(batch["images"], cells)
    plain = objective.encoder.patch_embed(batch["images"])
    for b, r, c in np.ndindex(3, 8, 8):
        token = objective.mask_token if cells[b, r // 2, c // 2] else plain[b, r, c]
        assert torch.equal(embedded[b, r, c], token)


def test_dense_decoder_has_the_modis_ladders_size_and_reconstructs():
    objective = build(SIMMIM | {"decoder": {"kind": "dense"}})
    # 8C -> H*W*bands with bias in the paper's four stages; 2C with the two stages here.
    expected = (24 + 1) * 32 * 32 * 6
    assert sum(p.numel() for p in objective.decoder.parameters()) == expected
    batch = make_batch(objective)
    assert objective.reconstruct(batch)[0].shape == batch["images"].shape
