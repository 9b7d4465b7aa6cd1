"""Linear layers by oneDNN: values and gradients against float64 numpy, and where they apply."""

import numpy as np
import pytest
import torch
from torch import nn

from workflow_scripts.models import linear as module
from workflow_scripts.models.linear import Linear, linear, use_linear

onednn = pytest.mark.skipif(
    not torch.backends.mkldnn.is_available(), reason="this PyTorch was built without oneDNN"
)


def drawn(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(
    "shape",
    # of x, and the outputs; the last two take the turned product for the weight's gradient
    [((5, 7), 3), ((2, 3, 4, 6), 8), ((1, 4), 4), ((2, 50, 4), 9), ((300, 3), 5)],
)
def test_values_and_gradients_are_the_matrix_products(shape, bias):
    size, outputs = shape
    x, weight = drawn(*size).requires_grad_(), drawn(outputs, size[-1], seed=1).requires_grad_()
    offset = drawn(outputs, seed=2).requires_grad_() if bias else None
    gradient = drawn(*size[:-1], outputs, seed=3)
    found = linear(x, weight, offset)
    found.backward(gradient)
    rows, matrix, back = (
        t.detach().double().numpy() for t in (x.flatten(0, -2), weight, gradient.flatten(0, -2))
    )
    expected = rows @ matrix.T + (offset.detach().double().numpy() if bias else 0)
    np.testing.assert_allclose(found.detach().flatten(0, -2), expected, atol=1e-5)
    np.testing.assert_allclose(x.grad.flatten(0, -2), back @ matrix, atol=1e-5)
    np.testing.assert_allclose(weight.grad, back.T @ rows, rtol=1e-5, atol=1e-4)
    if bias:
        np.testing.assert_allclose(offset.grad, back.sum(0), rtol=1e-5, atol=1e-4)


@onednn
def test_strides_of_any_kind_are_taken():
    x, weight = drawn(6, 4, 5).permute(2, 1, 0), drawn(6, 3).t()
    expected = x.double() @ weight.double().t()
    torch.testing.assert_close(linear(x, weight), expected.float())
    weight = weight.clone().requires_grad_()
    linear(x, weight).sum().backward()  # the gradient of a sum has strides of zero
    torch.testing.assert_close(weight.grad, x.sum((0, 1)).expand(3, -1), rtol=1e-5, atol=1e-5)


@onednn
def test_float32_on_a_cpu_is_onednns_and_nothing_else_is(monkeypatch):
    monkeypatch.setattr(module, "_X86", True)
    weight = drawn(3, 4).requires_grad_()

    def name(x, weight=weight):
        # What came out of a reshape has the function in its history.
        out = linear(x, weight)
        return out.dtype, "_LinearBackward" in str([out.grad_fn, *out.grad_fn.next_functions])

    assert name(drawn(2, 4)) == (torch.float32, True)
    assert name(drawn(2, 4).double(), weight.double()) == (torch.float64, False)
    with torch.autocast("cpu", torch.bfloat16):
        assert name(drawn(2, 4)) == (torch.bfloat16, False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", False)
    assert name(drawn(2, 4)) == (torch.float32, False)
    monkeypatch.setattr(torch.backends.mkldnn, "enabled", True)
    monkeypatch.setattr(module, "_POINTWISE", None)  # a PyTorch without it
    assert name(drawn(2, 4)) == (torch.float32, False)
    monkeypatch.undo()
    assert Linear(4, 3)(drawn(4)).shape == (3,)
    empty = linear(drawn(0, 4), weight)
    assert empty.shape == (0, 3)
    assert linear(drawn(2, 4).to("meta"), weight.to("meta")).device.type == "meta"


def test_layers_are_turned_in_place_and_keep_their_parameters():
    model = nn.Sequential(nn.Linear(4, 4), nn.ReLU(inplace=True), nn.Linear(4, 2, bias=False))
    before, x = model.state_dict(), drawn(3, 2, 4)
    expected = model(x)
    use_linear(model)
    assert [type(part) for part in model] == [Linear, nn.ReLU, Linear]
    assert model.state_dict().keys() == before.keys()
    assert model[0].weight is dict(model.named_parameters())["0.weight"]
    torch.testing.assert_close(model(x), expected)
    model(x).sum().backward()
    assert all(p.grad is not None for p in model.parameters())


def test_compiled_a_layer_is_one_graph():
    layer = nn.Linear(4, 2)
    use_linear(layer)
    compiled = torch.compile(layer, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(drawn(3, 4)), layer(drawn(3, 4)))


def test_the_same_step_twice_gives_the_same_bits():
    x, weight = drawn(64, 40), drawn(24, 40).requires_grad_()

    def once():
        weight.grad = None
        out = linear(x, weight)
        out.square().sum().backward()
        return out.detach().clone(), weight.grad.clone()

    assert all(torch.equal(a, b) for a, b in zip(once(), once(), strict=True))
