"""What every objective owes the trainer, the export and the probe; and the supervised one."""

import numpy as np
import pytest
import torch
from objective_cases import (
    MAE,
    RECIPES,
    SIMMIM,
    SUPERVISED,
    build,
    make_batch,
    shaken,
    write_teacher,
)

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import build_encoder, random_encoder
from workflow_scripts.objectives import build_objective
from workflow_scripts.objectives.mae import patchify

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture
def teacher(tmp_path):
    return write_teacher(tmp_path)


@pytest.fixture(params=RECIPES)
def recipe(request):
    return RECIPES[request.param]


@pytest.fixture
def objective(recipe, teacher):
    return build(recipe, teacher=teacher)


@pytest.mark.parametrize("encoder", [SIMMIM["encoder"], MAE["encoder"]], ids=["swin", "vit"])
def test_supervised_is_cross_entropy_of_mean_features(encoder):
    objective = shaken(build(SUPERVISED | {"encoder": encoder}))
    batch = make_batch(objective)
    with torch.no_grad():
        got = objective(batch)
        tokens = objective.encoder.forward_features(batch["images"]).double().numpy()
    tokens = tokens.reshape(3, -1, tokens.shape[-1])[:, 1 if encoder["family"] == "vit" else 0 :]
    weights = {n: v.double().numpy() for n, v in objective.state_dict().items()}
    scores = tokens.mean(1) @ weights["head.weight"].T + weights["head.bias"]
    picked = np.array([scores[i, i % 3] for i in range(3)])
    assert got["loss"].item() == pytest.approx(
        (np.log(np.exp(scores).sum(1)) - picked).mean(), rel=1e-5
    )
    assert got["accuracy"].item() == pytest.approx((scores.argmax(1) == [0, 1, 2]).mean())


def test_every_parameter_learns_and_the_loss_is_float32_also_under_bfloat16(objective):
    batch = make_batch(objective)
    terms = objective(batch)
    assert "loss" in terms
    assert all(value.shape == () for value in terms.values())
    terms["loss"].backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())
    with torch.autocast("cpu", dtype=torch.bfloat16):
        rounded = objective(batch)
    for name, value in rounded.items():
        assert value.dtype == terms[name].dtype == torch.float32
        assert value.item() == pytest.approx(terms[name].item(), rel=0.05, abs=0.02)


def test_removed_pixels_do_not_reach_the_painted_ones_and_visible_ones_are_exact(objective):
    batch = make_batch(objective)
    painted, mask = objective.reconstruct(batch)
    if not objective.cells:  # supervised removes nothing
        assert torch.equal(painted, batch["images"])
        assert not mask.any()
        return
    where = mask.unsqueeze(1).expand_as(painted)
    assert painted.shape == batch["images"].shape
    assert 0 < mask.float().mean() < 1
    assert torch.equal(painted[~where], batch["images"][~where])
    assert not torch.isclose(painted[where], batch["images"][where]).all()
    objective.norm_pix = False  # its inverse uses the true statistics of removed patches
    expected = objective.reconstruct(batch)[0]
    # In memory as they were: a convolution sums in another order where channels lie innermost.
    other = batch["images"].masked_fill(where, 5.0)
    again = objective.reconstruct(batch | {"images": other})[0]
    torch.testing.assert_close(again[where], expected[where], rtol=0, atol=0)


def test_export_loads_strictly_into_timm_and_gives_the_same_features(recipe, objective):
    shaken(objective)
    exported = objective.export_encoder_state(objective.state_dict())
    model = build_encoder(recipe["encoder"], 6)
    model.load_state_dict(exported, strict=True)
    images = make_batch(objective)["images"]
    with torch.no_grad():
        if recipe["objective"] == "mae":
            everything = torch.arange(objective.cells).expand(3, -1)
            own = objective.encode(patchify(images, objective.patch), everything)
        else:
            own = objective.encoder.forward_features(images)
        torch.testing.assert_close(model.forward_features(images), own, rtol=1e-5, atol=1e-5)


def test_a_run_starts_from_the_weights_the_probe_calls_random(recipe, objective):
    exported = objective.export_encoder_state(objective.state_dict())
    floor = random_encoder(recipe["encoder"], 6, 1).state_dict()
    assert exported.keys() == floor.keys()
    assert all(torch.equal(exported[name], floor[name]) for name in floor)


def test_state_holds_parameters_only_and_builds_are_alike(recipe, objective, teacher):
    state = objective.state_dict()
    assert state.keys() == dict(objective.named_parameters()).keys()
    again = build(recipe, teacher=teacher).state_dict()
    assert all(torch.equal(state[name], again[name]) for name in state)


def test_an_objective_that_was_not_initialised_shows_it_in_its_loss():
    objective = build_objective(
        MAE, channels=6, mean=[0.0] * 6, std=[1.0] * 6, classes=[], teacher=None
    )
    assert objective(make_batch(objective))["loss"].isnan()


def test_wrapped_blocks_run_in_order_and_hold_most_weights(recipe, objective):
    seen = []
    blocks = objective.wrap_blocks()
    for index, block in enumerate(blocks):
        block.register_forward_hook(lambda *_, index=index: seen.append(index))
    objective(make_batch(objective))
    assert seen == list(range(len(blocks)))
    decoder = recipe["decoder"].get("depth", 0) if recipe["objective"] == "mae" else 0
    assert len(blocks) == sum(recipe["encoder"]["depths"]) + decoder


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (MAE | {"encoder": SIMMIM["encoder"]}, "mae needs encoder.family vit, got 'swin'"),
        (MAE | {"mask": MAE["mask"] | {"ratio": 0.99}}, "keeps 0 of 16 patches"),
        (MAE | {"mask": MAE["mask"] | {"norm_pix": "perhaps"}}, "'perhaps' is not true"),
        (MAE | {"decoder": MAE["decoder"] | {"heads": 3}}, "decoder.width 16 .* decoder.heads 3"),
        (SIMMIM | {"encoder": MAE["encoder"]}, "needs encoder.family swin or swinv2"),
        (SIMMIM | {"mask": SIMMIM["mask"] | {"patch": 12}}, "12 must divide .* 32"),
        (SIMMIM | {"mask": SIMMIM["mask"] | {"patch": 2}}, "a multiple of encoder.patch 4"),
        (SIMMIM | {"mask": SIMMIM["mask"] | {"patch": None}}, "needs a whole number of pixels"),
        (SIMMIM | {"mask": SIMMIM["mask"] | {"ratio": 0.95}}, "masks 16 of 16 cells"),
        (SIMMIM | {"mask": SIMMIM["mask"] | {"norm_pix": True}}, "norm_pix belongs to mae"),
        (SIMMIM | {"decoder": {"kind": "deep"}}, "'deep' is not pixelshuffle or dense"),
        (SIMMIM | {"objective": "dino"}, "'dino' is not one of mae, simmim, gfm, supervised"),
    ],
)
def test_recipes_that_cannot_work_are_refused(recipe, message):
    with pytest.raises(UserError, match=message):
        build(recipe)


def test_wrong_statistics_and_too_few_classes_are_refused():
    arguments = {"channels": 6, "std": [1.0] * 6, "teacher": None}
    with pytest.raises(UserError, match="6 channels but 3 means"):
        build_objective(MAE, mean=[0.0] * 3, classes=[], **arguments)
    with pytest.raises(UserError, match="two or more classes"):
        build_objective(SUPERVISED, mean=[0.0] * 6, classes=["one"], **arguments)
