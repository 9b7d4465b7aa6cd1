"""What results say of the splits they judge on, whichever stage judges."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.files import read_json
from workflow_scripts.probe.overlap import shared_samples
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import Benchmark


def told_splits(benchmark: Benchmark, corpora: Sequence[Corpus]) -> list[dict[str, Any]]:
    """What a result says of each split.

    Args:
        benchmark: The samples and their splits.
        corpora: What the encoder was pretrained on, and its start and teachers; where there is
            none, `overlap` is None.
    """
    each = [shared_samples(benchmark.corpus, corpus) for corpus in corpora]
    shared = np.logical_or.reduce(each) if each else None
    return [
        {
            "name": sides.name,
            "digest": sides.digest,
            "n_train": len(sides.train),
            "n_test": len(sides.test),
            "overlap": None
            if shared is None
            else {side: int(shared[getattr(sides, side)].sum()) for side in ("train", "test")},
        }
        for sides in benchmark.splits
    ]


def told_corpora(indexes: Sequence[Path]) -> dict[str, str]:
    """Content of each corpus by its role among the inputs of a result: `corpus`, `corpus:2`, …."""
    return {
        f"corpus:{number}" if number > 1 else "corpus": read_json(index)["content"]
        for number, index in enumerate(indexes, 1)
    }
