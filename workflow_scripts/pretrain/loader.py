"""From a corpus's shards to batches: decode, view, collate; normalise on the device.

The pixels of a batch depend on (seed, epoch, sample) alone. The number of worker processes and the
cache of decoded samples change nothing but speed.
"""

import os
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.models.scaling import (
    STANDARDIZE,
    by_channel,
    fill_missing,
    normalisation,
    normalised,
)
from workflow_scripts.pretrain.augment import View, centre_view, random_view, seen_chip, seen_image
from workflow_scripts.pretrain.order import STREAM_NOISE, RankSteps, stream
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.picture import rgb_image

Sample = dict[str, Any]
_MEBIBYTE = 2**20


class Samples(Dataset[Sample]):
    """Samples of a corpus as a run sees them, by (epoch, sample).

    Args:
        corpus: The packed corpus.
        recipe: The run's recipe.
        cells: Noise values a sample needs for its mask.
        cache_bytes: Decoded samples kept in memory by this process.
    """

    def __init__(
        self, corpus: Corpus, recipe: dict[str, Any], *, cells: int, cache_bytes: int = 0
    ) -> None:
        self.corpus = corpus
        self.seed: int = recipe["seed"]
        self.augment: dict[str, Any] = recipe["augment"]
        self.size: int = recipe["encoder"]["image_size"]
        self.cells = cells
        self.is_chips = corpus.kind == layout.CHIPS
        self.labels = corpus.labels
        self._cache: dict[int, Any] = {}
        self._cache_left = cache_bytes
        self.close()

    def close(self) -> None:
        """Close the shards: HDF5 handles must not cross a fork."""
        self.corpus.close()

    def _decoded(self, sample: int) -> Any:
        """A Pillow image or a float32 (bands, height, width) chip, kept while there is room.

        A chip's missing pixels hold the channel's mean: bicubic weights would spread NaN.
        """
        found = self._cache.get(sample)
        if found is not None:
            return found
        if self.is_chips:
            found = fill_missing(self.corpus.physical(sample), self.corpus.index["mean"])
            size = found.nbytes
        else:
            found = rgb_image(self.corpus, sample)
            size = found.width * found.height * 4  # Pillow keeps RGB in four bytes a pixel
        if size <= self._cache_left:
            self._cache[sample] = found
            self._cache_left -= size
        return found

    def _size(self, decoded: Any) -> dict[str, int]:
        if self.is_chips:
            return {"width": decoded.shape[2], "height": decoded.shape[1]}
        return {"width": decoded.width, "height": decoded.height}

    def _seen(self, decoded: Any, view: View) -> NDArray[Any]:
        if self.is_chips:
            return seen_chip(decoded, view, size=self.size)
        return seen_image(decoded, view, size=self.size)

    def _sample(self, pixels: NDArray[Any], *, epoch: int, sample: int) -> Sample:
        noise = stream(self.seed, kind=STREAM_NOISE, epoch=epoch, sample=sample)
        return {
            "images": pixels,
            "noise": noise.random(self.cells, dtype=np.float32),
            "labels": int(self.labels[sample]),
        }

    def __getitem__(self, key: tuple[int, int]) -> Sample:
        epoch, sample = key
        decoded = self._decoded(sample)
        view = random_view(
            self.augment, **self._size(decoded), seed=self.seed, epoch=epoch, sample=sample
        )
        return self._sample(self._seen(decoded, view), epoch=epoch, sample=sample)

    def centred(self, sample: int, *, epoch: int) -> Sample:
        """A sample's centre crop with the mask noise of an epoch, for figures."""
        decoded = self._decoded(sample)
        view = centre_view(**self._size(decoded))
        return self._sample(self._seen(decoded, view), epoch=epoch, sample=sample)


def collate(samples: list[Sample]) -> dict[str, Tensor]:
    """Images uint8 (B, H, W, 3) or chips float32 (B, bands, H, W), noise (B, cells), labels."""
    return {
        "images": torch.from_numpy(np.stack([sample["images"] for sample in samples])),
        "noise": torch.from_numpy(np.stack([sample["noise"] for sample in samples])),
        "labels": torch.tensor([sample["labels"] for sample in samples], dtype=torch.int64),
    }


def _start_worker(worker: int) -> None:
    die_with_parent(os.getppid())  # or it would hold the run's lock for seconds after a kill


def batches(
    samples: Samples, steps: RankSteps, *, workers: int, pin: bool
) -> DataLoader[dict[str, Tensor]]:
    """The batches of one rank from the resume step to the end of the run, in order."""
    return DataLoader(
        samples,
        batch_sampler=steps,
        collate_fn=collate,
        num_workers=workers,
        persistent_workers=workers > 0,
        prefetch_factor=4 if workers else None,
        pin_memory=pin,
        worker_init_fn=_start_worker,
    )


def cache_bytes(cache_mb: int, *, workers: int) -> int:
    """A process's part of a rank's cache: the workers share it, each holding its own samples."""
    return cache_mb * _MEBIBYTE // max(1, workers)


class Normalise:
    """Batches on the device: images float32 (B, C, H, W) as `scaling` has them.

    Args:
        index: The corpus's index: `kind`, and its statistics by channel, in value/255 for images,
            in physical units for chips.
        device: Where the model is.
        scaling: As in `models.scaling`.
    """

    def __init__(
        self, index: dict[str, Any], device: torch.device, scaling: str = STANDARDIZE
    ) -> None:
        self.device = device
        self.is_images = index["kind"] == layout.IMAGES
        how = normalisation(index, scaling)
        self.mean, self.std = by_channel(how["mean"], device), by_channel(how["std"], device)
        self.clip = how["clip"]
        corpus_mean = by_channel(index["mean"], device)
        self.middle = normalised(corpus_mean, mean=self.mean, std=self.std, clip=self.clip)

    def __call__(self, batch: dict[str, Tensor]) -> dict[str, Tensor]:
        """A collated batch on the device, its images normalised."""
        moved = {name: value.to(self.device, non_blocking=True) for name, value in batch.items()}
        images = moved["images"]
        if self.is_images:
            images = images.permute(0, 3, 1, 2).float().div_(255.0)
        images = normalised(images, mean=self.mean, std=self.std, clip=self.clip)
        moved["images"] = images.contiguous()
        return moved

    def undone(self, images: Tensor) -> Tensor:
        """(B, C, H, W) back in [0, 1] for images, physical units for chips.

        What was cut off at the ends of a clipped range does not come back.
        """
        return images * self.std + self.mean
