"""Small pictures for tests, and their encoded forms."""

import io

import numpy as np
from PIL import Image


def picture(seed=0, size=(12, 10), channels=3):
    """A smooth picture (height 10, width 12), so that JPEG keeps it within a few values."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (3, 3, channels)).astype(np.uint8)
    return Image.fromarray(coarse.squeeze()).resize(size, Image.Resampling.BICUBIC)


def encoded(image, kind, **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def pixels(data):
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image)


def format_of(data):
    with Image.open(io.BytesIO(data)) as image:
        return image.format, image.mode
