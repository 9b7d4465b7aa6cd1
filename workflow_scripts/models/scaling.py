"""How pixels become what an encoder sees, in one place for training, export and probing.

A normalisation is plain data, as `model.json` holds it:

    scale      `unit`: value / 255, of images; `physical`: in the units of the chips
    missing    by channel, what stands for pixels without a value: the corpus mean; null for images
    mean, std  by channel: x → (x − mean) / std
    clip       null, or the range to which the outcome is cut

Missing pixels are filled before a sample is resized, so that none spreads into its neighbours.
"""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.shards import layout

STANDARDIZE = "standardize"
MEAN_2SIGMA = "mean_2sigma"
_SMALLEST_STD = 1e-6  # a channel of one value becomes 0, not NaN


def normalisation(index: dict[str, Any], scaling: str) -> dict[str, Any]:
    """The normalisation of a corpus.

    Args:
        index: The corpus's index: `kind`, and by channel `mean`, `std` and, of chips,
            `mean_2sigma`.
        scaling: `standardize`: mean 0 and deviation 1, a missing pixel is 0. `mean_2sigma`:
            x / (mean + 2σ) cut to [0, 1], as RICC takes its radiances (Kurihana et al., arXiv
            2209.15096); a missing pixel is mean / (mean + 2σ).

    Raises:
        UserError: No such scaling, or one that the corpus's channels do not allow.
    """
    is_images = index["kind"] == layout.IMAGES
    found: dict[str, Any] = {
        "scale": "unit" if is_images else "physical",
        "missing": None if is_images else index["mean"],
    }
    if scaling == STANDARDIZE:
        std = [max(value, _SMALLEST_STD) for value in index["std"]]
        return {**found, "mean": index["mean"], "std": std, "clip": None}
    if scaling != MEAN_2SIGMA:
        raise UserError(f"scaling is {scaling!r}, expected {STANDARDIZE} or {MEAN_2SIGMA}")
    if is_images:
        raise UserError("scaling mean_2sigma is for chips; take standardize for a corpus of images")
    dark = [
        name for name, top in zip(index["bands"], index["mean_2sigma"], strict=True) if top <= 0
    ]
    if dark:
        raise UserError(
            f"scaling mean_2sigma: mean + 2σ of band {', '.join(dark)} is not above 0; leave the "
            "band out or take standardize"
        )
    zeros = [0.0] * len(index["mean"])
    return {**found, "mean": zeros, "std": index["mean_2sigma"], "clip": [0.0, 1.0]}


def normalised(images: Tensor, *, mean: Tensor, std: Tensor, clip: list[float] | None) -> Tensor:
    """Pixels (…, C, H, W) in their own units as the encoder sees them; mean and std broadcast."""
    scaled = (images - mean) / std
    return scaled if clip is None else scaled.clamp(*clip)


def by_channel(values: list[float], device: torch.device | str = "cpu") -> Tensor:
    """Values by channel as float32 (C, 1, 1)."""
    return torch.tensor(values, dtype=torch.float32, device=device).view(-1, 1, 1)


def fill_missing(chip: NDArray[np.float32], missing: list[float]) -> NDArray[np.float32]:
    """A chip (bands, height, width) with `missing` in the place of NaN; itself where there is none.

    What is filled carries no information, but a masked model is asked to predict it like any pixel.
    """
    holes = np.isnan(chip)
    if not holes.any():
        return chip
    return np.where(holes, np.array(missing, np.float32)[:, None, None], chip)


def fill_missing_counts(
    counts: NDArray[np.uint16],
    *,
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    missing: list[float],
) -> NDArray[np.uint16]:
    """The same in counts: the one nearest to `missing`; the chip itself where none is missing.

    Args:
        counts: (bands, height, width) as stored.
        scale: (bands,) value = (count − offset)·scale.
        offset: (bands,).
        missing: (bands,) physical values.
    """
    if counts.max() <= layout.MAX_COUNT:
        return counts
    nearest = np.rint(np.array(missing) / scale + offset).clip(0, layout.MAX_COUNT)
    return np.where(counts > layout.MAX_COUNT, nearest.astype(np.uint16)[:, None, None], counts)
