"""From samples to parts of a set: batches in a pool of threads, in their order."""

from collections.abc import Callable, Iterator
from contextlib import nullcontext
from threading import Lock

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import MEAN, Pooled
from workflow_scripts.features.parts import PART, Parts
from workflow_scripts.features.samples import Seen, mean_colour
from workflow_scripts.features.store import Block
from workflow_scripts.logs import progress
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.threads import map_in_order

# Fixed, not options: another batch size may round sums differently. On cores a small one stays in
# their caches; both divide a part.
CPU_BATCH, GPU_BATCH = 16, 128

Rows = NDArray[np.int64]
Work = Callable[[Rows], NDArray[np.float32]]


def pooled_features(seen: Seen, encoder: Pooled, device: str) -> Work:
    """What makes an encoder's features of a batch: rows (n,) → float32 (n, columns).

    Threads may call it together. Each batch is read and, on cores, encoded in one thread, so that
    sums round the same for any number of threads. A GPU encodes one batch at a time, while the
    other threads read the next ones.
    """
    encoder.to(device)
    on_cores = device == "cpu"
    # The memory of a GPU would not hold a batch for each core.
    turn = nullcontext() if on_cores else Lock()

    def work(rows: Rows) -> NDArray[np.float32]:
        torch.set_num_threads(1)  # of this thread's products; others start with all cores
        images: Tensor = seen.batch(rows)
        if device == "cuda":
            images = images.pin_memory()
        with turn:
            found: NDArray[np.float32] = encoder(images.to(device, non_blocking=True))
        broken = np.flatnonzero(~np.isfinite(found).all(axis=1))
        if len(broken):
            raise UserError(
                f"{seen.corpus.name(int(rows[broken[0]]))}: the encoder's features are not finite; "
                "look at the run's loss (did it diverge?) and at this sample"
            )
        return found

    return work


def colours(corpus: Corpus, *, size: int, missing: list[float]) -> Work:
    """What makes mean colours of a batch: rows (n,) → float32 (n, channels)."""

    def work(rows: Rows) -> NDArray[np.float32]:
        torch.set_num_threads(1)
        found = [mean_colour(corpus, row, size=size, missing=missing) for row in rows.tolist()]
        return np.stack(found).astype(np.float32)

    return work


def colour_columns(corpus: Corpus) -> list[Block]:
    """The columns of mean colours: they stand as the `mean` of one layer."""
    return [Block(pooling=MEAN, layer=1, start=0, stop=corpus.channels)]


def extract(
    parts: Parts, work: Work, rows: Rows, *, numbers: list[int], batch: int, threads: int
) -> int:
    """Make some parts of a set; returns how many samples they have.

    Args:
        parts: The set's.
        work: What makes the features of a batch.
        rows: (samples,) the corpus's row of each of the set's samples.
        numbers: Which parts.
        batch: Samples of a batch; divides a part.
        threads: How many batches are made at a time.

    Raises:
        UserError: A sample cannot be read, or its features are not finite.
    """
    batches = [
        rows[parts.places(number)][at : at + batch]
        for number in numbers
        for at in range(0, PART, batch)
        if at < len(parts.places(number))
    ]
    found = progress(
        map_in_order(work, batches, workers=threads),
        what=f"{parts.name}, batches of {batch}",
        total=len(batches),
    )
    for number in numbers:
        parts.write(number, _next(found, len(parts.places(number))))
    return sum(map(len, batches))


def _next(found: Iterator[NDArray[np.float32]], samples: int) -> NDArray[np.float32]:
    """The features of the next samples, from as many batches as have them."""
    pieces: list[NDArray[np.float32]] = []
    while sum(map(len, pieces)) < samples:
        pieces.append(next(found))
    return np.concatenate(pieces)
