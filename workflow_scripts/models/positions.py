"""The fixed two-dimensional sine-cosine position table of MAE (He et al., arXiv 2111.06377)."""

import torch
from torch import Tensor


def _sine_cosine(places: Tensor, channels: int) -> Tensor:
    """[sin | cos] of (places,), at frequencies 10000^(-i/(channels/2)): (places, channels)."""
    half = channels // 2
    frequencies = 10000.0 ** (-torch.arange(half, dtype=torch.float64, device="cpu") / half)
    angles = places[:, None] * frequencies[None, :]
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def position_table(width: int, side: int, *, class_token: bool) -> Tensor:
    """The fixed table of a square token grid.

    The first half of the channels encodes the column, the second half the row, as in the
    reference code of MAE; timm's own helper makes another table.

    Args:
        width: Channels; a multiple of 4.
        side: Tokens on a side of the grid.
        class_token: Put a row of zeros, the class token's position, before the others.

    Returns:
        float32 (side * side, width), or one row more with the class token; on the CPU whatever
        the default device, because it is data, not a parameter to be filled later.
    """
    index = torch.arange(side * side, device="cpu")
    columns, rows = (index % side).double(), (index // side).double()
    table = torch.cat(
        [_sine_cosine(columns, width // 2), _sine_cosine(rows, width // 2)], dim=1
    ).float()
    if class_token:
        table = torch.cat([torch.zeros(1, width, device="cpu"), table])
    return table
