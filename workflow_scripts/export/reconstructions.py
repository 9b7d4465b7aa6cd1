"""What a masked model paints: a few fixed samples, for the report."""

from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.files import atomic
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain.construct import order_of, scaling_of
from workflow_scripts.shards.corpus import Corpus

COUNT = 8


def chosen_samples(labels: NDArray[np.int32], count: int = COUNT) -> list[int]:
    """The first sample of each class in turn, then the second of each, until there are enough."""
    places = [
        (place, int(label), int(index))
        for label in np.unique(labels)
        for place, index in enumerate(np.flatnonzero(labels == label)[:count])
    ]
    return [index for _, _, index in sorted(places)[:count]]


def _arrays(
    objective: Objective, corpus: Corpus, recipe: dict[str, Any]
) -> dict[str, NDArray[Any]]:
    """`input`, `masked`, `prediction` float32 (k, H, W, C), `mask` bool (k, H, W), `keys`."""
    size = recipe["encoder"]["image_size"]
    if objective.cells == 0:  # nothing is masked in this objective
        empty = np.zeros((0, size, size, corpus.channels), np.float32)
        nothing = {"input": empty, "masked": empty, "prediction": empty}
        return {**nothing, "mask": np.zeros((0, size, size), bool), "keys": np.array([], "<U1")}
    indices = chosen_samples(corpus.labels)
    order = order_of(recipe, corpus)
    batches = Batches(corpus, order, augment=None, size=size, cells=objective.cells)
    epoch = int(recipe["epochs"]) + 1  # masks that training has not drawn
    normalise = Normalise(corpus.index, torch.device("cpu"), scaling_of(recipe))
    batch = normalise(batches.of(np.array(indices), epoch=epoch))
    prediction, mask = objective.reconstruct(batch)
    seen = batch["images"]
    masked = torch.where(mask[:, None], normalise.middle, seen)  # removed: the mean colour

    def painted(images: Tensor) -> NDArray[np.float32]:
        return normalise.undone(images).permute(0, 2, 3, 1).contiguous().numpy()

    return {
        "input": painted(seen),
        "masked": painted(masked),
        "prediction": painted(prediction.float()),
        "mask": mask.numpy(),
        "keys": np.array([corpus.key(index) for index in indices]),
    }


@torch.no_grad()
def write_reconstructions(
    path: Path, objective: Objective, corpus: Corpus, *, recipe: dict[str, Any]
) -> None:
    """Write `reconstructions.npz`, in un-normalised units; zero rows if nothing is masked."""
    arrays = _arrays(objective, corpus, recipe)
    with atomic(path) as temporary, temporary.open("wb") as file:
        np.savez(file, **arrays)  # type: ignore[arg-type]
