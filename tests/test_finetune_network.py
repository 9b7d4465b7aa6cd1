"""Fine-tuning: the network, at which rate it learns where, and what it is told."""

import numpy as np
import pytest
import torch
from finetune_cases import PLAIN_SWIN, SWIN, VIT, card, network, settings

from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import random_like
from workflow_scripts.finetune.network import (
    SampledPath,
    build,
    optimizer_of,
    sample_paths,
)
from workflow_scripts.finetune.targets import Mix, loss_sum, smoothed
from workflow_scripts.models.encoders import from_card

pytestmark = pytest.mark.usefixtures("one_thread")

# The network


@pytest.mark.parametrize("encoder", [VIT, SWIN, PLAIN_SWIN], ids=lambda e: e["family"])
def test_the_encoders_weights_are_loaded(encoder):
    made, state = network(encoder)
    own = made.state_dict()
    shared = [name for name in state if not name.startswith("norm.") or "norm.weight" in own]
    assert len(shared) >= len(state) - 2
    assert all(torch.equal(own[name], state[name]) for name in shared)


def test_a_vit_pools_as_mae_does():
    made, state = network(classes=5)
    made.eval()
    encoder = from_card(card(VIT)).eval()
    encoder.load_state_dict(state)
    images = torch.randn(2, 3, 16, 16)
    tokens = []
    encoder.blocks[-1].register_forward_hook(lambda block, inputs, output: tokens.append(output))
    with torch.no_grad():
        encoder(images)
        mean = tokens[0][:, 1:].mean(1)
        mean = torch.nn.functional.layer_norm(mean, mean.shape[-1:], eps=made.fc_norm.eps)
        assert torch.allclose(made(images), mean @ made.head.weight.T + made.head.bias, atol=1e-6)


def test_a_class_token_is_pooled_after_the_encoders_norm():
    made, state = network(pooling="class")
    encoder = from_card(card(VIT)).eval()
    encoder.load_state_dict(state)
    images = torch.randn(2, 3, 16, 16)
    with torch.no_grad():
        token = encoder.forward_features(images)[:, 0]
        assert torch.allclose(made.eval()(images), token @ made.head.weight.T, atol=1e-6)


def closed_form(name, encoder, decay):
    """The factor of a parameter's rate: MAE's for a ViT, SimMIM's for a Swin's blocks."""
    blocks = sum(encoder["depths"])
    if name.startswith(("patch_embed", "pos_embed", "cls_token")):
        return decay ** (blocks + 1)
    if name.startswith("blocks."):
        return decay ** (blocks - int(name.split(".")[1]))
    if name.startswith("layers."):
        _, stage, what, block, *_ = name.split(".")
        number = int(block) if what == "blocks" else 0  # downsampling: with the block behind it
        return decay ** (blocks - sum(encoder["depths"][: int(stage)]) - number)
    return decay if name.startswith("norm.") else 1.0


@pytest.mark.parametrize("encoder", [VIT, SWIN, PLAIN_SWIN], ids=lambda e: e["family"])
def test_rates_fall_with_depth(encoder):
    made, _ = network(encoder, layer_decay=0.7)
    names = {id(parameter): name for name, parameter in made.named_parameters()}
    seen = set()
    optimizer = optimizer_of(made, settings(layer_decay=0.7))
    assert type(optimizer) is torch.optim.AdamW
    for group in optimizer.param_groups:
        for parameter in group["params"]:
            name = names[id(parameter)]
            seen.add(name)
            assert group["lr_scale"] == pytest.approx(closed_form(name, encoder, 0.7)), name
            assert group["weight_decay"] == (0.05 if _is_matrix(name, parameter) else 0.0), name
    assert seen == set(names.values())


def _is_matrix(name, parameter):
    exempt = ("pos_embed", "cls_token", "bias_table", "cpb_mlp", "logit_scale")
    return parameter.ndim > 1 and not any(part in name for part in exempt)


def test_paths_are_dropped_in_training_and_not_at_the_test():
    made, _ = network(drop_path=0.3)
    plain, _ = network(drop_path=0.0)
    draws, paths = sample_paths(made)
    assert paths == 4  # two a block, the first block drops none
    rates = [part.rate for part in made.modules() if isinstance(part, SampledPath)]
    assert rates == pytest.approx([0.15, 0.15, 0.3, 0.3])
    for one in (made, plain):
        torch.nn.init.ones_(one.head.weight[0:1])
    images = torch.randn(3, 3, 16, 16)
    draws.numbers = torch.tensor([[0.2, 0.9, 0.9, 0.9], [0.1, 0.9, 0.9, 0.9], [0.9, 0.9, 0.9, 0.9]])
    with torch.no_grad():
        dropped = made.train()(images)
        again = made(images)
        assert torch.equal(dropped, again)
        assert not torch.allclose(dropped, plain(images))
        assert torch.allclose(made.eval()(images), plain.eval()(images), atol=1e-7)


def test_a_kept_path_is_scaled_up_and_a_dropped_one_is_zero():
    made, _ = network(drop_path=0.5)
    draws, _ = sample_paths(made)
    path = [part for part in made.modules() if isinstance(part, SampledPath)][-1]
    path.train()
    numbers = np.random.default_rng(0).random((4000, 4)).astype(np.float32)
    draws.numbers = torch.from_numpy(numbers)
    out = path(torch.ones(4000, 2, 2))
    assert set(out.unique().tolist()) == {0.0, 2.0}
    assert torch.equal(out[:, 0, 0] > 0, torch.from_numpy(numbers[:, 3] >= 0.5))
    assert out.mean() == pytest.approx(1.0, abs=0.05)


@pytest.mark.parametrize(("encoder", "good", "bad"), [(VIT, 24, 20), (SWIN, 64, 36)])
def test_other_image_sizes(encoder, good, bad):
    made, _ = network(encoder, size=good)
    assert made.eval()(torch.randn(1, 3, good, good)).shape == (1, 3)
    with pytest.raises(UserError, match=f"image_size is {bad}.*multiple of 8"):
        network(encoder, size=bad)


def test_no_class_token_to_pool_by():
    model = card(VIT)
    state = random_like(model, 0).state_dict()
    del state["cls_token"]
    with pytest.raises(UserError, match="no class token"):
        build(model, state, classes=3, settings=settings(pooling="class"), size=16, seed=0)


def test_a_distilled_vit_has_two_heads_and_no_mean():
    kwargs = {"num_classes": 0, "img_size": 16, "embed_dim": 16, "num_heads": 2, "depth": 1}
    model = {**card(VIT), "architecture": "deit_tiny_distilled_patch16_224", "kwargs": kwargs}
    state = from_card(model).state_dict()
    how = {"classes": 3, "size": 16, "seed": 0}
    with pytest.raises(UserError, match=r"by mean .*set finetune.pooling to 'class'"):
        build(model, state, settings=settings(), **how)
    made = build(model, state, settings=settings(pooling="class"), **how)
    assert max(made.head.weight.abs().max(), made.head_dist.weight.abs().max()) < 1e-3
    assert torch.equal(made.dist_token, state["dist_token"])


# Targets and mixing


def test_smoothed_targets():
    one = smoothed(torch.tensor([2, 0]), classes=4, smoothing=0.1)
    assert one.tolist()[0] == pytest.approx([0.025, 0.025, 0.925, 0.025])
    assert one.sum(1).tolist() == pytest.approx([1, 1])
    several = smoothed(torch.tensor([[True, False, True]]), classes=3, smoothing=0.1)
    assert several.tolist()[0] == pytest.approx([0.95, 0.05, 0.95])


@pytest.mark.parametrize(("mixup", "cutmix"), [(0.8, 0.0), (0.0, 1.0), (0.8, 1.0)])
def test_targets_are_mixed_as_the_images_are(mixup, cutmix):
    batch = 6
    own = torch.arange(batch)[:, None, None, None].expand(batch, batch, 8, 8)
    planes = torch.arange(batch)[None, :, None, None]
    images = (own == planes).float()  # sample i is 1 in plane i: a plane's mean is its share
    targets = smoothed(torch.arange(batch), classes=batch, smoothing=0.0)
    shares = set()
    for step in range(8):
        mix = Mix({"mixup": mixup, "cutmix": cutmix}, batch=batch, seed=5)
        mixed, told = mix(images.clone(), targets, step=step)
        assert torch.allclose(mixed.mean((2, 3)), told, atol=1e-6)
        assert torch.allclose(told.sum(1), torch.ones(batch))
        again, _ = mix(images.clone(), targets, step=step)
        assert torch.equal(mixed, again)
        shares.add(round(float(told.max()), 6))
    assert len(shares) > 4


def test_mixing_leaves_numpys_generator_as_it_was():
    np.random.seed(1)
    expected = np.random.random(3)
    np.random.seed(1)
    first = np.random.random()
    mix = Mix({"mixup": 0.8, "cutmix": 1.0}, batch=2, seed=0)
    mix(torch.zeros(2, 3, 8, 8), torch.eye(2), step=0)
    assert [first, *np.random.random(2)] == expected.tolist()


def test_losses_equal_numpy():
    random = np.random.default_rng(0)
    scores, targets = random.normal(size=(4, 5)), random.dirichlet(np.ones(5), 4)
    logs = scores - np.log(np.exp(scores).sum(1, keepdims=True))
    got = loss_sum(torch.tensor(scores), torch.tensor(targets), multi_label=False)
    assert float(got) == pytest.approx(-(targets * logs).sum())
    chances = 1 / (1 + np.exp(-scores))
    expected = -(targets * np.log(chances) + (1 - targets) * np.log(1 - chances)).mean(1).sum()
    got = loss_sum(torch.tensor(scores), torch.tensor(targets), multi_label=True)
    assert float(got) == pytest.approx(expected)
