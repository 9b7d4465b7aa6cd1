"""SwinV2's attention on the map against timm's own blocks in float64."""

import copy

import pytest
import timm
import torch
from objective_cases import SIMMIM, SWINV2, build, shaken
from timm.models.swin_transformer_v2 import SwinTransformerV2Block

from workflow_scripts.models import swin_attention
from workflow_scripts.models.swin_attention import attention, cut, joined, use_window_attention
from workflow_scripts.models.swinv2_extra_norm import ExtraNormBlock


def drawn(*shape, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(*shape, generator=generator, dtype=torch.float64)


def blocks(size, window, shift):
    """A block of timm in float64, every parameter off its special start, and ours of the same."""
    block = SwinTransformerV2Block(
        12, size, num_heads=3, window_size=window, shift_size=shift, pretrained_window_size=0
    )
    block = shaken(block).double()
    with torch.no_grad():
        block.attn.logit_scale[0] = 6.0  # beyond log 100, where the scale is cut off
    ours = copy.deepcopy(block)
    use_window_attention(ours)
    return block, ours


@pytest.mark.parametrize(
    ("size", "window", "shift"),
    [((8, 8), 4, 0), ((8, 8), 4, 2), ((4, 4), 4, 2), ((4, 8), 4, 2), ((1, 1), 1, 0)],
    ids=["plain", "shifted", "one-window", "not-square", "one-token"],
)
def test_a_block_has_timms_values_and_gradients(size, window, shift):
    theirs, ours = blocks(size, window, shift)
    assert type(ours) is not SwinTransformerV2Block
    inputs = [drawn(2, *size, 12).requires_grad_() for _ in range(2)]
    outputs = [block(x) for block, x in zip((theirs, ours), inputs, strict=True)]
    torch.testing.assert_close(*outputs, rtol=1e-9, atol=1e-9)
    for out in outputs:
        out.backward(drawn(*out.shape, seed=1))
    torch.testing.assert_close(inputs[0].grad, inputs[1].grad, rtol=1e-7, atol=1e-9)
    for (name, wanted), found in zip(theirs.named_parameters(), ours.parameters(), strict=True):
        torch.testing.assert_close(
            found.grad, wanted.grad, rtol=1e-7, atol=1e-9, msg=lambda text, name=name: name + text
        )


def test_gradients_are_those_of_differences():
    qkv, bias = drawn(2, 4, 4, 18).requires_grad_(), drawn(4, 2, 4, 4, seed=1).requires_grad_()
    scale = drawn(2, seed=2).exp().requires_grad_()

    def run(*values):
        return attention(*values, heads=2, window=(2, 2))

    assert torch.autograd.gradcheck(run, (qkv, bias, scale))
    shared = bias[:1].detach().requires_grad_()  # one bias for all windows
    assert torch.autograd.gradcheck(run, (qkv, shared, scale))


@pytest.mark.parametrize("windows", [1, 4])
def test_the_fused_attention_of_other_devices_is_the_same(windows):
    # In bfloat16 a CPU goes the way of a GPU: held against float64 within bfloat16's rounding.
    qkv, bias = drawn(2, 8, 8, 3 * 2 * 4).bfloat16(), drawn(windows, 2, 16, 16).bfloat16()
    scale, window = torch.tensor([1.5, 4.0]), (4, 4)
    inputs = [qkv.clone().requires_grad_(), bias.clone().requires_grad_()]
    exact = [qkv.double().requires_grad_(), bias.double().requires_grad_()]
    found = attention(*inputs, scale, heads=2, window=window)
    wanted = attention(*exact, scale.double(), heads=2, window=window)
    assert found.dtype == torch.bfloat16
    torch.testing.assert_close(found.double(), wanted, rtol=0.02, atol=0.05)
    for out in (found, wanted):
        out.backward(drawn(*out.shape, seed=1).to(out.dtype))
    for got, true in zip(inputs, exact, strict=True):
        error = (got.grad.double() - true.grad).norm() / true.grad.norm()
        assert error < 0.02


def test_compiled_a_block_is_one_graph_with_the_same_values():
    _, ours = blocks((8, 8), 4, 2)
    x = drawn(2, 8, 8, 12)
    compiled = torch.compile(ours, backend="aot_eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), ours(x), rtol=1e-9, atol=1e-9)


def test_windows_are_cut_as_timm_cuts_them_and_put_back():
    x = drawn(2, 4, 6, 2 * 3 * 5)
    parts = cut(x, (2, 3), 3, 2)
    assert parts.shape == (2, 2, 4, 3, 6, 5)
    # Part 1, sample 0, second window of the first row, head 2, its token of row 1, column 2.
    assert torch.equal(parts[1, 0, 1, 2, 5], x[0, 1, 5].view(2, 3, 5)[1, 2])
    assert torch.equal(joined(parts, (2, 3), (4, 6)), x)


def test_every_swinv2_objective_attends_so_and_its_export_is_timms():
    objective = shaken(build(SWINV2))
    changed = [m for m in objective.modules() if isinstance(m, SwinTransformerV2Block)]
    assert {type(block) for block in changed} == {swin_attention._Block}
    encoder = SWINV2["encoder"]
    plain = timm.create_model(
        "swinv2_tiny_window8_256", img_size=32, patch_size=4, in_chans=6, num_classes=0,
        embed_dim=12, depths=encoder["depths"], num_heads=encoder["heads"], window_size=4,
        mlp_ratio=2.0, drop_path_rate=0.0,
    )  # fmt: skip
    plain.load_state_dict(objective.export_encoder_state(objective.state_dict()), strict=True)
    images = drawn(2, 6, 32, 32).float()
    with torch.no_grad():
        torch.testing.assert_close(
            objective.encoder.forward_features(images), plain.forward_features(images),
            rtol=1e-5, atol=1e-5,
        )  # fmt: skip


def test_a_block_with_an_extra_norm_keeps_it():
    block = SwinTransformerV2Block(12, (8, 8), num_heads=3, window_size=4, shift_size=2)
    block.__class__, block.norm3 = ExtraNormBlock, torch.nn.LayerNorm(12)
    block = shaken(block).double()
    ours, x = copy.deepcopy(block), drawn(2, 8, 8, 12)
    use_window_attention(ours)
    assert type(ours.attn) is not type(block.attn)
    assert isinstance(ours, ExtraNormBlock)
    torch.testing.assert_close(ours(x), block(x), rtol=1e-9, atol=1e-9)


def test_blocks_that_pad_and_blocks_of_swin_stay_timms():
    padded = SwinTransformerV2Block(12, (6, 6), num_heads=3, window_size=4)
    use_window_attention(padded)
    assert type(padded) is SwinTransformerV2Block
    swin = build(SIMMIM)
    assert all(
        type(part).__module__.startswith("timm")
        for part in swin.encoder.modules()
        if hasattr(part, "relative_position_index")
    )
