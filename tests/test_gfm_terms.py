"""GFM's two terms and their gradient against float64 numpy, teacher and student included."""

import json

import numpy as np
import pytest
import torch
from numpy_swin import embedded, features, linear, simmim, unit, weights_of
from objective_cases import GFM, SWINV2, build, lively, make_batch, write_teacher

pytestmark = pytest.mark.usefixtures("one_thread")

MEAN = np.array([0.1 * (i + 1) for i in range(6)])[:, None, None]  # of the corpus, see `build`
STD = 0.5
DEEP = {"image_size": 64, "depths": [1, 2, 2], "heads": [1, 2, 4]}
CASES = {
    "swin": GFM,
    "swin of three stages": GFM | {"encoder": GFM["encoder"] | DEEP},
    "swinv2 student": GFM | {"encoder": SWINV2["encoder"]},
}


def resized(image, size):
    """Bilinear with aligned corners, one (C, H, W) image: a straight line between two pixels."""
    places = np.linspace(0, image.shape[-1] - 1, size)
    pixels = np.arange(image.shape[-1])

    def along(values):
        return np.interp(places, pixels, values)

    return np.apply_along_axis(along, 2, np.apply_along_axis(along, 1, image))


def teacher_feature(teacher, card, image):
    """What the frozen teacher says of a whole image in the run's units."""
    mean, std = (np.array(card["normalisation"][n])[:, None, None] for n in ("mean", "std"))
    image = (resized(image * STD + MEAN, card["image_size"]) - mean) / std
    x = embedded(image, card["encoder"]["patch"], teacher, "patch_embed")
    entering, _ = features(x, card["encoder"], teacher, "")
    return entering.mean((0, 1))


def gfm(objective, recipe, batch, card, teacher):
    """The terms by name."""
    weights = weights_of(objective)
    term, samples = simmim(objective, recipe, batch)
    cosines = []
    for image, (*_, feature) in zip(batch["images"].double().numpy(), samples, strict=True):
        student = linear(feature, weights, "projector")
        cosines.append(unit(student) @ unit(teacher_feature(teacher, card, image)))
    cosine = np.mean(cosines)
    return {"loss": term - recipe["gfm"]["alpha"] * cosine, "simmim": term, "cosine": cosine}


def set_up(recipe, folder):
    objective = lively(build(recipe, teacher=write_teacher(folder)))
    lively(objective.teacher)
    card = json.loads((folder / "model.json").read_text())
    batch = make_batch(objective, count=2, size=recipe["encoder"]["image_size"])
    return objective, batch, card, weights_of(objective.teacher.encoder)


@pytest.mark.parametrize("case", CASES)
def test_gfm_equals_the_paper_in_float64(case, tmp_path):
    recipe = CASES[case]
    objective, batch, card, teacher = set_up(recipe, tmp_path)
    expected = gfm(objective, recipe, batch, card, teacher)
    got = {name: value.item() for name, value in objective(batch).items()}
    assert got == pytest.approx(expected, rel=5e-6)


def test_both_terms_reach_every_parameter_as_differences_say(tmp_path):
    # Of each parameter: the slope of the numpy loss, by a central difference of so small a step
    # that hardly a pixel passes its kink, along the gradient and a random way beside it.
    objective, batch, card, teacher = set_up(GFM, tmp_path)
    objective(batch)["loss"].backward()
    generator, step = torch.Generator().manual_seed(4), 1e-6
    slopes = {}
    for name, parameter in objective.named_parameters():
        kept, gradient = parameter.detach().clone(), parameter.grad.double()
        way = torch.randn(kept.shape, generator=generator, dtype=torch.float64)
        way = way / way.norm() + gradient / gradient.norm()
        ends = []
        for end in (step, -step):
            parameter.data = kept.double() + end * way
            ends.append(gfm(objective, GFM, batch, card, teacher)["loss"])
        parameter.data = kept
        slopes[name] = (gradient * way).sum().item(), (ends[0] - ends[1]) / (2 * step)
    wrong = {n: s for n, s in slopes.items() if s[0] != pytest.approx(s[1], rel=1e-3)}
    assert wrong == {}


def test_the_teacher_sees_the_whole_crop_and_the_student_the_masked_one(tmp_path):
    objective, batch, _, _ = set_up(GFM, tmp_path)
    seen = []
    objective.teacher.register_forward_hook(lambda _, args, out: seen.append((args[0], out)))
    other = batch | {"noise": batch["noise"].flip(1)}
    terms = [objective(noised) for noised in (batch, other)]
    assert torch.equal(seen[0][1], seen[1][1])
    assert seen[0][1].grad_fn is None
    assert terms[0]["cosine"] != terms[1]["cosine"]
    whole = batch["images"].numpy() * STD + MEAN
    np.testing.assert_allclose(seen[0][0].numpy(), whole, rtol=0, atol=1e-6)


def test_the_teacher_stays_as_it_is_through_training_steps(tmp_path):
    objective, batch, _, _ = set_up(GFM, tmp_path)
    teacher = objective.teacher
    before = {n: v.clone() for n, v in [*teacher.named_parameters(), *teacher.named_buffers()]}
    student = {n: p.detach().clone() for n, p in objective.named_parameters()}
    # What the objective offers to an optimizer, and what it saves, is the student alone.
    assert not {id(p) for p in objective.parameters()} & {id(p) for p in teacher.parameters()}
    assert objective.state_dict().keys() == student.keys()
    optimizer = torch.optim.AdamW(objective.parameters(), lr=1e-2, weight_decay=0.5)
    for _ in range(3):
        objective.train()
        optimizer.zero_grad()
        objective(batch)["loss"].backward()
        optimizer.step()
    after = dict([*teacher.named_parameters(), *teacher.named_buffers()])
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(p.grad is None and not p.requires_grad for p in teacher.parameters())
    assert not any(module.training for module in teacher.modules())
    assert not any(torch.equal(student[n], p) for n, p in objective.named_parameters())
