"""Swin and SwinV2 in float64 numpy, image by image, written from the papers.

Windows are groups of tokens between lines that a shifted block moves by half a window, so that
those at the border are smaller (Fig. 2 of arXiv 2103.14030): no roll, no attention mask and no
table of indices, which is how the code under test computes the same.
"""

import math

import numpy as np
from scipy.special import erf

EPSILON = 1e-5


def weights_of(module):
    """Every parameter as float64."""
    return {name: value.detach().double().numpy() for name, value in module.named_parameters()}


def norm(x, weights, name):
    centred = x - x.mean(-1, keepdims=True)
    x = centred / np.sqrt((centred**2).mean(-1, keepdims=True) + EPSILON)
    return x * weights[f"{name}.weight"] + weights[f"{name}.bias"]


def linear(x, weights, name):
    y = x @ weights[f"{name}.weight"].T
    return y + weights[f"{name}.bias"] if f"{name}.bias" in weights else y


def unit(x):
    return x / np.linalg.norm(x, axis=-1, keepdims=True)


def windows(side, window, shift):
    """Places (row, column) of the tokens of each window of a grid."""
    groups = {}
    for row in range(side):
        for column in range(side):
            key = (row - shift) // window, (column - shift) // window
            groups.setdefault(key, []).append((row, column))
    return [np.array(places) for places in groups.values()]


def bias_v1(apart, window, weights, name):
    """Of pairs (…, 2) of tokens so many rows and columns apart, (…, heads): a learned table."""
    rows, columns = apart[..., 0] + window - 1, apart[..., 1] + window - 1
    return weights[f"{name}.relative_position_bias_table"][rows * (2 * window - 1) + columns]


def bias_v2(apart, window, weights, name):
    """The same from a small network on log-spaced coordinates (sections 3.3 of 2111.09883)."""
    far = 8 * apart / (window - 1)
    far = np.sign(far) * np.log2(1 + np.abs(far)) / math.log2(8)
    hidden = np.maximum(linear(far, weights, f"{name}.cpb_mlp.0"), 0)
    return 16 / (1 + np.exp(-linear(hidden, weights, f"{name}.cpb_mlp.2")))


def qkv_bias(weights, name):
    if f"{name}.qkv.bias" in weights:
        return weights[f"{name}.qkv.bias"]
    q, v = weights[f"{name}.q_bias"], weights[f"{name}.v_bias"]
    return np.concatenate([q, np.zeros_like(q), v])  # keys have none in SwinV2


def attention(x, places, window, heads, weights, name):
    """Of the tokens (N, D) of one window."""
    tokens, width = x.shape
    qkv = x @ weights[f"{name}.qkv.weight"].T + qkv_bias(weights, name)
    q, k, v = qkv.reshape(tokens, 3, heads, width // heads).transpose(1, 2, 0, 3)
    apart = places[:, None] - places[None]
    if f"{name}.logit_scale" in weights:
        # The temperature of a head is at least 0.01.
        scale = np.exp(np.minimum(weights[f"{name}.logit_scale"], math.log(100)))
        scores = unit(q) @ unit(k).transpose(0, 2, 1) * scale
        scores += bias_v2(apart, window, weights, name).transpose(2, 0, 1)
    else:
        scores = q @ k.transpose(0, 2, 1) / math.sqrt(width // heads)
        scores += bias_v1(apart, window, weights, name).transpose(2, 0, 1)
    scores = np.exp(scores - scores.max(-1, keepdims=True))
    attended = scores / scores.sum(-1, keepdims=True) @ v
    return linear(attended.transpose(1, 0, 2).reshape(tokens, width), weights, f"{name}.proj")


def attended_windows(x, window, shift, heads, weights, name):
    out = np.empty_like(x)
    for places in windows(len(x), window, shift):
        rows, columns = places.T
        out[rows, columns] = attention(x[rows, columns], places, window, heads, weights, name)
    return out


def mlp(x, weights, name):
    hidden = linear(x, weights, f"{name}.fc1")
    return linear(hidden * (1 + erf(hidden / math.sqrt(2))) / 2, weights, f"{name}.fc2")


def block(x, index, window, heads, weights, name):
    """Pre-norm in Swin, residual post-norm in SwinV2; every second block is shifted."""
    side = len(x)
    shift = window // 2 if index % 2 and side > window else 0
    inner = min(window, side), shift, heads, weights, f"{name}.attn"
    if f"{name}.attn.logit_scale" in weights:
        x = x + norm(attended_windows(x, *inner), weights, f"{name}.norm1")
        x = x + norm(mlp(x, weights, f"{name}.mlp"), weights, f"{name}.norm2")
        # SatVision's norm on the main branch, behind some blocks.
        return norm(x, weights, f"{name}.norm3") if f"{name}.norm3.weight" in weights else x
    x = x + attended_windows(norm(x, weights, f"{name}.norm1"), *inner)
    return x + mlp(norm(x, weights, f"{name}.norm2"), weights, f"{name}.mlp")


def merged(x, weights, name):
    """Each 2 × 2 tokens become one of twice the width; the norm comes first in Swin."""
    x = np.concatenate([x[::2, ::2], x[1::2, ::2], x[::2, 1::2], x[1::2, 1::2]], axis=-1)
    if weights[f"{name}.norm.weight"].size == x.shape[-1]:
        return linear(norm(x, weights, f"{name}.norm"), weights, f"{name}.reduction")
    return norm(linear(x, weights, f"{name}.reduction"), weights, f"{name}.norm")


def embedded(image, patch, weights, name):
    """Tokens (h, w, D) of an image (C, H, W)."""
    kernel, side = weights[f"{name}.proj.weight"], image.shape[-1] // patch
    x = np.empty((side, side, len(kernel)))
    for row in range(side):
        for column in range(side):
            at = slice(row * patch, (row + 1) * patch), slice(column * patch, (column + 1) * patch)
            x[row, column] = (kernel * image[:, *at]).sum((1, 2, 3))
    return norm(x + weights[f"{name}.proj.bias"], weights, f"{name}.norm")


def features(x, encoder, weights, prefix):
    """What enters the last stage's blocks and what leaves them, both before any norm."""
    for stage, (depth, heads) in enumerate(zip(encoder["depths"], encoder["heads"], strict=True)):
        name = f"{prefix}layers.{stage}"
        if stage:
            x = merged(x, weights, f"{name}.downsample")
        entering = x
        for index in range(depth):
            x = block(x, index, encoder["window"], heads, weights, f"{name}.blocks.{index}")
    return entering, x


def painted(x, kind, step, channels, weights):
    """The image (C, H, W) that a decoder makes of normed tokens (h, w, D)."""
    if kind == "dense":
        size = len(x) * step
        return linear(x.mean((0, 1)), weights, "decoder.2").reshape(channels, size, size)
    kernel = weights["decoder.0.weight"][:, :, 0, 0]
    values = x @ kernel.T + weights["decoder.0.bias"]
    values = values.reshape(len(x), len(x), channels, step, step)
    return values.transpose(2, 0, 3, 1, 4).reshape(channels, len(x) * step, len(x) * step)


def simmim(objective, recipe, batch):
    """Loss, and per sample the painted image, its masked pixels and the last stage's mean input."""
    weights, encoder = weights_of(objective), recipe["encoder"]
    cell, patch, size = recipe["mask"]["patch"], encoder["patch"], encoder["image_size"]
    cells, side = (size // cell) ** 2, size // cell
    masked = math.ceil(cells * recipe["mask"]["ratio"])
    step = patch * 2 ** (len(encoder["depths"]) - 1)
    total, pixels, samples = 0.0, 0, []
    for image, noise in zip(batch["images"].double().numpy(), batch["noise"].numpy(), strict=True):
        mask = np.zeros(cells, dtype=bool)
        mask[np.argsort(noise)[cells - masked :]] = True
        mask = mask.reshape(side, side)
        x = embedded(image, patch, weights, "encoder.patch_embed")
        x[np.kron(mask, np.ones((cell // patch, cell // patch))) > 0] = weights["mask_token"]
        entering, x = features(x, encoder, weights, "encoder.")
        x = norm(x, weights, "encoder.norm")
        x = painted(x, recipe["decoder"]["kind"], step, len(image), weights)
        mask = np.kron(mask, np.ones((cell, cell))) > 0
        total, pixels = total + np.abs(image - x)[:, mask].sum(), pixels + mask.sum()
        samples.append((x, mask, entering.mean((0, 1))))
    return total / (pixels + 1e-5) / batch["images"].shape[1], samples
