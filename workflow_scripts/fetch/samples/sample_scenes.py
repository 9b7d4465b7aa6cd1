"""Synthetic aerial scenes: eight classes that spatial structure tells apart, and colour does not.

Each picture's channel means and standard deviations are set to values that depend on its number
and not on its class: what is known of them says nothing about the class.
"""

import zlib
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from workflow_scripts.fetch.samples.scene_canvas import Canvas
from workflow_scripts.fetch.samples.scene_classes import SCENES
from workflow_scripts.files import atomic
from workflow_scripts.logs import progress

_QUALITY = 92
_COLOUR = 0.45


def _generator(seed: int, name: str) -> np.random.Generator:
    """A stream of its own for each name: one picture more leaves the others as they are."""
    return np.random.default_rng([seed, zlib.crc32(name.encode())])


def with_statistics(
    pixels: NDArray[np.uint8], mean: NDArray[np.float64], std: NDArray[np.float64]
) -> NDArray[np.uint8]:
    """Pixels (height, width, 3) with each channel's mean and standard deviation set.

    A few rounds, for what is cut off at 0 and 255 takes some of the deviation away.
    """
    values = pixels.astype(np.float64)
    # Nearer to grey first: a channel with little contrast would else come out in garish colours.
    values = _COLOUR * values + (1 - _COLOUR) * values.mean(2, keepdims=True)
    for _ in range(8):
        values = (values - values.mean((0, 1))) / values.std((0, 1)) * std + mean
        values = np.clip(values, 0, 255)
    return np.round(values).astype(np.uint8)


def draw_scene(name: str, *, size: int, seed: int, split: str, number: int) -> Image.Image:
    """One scene.

    Args:
        name: Its class, a key of `SCENES`.
        size: Height and width, pixels.
        seed: Of the dataset.
        split: `train` or `test`.
        number: Which of its class and split.
    """
    canvas = Canvas(_generator(seed, f"{split}/{name}/{number}"), size)
    SCENES[name](canvas)
    light = _generator(seed, f"{split}/{number}")  # the same for every class
    warm, green = light.uniform(-8, 12), light.uniform(-2, 9)
    mean = light.uniform(98, 140) + np.array([warm - green / 2, green, -warm - green / 2])
    std = light.uniform(32, 50) * light.uniform(0.9, 1.1, 3)
    return Image.fromarray(with_statistics(np.asarray(canvas.photograph()), mean, std))


def write_sample_scenes(raw: Path, recipe: dict[str, Any]) -> list[Path]:
    """Write <raw>/<split>/<class>/<class>NNN.jpg, and return all of them.

    Args:
        raw: The dataset's folder.
        recipe: `image_size`, `train_per_class`, `test_per_class`, `seed`.
    """
    wanted = [
        (split, name, number)
        for split in ("train", "test")
        for name in SCENES
        for number in range(recipe[f"{split}_per_class"])
    ]
    paths = []
    for split, name, number in progress(wanted, what="sample scenes", total=len(wanted)):
        path = raw / split / name / f"{name}{number:03d}.jpg"
        image = draw_scene(
            name, size=recipe["image_size"], seed=recipe["seed"], split=split, number=number
        )
        with atomic(path) as temporary:
            # Full chroma resolution: a coarser one would change the deviations class by class.
            image.save(temporary, "JPEG", quality=_QUALITY, subsampling=0)
        paths.append(path)
    return paths
