"""bfloat16, as the trainer uses it, keeps SwinV2 finite and close to float32."""

import pytest
import torch
from objective_cases import SWINV2, build, lively, make_batch

pytestmark = pytest.mark.usefixtures("one_thread")


def gradients(objective, batch, autocast):
    objective.zero_grad()
    with torch.autocast("cpu", dtype=torch.bfloat16, enabled=autocast):
        loss = objective(batch)["loss"]
    loss.backward()
    return loss, {name: p.grad.float() for name, p in objective.named_parameters()}


@pytest.mark.parametrize("parameters", [torch.float32, torch.bfloat16])
def test_bf16_steps_of_swinv2_are_finite_and_near_float32(parameters):
    # The hardest case: temperatures at their limit, and an image that float16 could not hold.
    objective = lively(build(SWINV2))
    with torch.no_grad():
        for name, parameter in objective.named_parameters():
            if "logit_scale" in name:
                parameter.fill_(6.0)
    batch = make_batch(objective)
    batch["images"][0] *= 1e6
    exact, slopes = gradients(objective, batch, autocast=False)
    for parameter in objective.parameters():  # the buffers stay, as under fully_shard
        parameter.data = parameter.data.to(parameters)
    rounded, found = gradients(objective, batch, autocast=True)
    assert rounded.dtype == torch.float32
    assert rounded.item() == pytest.approx(exact.item(), rel=0.02)
    assert all(torch.isfinite(gradient).all() for gradient in found.values())
    # The temperatures are held by their limit, in either arithmetic.
    assert not any(g.any() for name, g in found.items() if "logit_scale" in name)
    # Seen over seeds: 0.01 to 0.12 (timm's own attention: 0.01 to 0.15).
    for name in ("decoder.0.weight", "encoder.norm.weight"):
        assert (found[name] - slopes[name]).norm() < 0.25 * slopes[name].norm()
