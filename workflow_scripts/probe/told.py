"""What results say of the splits they judge on, whichever stage judges."""

from typing import Any

from workflow_scripts.probe.overlap import shared_samples
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import Benchmark


def told_splits(benchmark: Benchmark, corpus: Corpus | None) -> list[dict[str, Any]]:
    """What a result says of each split; `overlap` is None where there was no corpus to look at."""
    shared = None if corpus is None else shared_samples(benchmark.corpus, corpus)
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
