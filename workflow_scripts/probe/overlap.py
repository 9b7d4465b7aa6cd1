"""Which samples of a benchmark are in the corpus an encoder was pretrained on."""

import re

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import IMAGES

_TILE = re.compile(r"@\d+,\d+$")  # what packing adds to the key of a file cut into tiles


def shared_samples(benchmark: Corpus, corpus: Corpus) -> NDArray[np.bool_]:
    """Which samples of a benchmark are in a pretraining corpus.

    Images are the same if their stored bytes are (checksum and size), or their keys: a corpus may
    have been packed smaller than the benchmark, or cut into tiles. Chips are the same if their keys
    are, which name granule and place: all are of one size, and among 200 million many checksums
    meet by chance.

    The corpus is read shard by shard: memory holds the keys of the benchmark and of one shard.

    Args:
        benchmark: Its samples, all splits.
        corpus: What the encoder was pretrained on.

    Returns:
        (samples of the benchmark,) true where a sample is in the corpus.
    """
    images = corpus.kind == IMAGES
    row_of = {key: row for row, key in enumerate(benchmark.keys)}
    prints, back = np.unique(benchmark.fingerprints, return_inverse=True)
    met = np.zeros(len(prints), bool)  # fingerprints
    found = np.zeros(len(benchmark), bool)
    for shard, rows in corpus.parts():
        keys = shard.keys
        for key in (keys[row] for row in rows):
            row = row_of.get(_TILE.sub("", key) if images else key)
            if row is not None:
                found[row] = True
        if images:
            seen = shard.fingerprints[rows]
            places = np.searchsorted(prints, seen).clip(max=len(prints) - 1)
            met[places[prints[places] == seen]] = True
    return found | met[back]
