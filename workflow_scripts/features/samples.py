"""Samples of a benchmark as an encoder sees them, whole or as views; and their mean colour."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import interpolate

from workflow_scripts.errors import UserError
from workflow_scripts.loader.pixels import seen_chip, seen_image
from workflow_scripts.loader.views import random_view, view_draws
from workflow_scripts.models.scaling import (
    by_channel,
    fill_missing,
    fill_missing_counts,
    normalised,
)
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import IMAGES
from workflow_scripts.shards.picture import decoded

VIEW_SEED = 0  # of all views: every encoder sees the same ones


def check_fits(model: dict[str, Any], index: dict[str, Any], *, run: str, benchmark: str) -> None:
    """Refuse to probe an encoder on samples of other channels than it was trained on.

    Args:
        model: The encoder's card; that of weights from elsewhere names no bands and no quantity.
        index: The benchmark's.
        run: What to call the encoder.
        benchmark: What to call the benchmark.

    Raises:
        UserError: The number of channels, their names, their quantity or their scale differ.
    """
    for what, ours, theirs in (
        ("channels", model["channels"], index["channels"]),
        ("bands", model.get("bands") or index["bands"], index["bands"]),
    ):
        if ours != theirs:
            raise UserError(
                f"encoder {run!r} was trained on {what} {ours}, benchmark {benchmark!r} has "
                f"{theirs}; probe it on a benchmark of the same bands"
            )
    quantities = model.get("quantity"), index.get("quantity")
    if all(quantities) and quantities[0] != quantities[1]:
        raise UserError(
            f"encoder {run!r} was trained on {quantities[0]}, benchmark {benchmark!r} has "
            f"{quantities[1]}; tile its chips with the same tile.quantity"
        )
    scale = "unit" if index["kind"] == IMAGES else "physical"
    own = model["normalisation"].get("scale", scale)
    if own != scale:
        raise UserError(
            f"encoder {run!r} takes {own} values, benchmark {benchmark!r} ({index['kind']}) has "
            f"{scale} ones"
        )


def centre_crop(height: int, width: int, size: int) -> tuple[slice, slice]:
    """The middle `size` × `size` pixels of an image of at least that size."""
    top, left = (height - size) // 2, (width - size) // 2
    return slice(top, top + size), slice(left, left + size)


def resized(height: int, width: int, size: int) -> tuple[int, int]:
    """Height and width with the shorter side scaled to `size`, the longer one rounded."""
    short = min(height, width)
    return max(size, round(height * size / short)), max(size, round(width * size / short))


def _no_image(corpus: Corpus, row: int, error: ValueError) -> UserError:
    return UserError(
        f"{corpus.name(row)}: not a readable image ({error}); look at the file it came from, "
        "replace it or take it out of the dataset, and pack again"
    )


def read_image(corpus: Corpus, row: int, size: int) -> Tensor:
    """An image sample, uint8 (3, size, size): shorter side by bicubic, centre crop.

    torch resizes in 8 bits, over the area that a pixel covers: Pillow's pixels to a unit of
    rounding, several times as fast (as in `loader.pixels`).

    Raises:
        UserError: The bytes are no image.
    """
    try:
        whole = torch.from_numpy(decoded(corpus.image(row)))
    except ValueError as error:
        raise _no_image(corpus, row, error) from None
    image = whole.permute(2, 0, 1)[None]  # channels last in memory, which the kernel is made for
    height, width = resized(image.shape[2], image.shape[3], size)
    if (height, width) != tuple(image.shape[2:]):
        image = interpolate(image, (height, width), mode="bicubic", antialias=True)
    return image[0, :, *centre_crop(height, width, size)]


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


@dataclass(frozen=True, kw_only=True)
class Views:
    """Views as training makes them: `augment` as for `loader.views.random_view`, and which one.

    A view is a pure function of its number and the sample's number in the benchmark.
    """

    augment: dict[str, Any]
    number: int


class Seen:
    """Batches of a benchmark's samples as an encoder sees them.

    Args:
        corpus: The packed benchmark.
        normalisation: Of the encoder's card.
        size: Height and width in pixels.
        views: Which view of each sample; None: the sample, shorter side resized, centre crop.
    """

    def __init__(
        self, corpus: Corpus, *, normalisation: dict[str, Any], size: int, views: Views | None
    ) -> None:
        self.corpus, self.size, self.views = corpus, size, views
        self.is_images = corpus.kind == IMAGES
        self._mean = by_channel(normalisation["mean"])
        self._std = by_channel(normalisation["std"])
        self._clip = normalisation.get("clip")
        self._missing = missing_of(normalisation)

    def batch(self, rows: NDArray[np.int64]) -> Tensor:
        """Normalised float32 (len(rows), channels, size, size).

        Raises:
            UserError: A sample cannot be read; names shard, row and key.
        """
        if self.views is None:
            pixels = [self._whole(row) for row in rows.tolist()]
        else:
            draws = view_draws(rows, seed=VIEW_SEED, epoch=self.views.number)
            pixels = [
                self._view(row, self.views.augment, own)
                for row, own in zip(rows.tolist(), draws, strict=True)
            ]
        # One by one, which stays in a core's cache.
        return torch.stack([self._normalised(one) for one in pixels])

    def _normalised(self, pixels: Tensor) -> Tensor:
        values = pixels / 255 if self.is_images else pixels
        return normalised(values, mean=self._mean, std=self._std, clip=self._clip)

    def _whole(self, row: int) -> Tensor:
        if self.is_images:
            return read_image(self.corpus, row, self.size)
        return read_chip(self.corpus, row, self.size, self._missing)

    def _view(self, row: int, augment: dict[str, Any], draws: NDArray[np.float64]) -> Tensor:
        if not self.is_images:
            return self._chip_view(row, augment, draws)
        height, width = self.corpus.image_size(row)
        view = random_view(augment, draws, width=width, height=height)
        try:
            pixels = seen_image(self.corpus.image(row), view, size=self.size)
        except ValueError as error:
            raise _no_image(self.corpus, row, error) from None
        return torch.from_numpy(pixels).permute(2, 0, 1)

    def _chip_view(self, row: int, augment: dict[str, Any], draws: NDArray[np.float64]) -> Tensor:
        """As training sees it: in counts, which are resized in place of values."""
        counts = self.corpus.counts(row)
        scale, offset = self.corpus.calibration(row)
        counts = fill_missing_counts(counts, scale=scale, offset=offset, missing=self._missing)
        _, height, width = counts.shape
        view = random_view(augment, draws, width=width, height=height)
        seen = seen_chip(counts, view, size=self.size).astype(np.float32)
        by_band = scale.astype(np.float32)[:, None, None], offset.astype(np.float32)[:, None, None]
        return torch.from_numpy((seen - by_band[1]) * by_band[0])


def missing_of(normalisation: dict[str, Any]) -> list[float]:
    """By channel, what stands for pixels without a value.

    Cards of runs that were exported before chips could miss pixels have the mean alone.
    """
    found: list[float] = normalisation.get("missing") or normalisation["mean"]
    return found


def mean_colour(
    corpus: Corpus, row: int, *, size: int, missing: list[float]
) -> NDArray[np.float64]:
    """Mean of each channel of a sample: of value / 255 for images, in physical units for chips.

    Of an image, the pixels that an encoder sees; of a chip, those that have a value in the square
    in its middle, and `missing` for a band without any.
    """
    if corpus.kind == IMAGES:
        seen = read_image(corpus, row, size).numpy()
        return seen.astype(np.float64).mean(axis=(1, 2)) / 255
    chip = corpus.physical(row)
    _, height, width = chip.shape
    square = chip[:, *centre_crop(height, width, min(height, width))].astype(np.float64)
    known = ~np.isnan(square)
    counts = known.sum(axis=(1, 2))
    sums = np.where(known, square, 0.0).sum(axis=(1, 2))
    return np.where(counts > 0, sums / np.maximum(counts, 1), np.array(missing))
