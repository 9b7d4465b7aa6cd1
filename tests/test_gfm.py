"""GFM: both terms against float64 numpy, and a teacher that stays out of the way."""

import json

import numpy as np
import pytest
import timm
import torch
from objective_cases import GFM, SIMMIM, build, make_batch, shaken, write_teacher

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import random_encoder
from workflow_scripts.models.initialise import initialise
from workflow_scripts.objectives import build_objective


@pytest.fixture
def teacher(tmp_path):
    return write_teacher(tmp_path)


def resized(image, size):
    """Bilinear with aligned corners, float64, one (C, H, W) image."""
    places = np.arange(size) * (image.shape[-1] - 1) / (size - 1)
    low = np.minimum(places.astype(int), image.shape[-1] - 2)
    part = places - low
    rows = image[:, low] * (1 - part)[:, None] + image[:, low + 1] * part[:, None]
    return rows[:, :, low] * (1 - part) + rows[:, :, low + 1] * part


def merged_feature(model, run):
    """Mean over tokens of what the last stage's patch merging gives, caught by a hook."""
    caught = []
    hook = model.layers[-1].downsample.register_forward_hook(lambda *a: caught.append(a[-1]))
    with torch.no_grad():
        run()
    hook.remove()
    return caught[0].double().numpy().mean(axis=(1, 2))


def test_gfm_terms_are_the_papers(teacher):
    objective = shaken(build(GFM, teacher=teacher))
    batch = make_batch(objective)
    with torch.no_grad():
        got = {name: value.item() for name, value in objective(batch).items()}
    same_student = build(SIMMIM)
    state = objective.state_dict()
    same_student.load_state_dict({n: state[n] for n in same_student.state_dict()})
    assert got["simmim"] == pytest.approx(same_student(batch)["loss"].item(), rel=1e-6)

    card = json.loads((teacher / "model.json").read_text())
    model = timm.create_model(card["architecture"], **card["kwargs"]).eval()
    model.load_state_dict(random_encoder(card["encoder"], 6, 5).state_dict())
    own = np.array([0.1 * (i + 1) for i in range(6)])[:, None, None]
    inputs = []
    for image in batch["images"].double().numpy():
        values = [np.array(card["normalisation"][n])[:, None, None] for n in ("mean", "std")]
        inputs.append((resized(image * 0.5 + own, 48) - values[0]) / values[1])
    wanted = merged_feature(model, lambda: model(torch.tensor(np.stack(inputs)).float()))
    feature = merged_feature(objective.encoder, lambda: objective(batch))
    student = feature @ state["projector.weight"].double().numpy().T
    student += state["projector.bias"].double().numpy()
    product = (student * wanted).sum(1)
    cosine = product / np.linalg.norm(student, axis=1) / np.linalg.norm(wanted, axis=1)
    assert got["cosine"] == pytest.approx(cosine.mean(), abs=2e-6)
    assert got["loss"] == pytest.approx(got["simmim"] - 0.5 * cosine.mean(), abs=2e-6)


def test_gfm_teacher_is_hidden_frozen_and_moves(teacher):
    objective = build(GFM, teacher=teacher)
    weights = objective.teacher.encoder.state_dict()
    before = {name: value.clone() for name, value in weights.items()}
    assert not any("teacher" in name or "held" in name for name in objective.state_dict())
    ours = {id(p) for p in objective.parameters()}
    assert not any(id(p) in ours for p in objective.teacher.parameters())
    assert not any(m is objective.teacher for m in objective.modules())
    optimiser = torch.optim.AdamW(objective.parameters(), lr=0.1, weight_decay=0.1)
    objective.train()
    objective(make_batch(objective))["loss"].backward()
    optimiser.step()
    assert not any(p.requires_grad or p.grad is not None for p in objective.teacher.parameters())
    assert not any(module.training for module in objective.teacher.modules())
    assert all(torch.equal(before[name], value) for name, value in weights.items())
    objective.to(torch.float64)
    assert {p.dtype for p in objective.teacher.parameters()} == {torch.float64}


def test_gfm_laid_out_on_meta_keeps_its_teacher(teacher):
    built = build(GFM, teacher=teacher)
    with torch.device("meta"):
        objective = build_objective(
            GFM,
            channels=6,
            mean=[0.1 * (i + 1) for i in range(6)],
            std=[0.5] * 6,
            classes=[],
            teacher=teacher,
        )
    objective.to_empty(device="cpu")
    initialise(objective, 1)
    batch = make_batch(objective)
    with torch.no_grad():
        assert torch.equal(objective(batch)["loss"], built(batch)["loss"])


def test_gfm_refuses_what_is_no_teacher(teacher, tmp_path_factory):
    with pytest.raises(UserError, match="needs a teacher"):
        build(GFM)
    with pytest.raises(UserError, match=r"model\.json: no such file"):
        build(GFM, teacher=tmp_path_factory.mktemp("empty"))
    with pytest.raises(UserError, match="sees 6 bands, the corpus has 3"):
        build(GFM, channels=3, teacher=teacher)
    card = json.loads((teacher / "model.json").read_text())
    cards = [
        ({}, "not a model.json of a finished run"),
        (card | {"normalisation": {"mean": [0.0] * 6}}, r"it lacks normalisation\.std$"),
        (card | {"encoder": "swin"}, r"it lacks encoder\.depths, encoder\.heads"),
        (card | {"family": "vit"}, "a teacher is a swin or swinv2"),
        (card | {"kwargs": card["kwargs"] | {"embed_dim": 16}}, "does not fit its model.json"),
    ]
    for wrong, message in cards:
        (teacher / "model.json").write_text(json.dumps(wrong))
        with pytest.raises(UserError, match=message):
            build(GFM, teacher=teacher)
    (teacher / "model.json").write_text(json.dumps(card))
    (teacher / "weights.safetensors").write_bytes(b"not weights")
    with pytest.raises(UserError, match="not a safetensors file"):
        build(GFM, teacher=teacher)
    (teacher / "weights.safetensors").unlink()
    with pytest.raises(UserError, match=r"weights\.safetensors: no such file"):
        build(GFM, teacher=teacher)
