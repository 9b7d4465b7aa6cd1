"""Trials of known difficulty, for tests of protocols."""

import numpy as np

from workflow_scripts.probe.trial import InMemory, Part, Trial

# Of each protocol, small enough for a test.
SETTINGS = {
    "knn": {"k": [3, 5], "temperatures": [0.07, 0.5], "poolings": ["mean"], "holdout": 0.25},
    "ridge": {"strengths": [0.1, 10.0], "poolings": ["mean"], "holdout": 0.25},
    "linear": {
        "strengths": [0.01, 0.1, 1.0], "poolings": ["mean"], "holdout": 0.25,
        "normalisations": ["standardize", "l2", "none"],
    },
    "few_shot": {
        "shots": 10, "strength": 1.0, "normalisation": "standardize", "poolings": ["mean"],
    },
    "lars": {
        "epochs": 30, "warmup_epochs": 3, "base_lr": 5.0, "batch": 16384, "momentum": 0.9,
        "trust": 0.01, "pooling": None,
    },
}  # fmt: skip


def part(rows, labels, groups=None):
    rows = np.asarray(rows)
    return Part(rows, np.asarray(labels), rows if groups is None else np.asarray(groups))


def clusters(classes=4, per_class=60, dimensions=12, distance=12.0, seed=0):
    """Features (n, dimensions) around one centre a class, in random order, and their classes."""
    random = np.random.default_rng(seed)
    labels = random.permutation(np.arange(classes).repeat(per_class))
    centres = distance * np.eye(classes, dimensions)
    return centres[labels] + random.normal(size=(len(labels), dimensions)), labels


def trial(values, labels, settings, *, train=0.5, seed=0, views=(), groups=None):
    """The first part of the samples is learnt from, the rest judged."""
    count = round(train * len(labels))
    groups = np.arange(len(labels)) if groups is None else np.asarray(groups)
    sides = [np.arange(count), np.arange(count, len(labels))]
    learnt, judged = (part(rows, labels[rows], groups[rows]) for rows in sides)
    return Trial(
        features={"mean": InMemory(np.asarray(values, np.float32))},
        train=learnt,
        test=judged,
        classes=labels.shape[1] if labels.ndim == 2 else int(labels.max()) + 1,
        settings=settings,
        seed=seed,
        views=tuple({"mean": InMemory(np.asarray(each, np.float32))} for each in views),
    )
