"""Features like an encoder's, for `probe.py`: drawn, always the same."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Data:
    """Features and classes to learn from, and further ones."""

    train: np.ndarray
    labels: np.ndarray
    test: np.ndarray
    test_labels: np.ndarray


def made(count: int, further: int, width: int, classes: int) -> Data:
    """Features like an encoder's, drawn with one seed."""
    random = np.random.default_rng(0)
    fall = np.arange(1, width + 1) ** -0.5
    fine = np.where(np.arange(width) < width // 5, 1.0, 0.2)  # classes differ in what varies most
    groups = random.standard_normal((9, width))[random.integers(0, 9, classes)]
    means = 0.35 * fall * fine * (groups + 0.7 * random.standard_normal((classes, width)))
    modes = 0.17 * fall * fine * random.standard_normal((classes, 3, width))
    total = count + further
    labels = random.integers(0, classes, total)
    within = fall * random.standard_normal((total, width))
    within *= np.exp(0.3 * random.standard_normal((total, 1)))
    turn, _ = np.linalg.qr(random.standard_normal((width, width)))
    values = (means[labels] + modes[labels, random.integers(0, 3, total)] + within) @ turn.T
    scale = np.exp(0.5 * random.standard_normal(width))
    scale[:4] *= 10
    values *= scale
    values += 0.3 * values.std() * random.standard_normal(width)
    values = values.astype(np.float32)
    return Data(values[:count], labels[:count], values[count:], labels[count:])
