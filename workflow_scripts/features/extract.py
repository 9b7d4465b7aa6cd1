"""Benchmark samples → what the encoder sees → one feature vector a sample."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from threading import Lock
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import interpolate

from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import Features
from workflow_scripts.logs import progress
from workflow_scripts.models.scaling import by_channel, fill_missing, normalised
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import IMAGES
from workflow_scripts.shards.picture import rgb_image

# Fixed, not an option: another batch size may round sums differently.
BATCH = 64


def check_fits(model: dict[str, Any], index: dict[str, Any], *, run: str, benchmark: str) -> None:
    """Refuse to probe a run on samples of other channels than it was trained on.

    Raises:
        UserError: The number of channels, their names, their quantity or their scale differ.
    """
    for what, ours, theirs in (
        ("channels", model["channels"], index["channels"]),
        ("bands", model["bands"], index["bands"]),
    ):
        if ours != theirs:
            raise UserError(
                f"run {run!r} was trained on {what} {ours}, benchmark {benchmark!r} has {theirs}; "
                "probe it on a benchmark of the same bands"
            )
    quantities = model.get("quantity"), index.get("quantity")
    if all(quantities) and quantities[0] != quantities[1]:
        raise UserError(
            f"run {run!r} was trained on {quantities[0]}, benchmark {benchmark!r} has "
            f"{quantities[1]}; tile its chips with the same tile.quantity"
        )
    scale = "unit" if index["kind"] == IMAGES else "physical"
    if model["normalisation"]["scale"] != scale:
        raise UserError(
            f"run {run!r} takes {model['normalisation']['scale']} values, benchmark "
            f"{benchmark!r} ({index['kind']}) has {scale} ones"
        )


def centre_crop(height: int, width: int, size: int) -> tuple[slice, slice]:
    """The middle `size` × `size` pixels of an image of at least that size."""
    top, left = (height - size) // 2, (width - size) // 2
    return slice(top, top + size), slice(left, left + size)


def resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width with the shorter side scaled to `size`, the longer one rounded."""
    short = min(height, width)
    return max(size, round(height * size / short)), max(size, round(width * size / short))


def read_image(corpus: Corpus, row: int, size: int) -> Tensor:
    """An image sample as (3, size, size) in [0, 1]: shorter side by bicubic, centre crop.

    Raises:
        UserError: The bytes are no image.
    """
    image = rgb_image(corpus, row)
    height, width = resized(image.height, image.width, size)
    if (width, height) != image.size:
        image = image.resize((width, height), Image.Resampling.BICUBIC)
    pixels = np.asarray(image)[centre_crop(height, width, size)]
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


def read_chip(corpus: Corpus, row: int, size: int, missing: list[float]) -> Tensor:
    """A chip sample as (bands, size, size) in physical units, resized like an image.

    Pixels without a value are `missing` (by band) before the resize: bicubic weights would spread
    NaN.
    """
    chip = torch.from_numpy(fill_missing(corpus.physical(row), missing))
    height, width = resized(chip.shape[1], chip.shape[2], size)
    if (height, width) != tuple(chip.shape[1:]):
        chip = interpolate(
            chip[None], (height, width), mode="bicubic", align_corners=False, antialias=True
        )[0]
    return chip[:, *centre_crop(height, width, size)]


def extract(
    corpus: Corpus,
    encoder: Features,
    *,
    model: dict[str, Any],
    size: int,
    device: str = "cpu",
    threads: int = 1,
) -> NDArray[np.float64]:
    """Features (n, dimensions) of every sample of a corpus, in its order.

    Args:
        corpus: One split of the benchmark.
        encoder: The pooled encoder.
        model: The run's `model.json`, for the normalisation it was trained with.
        size: Input height and width in pixels.
        device: Where the encoder runs, `cpu` or `cuda`.
        threads: How many batches are read at a time, and on cores encoded.

    Raises:
        UserError: A feature is not finite.
    """
    how = model["normalisation"]
    mean, std, clip = by_channel(how["mean"]), by_channel(how["std"]), how.get("clip")
    # Cards of runs that were exported before chips could miss pixels have the mean alone.
    missing = how.get("missing") or how["mean"]
    encoder.to(device)
    # A GPU works on one batch at a time, and its memory would not hold one for each core.
    turn = nullcontext() if device == "cpu" else Lock()

    def seen(row: int) -> Tensor:
        if corpus.kind == IMAGES:
            pixels = read_image(corpus, row, size)
        else:
            pixels = read_chip(corpus, row, size, missing)
        return normalised(pixels, mean=mean, std=std, clip=clip)

    def batch(start: int) -> NDArray[np.float32]:
        rows = range(start, min(start + BATCH, len(corpus)))
        images = torch.stack([seen(row) for row in rows])
        with turn:
            found: NDArray[np.float32] = encoder(images.to(device))
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise UserError(
                f"{corpus.name(rows[int(broken[0])])}: the encoder's features are not finite; "
                "look at the run's loss (did it diverge?) and at this sample"
            )
        return found

    starts = range(0, len(corpus), BATCH)
    what = f"features of {corpus.path.parent.name}"
    with ThreadPoolExecutor(threads) as pool:
        try:
            parts = list(progress(pool.map(batch, starts), what=what, total=len(starts)))
        except UserError:
            pool.shutdown(cancel_futures=True)
            raise
    return np.concatenate(parts).astype(np.float64)
