"""Protocol knn: the labels of the nearest training samples, weighted by how near they are.

Similarity is the cosine; a neighbour's vote is exp(similarity / temperature), as in instance
discrimination (arXiv 1805.01978, section 3.4) and DINO (facebookresearch/dino, eval_knn.py).
"""

from collections.abc import Iterator, Sequence
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.probe.choose import best, described
from workflow_scripts.probe.hold_out import parted
from workflow_scripts.probe.metrics import check_finite
from workflow_scripts.probe.normalise import unit
from workflow_scripts.probe.row_blocks import blocks, read
from workflow_scripts.probe.trial import Features, Labels, Outcome, Part, Rows, Trial
from workflow_scripts.threads import map_in_order

# Each product is of so many queries and training samples; all of a panel's queries meet a block of
# training samples before the next one is read.
QUERIES, NEIGHBOURS = 256, 8192
PANEL_BYTES = 2**27

_LOW = 0xFFFFFFFF  # the lower half of a key
_MAGNITUDE = np.int32(0x7FFFFFFF)

Keys = NDArray[np.int64]


def keys_of(similarity: NDArray[np.float32], start: int) -> Keys:
    """Whole numbers that sort as (similarity, earlier place): no two are equal, whoever sorts.

    The upper half is the bits of the float, turned so that they sort as it does; the lower half
    counts places down.

    Args:
        similarity: (queries, block), overwritten.
        start: Place of the block's first training sample.
    """
    similarity += np.float32(0)  # −0 is equal to 0 and has other bits
    bits = similarity.view(np.int32)
    bits ^= (bits >> 31) & _MAGNITUDE
    keys = bits.astype(np.int64)
    keys <<= 32
    keys |= _LOW - start - np.arange(similarity.shape[1])
    return keys


def from_keys(keys: Keys) -> tuple[NDArray[np.float32], Rows]:
    """Similarities and places from what `keys_of` made."""
    bits = (keys >> 32).astype(np.int32)
    bits ^= (bits >> 31) & _MAGNITUDE
    return bits.view(np.float32), _LOW - (keys & _LOW)


def nearest(
    features: Features, queries: Rows, train: Rows, *, k: int, what: str
) -> tuple[NDArray[np.float32], Rows]:
    """The k training samples most similar to each query, the most similar first.

    Of equally similar ones the earlier in `train` comes first. Training samples are read block by
    block, once for each panel of queries, so that millions need no memory.

    Args:
        features: Of all samples.
        queries: Rows that are asked about.
        train: Rows that are answered with; `k` or more.
        k: Neighbours of each query.
        what: The protocol and its setting, for messages.

    Returns:
        Similarities (queries, k) and places (queries, k) in `train`.
    """
    found = np.full((len(queries), k), np.iinfo(np.int64).min)
    panel_rows = max(1, PANEL_BYTES // (4 * features.shape[1] * QUERIES)) * QUERIES
    for panel in blocks(len(queries), panel_rows):
        asked, kept = unit(read(features, queries[panel], what)), found[panel]
        for block in blocks(len(train), NEIGHBOURS):
            near = unit(read(features, train[block], what))

            def merge(
                part: slice,
                asked: NDArray[np.float32] = asked,
                near: NDArray[np.float32] = near,
                kept: Keys = kept,
                start: int = block.start,
            ) -> None:
                keys = np.concatenate([kept[part], keys_of(asked[part] @ near.T, start)], axis=1)
                keys.partition(keys.shape[1] - k, axis=1)
                kept[part] = keys[:, -k:]

            for _ in map_in_order(merge, blocks(len(asked), QUERIES)):
                pass
    found.sort(axis=1)
    return from_keys(found[:, ::-1])


def votes(
    similarity: NDArray[np.float32], labels: Labels, classes: int, *, temperature: float
) -> NDArray[np.float32]:
    """(queries, classes) share of a query's weighted votes that each class gets.

    For several labels a neighbour votes for each of its classes with all its weight.

    Args:
        similarity: (queries, k), the largest first.
        labels: (queries, k) classes of the neighbours, or (queries, k, classes) bool.
        classes: How many.
        temperature: Lower ones let near neighbours weigh more.
    """
    # Relative to the nearest one: the shares are the same, and no exponential overflows.
    weights = np.exp((similarity - similarity[:, :1].astype(np.float64)) / temperature)
    weights /= weights.sum(axis=1, keepdims=True)
    if labels.ndim == 3:
        return np.einsum("qk,qkc->qc", weights, labels).astype(np.float32)
    cells = np.arange(len(labels))[:, None] * classes + labels
    counted = np.bincount(cells.ravel(), weights.ravel(), minlength=len(labels) * classes)
    return counted.reshape(len(labels), classes).astype(np.float32)


def scores_of(
    near: tuple[NDArray[np.float32], Rows],
    labels: Labels,
    classes: int,
    *,
    k: int,
    temperature: float,
) -> NDArray[np.float32]:
    """(queries, classes) shares of votes of the first k neighbours; see `nearest` and `votes`."""
    similarity, places = near
    parts = [
        votes(similarity[part, :k], labels[places[part, :k]], classes, temperature=temperature)
        for part in blocks(len(places), QUERIES)
    ]
    return np.concatenate(parts)


def usable(asked: Sequence[int], count: int) -> list[int]:
    """The numbers of neighbours that `count` training samples allow.

    Raises:
        UserError: None.
    """
    found = [k for k in asked if k <= count]
    if not found:
        raise UserError(
            f"probe: knn: k is {', '.join(map(str, asked))}, but only {count} training samples are "
            "left when some are held out to choose it; give a smaller k"
        )
    for k in asked:
        if k > count:
            log.warning("knn: k %d is left out, it is chosen on %d training samples", k, count)
    return found


def candidates(
    trial: Trial, part: Part, held: Part
) -> Iterator[tuple[dict[str, Any], NDArray[np.float32]]]:
    """Every setting, in the order given, and its scores of the held-out samples."""
    ks = usable(trial.settings["k"], len(part))
    for pooling in trial.settings["poolings"]:
        what = described("knn", {"pooling": pooling})
        near = nearest(trial.features[pooling], held.rows, part.rows, k=max(ks), what=what)
        for k, temperature in product(ks, trial.settings["temperatures"]):
            setting = {"pooling": pooling, "k": k, "temperature": temperature}
            yield (
                setting,
                scores_of(near, part.labels, trial.classes, k=k, temperature=temperature),
            )


def judge(trial: Trial) -> Outcome:
    """Choose pooling, k and temperature on held-out training samples; then vote with all of them.

    Args:
        trial: Its settings are `k`, `temperatures`, `poolings` and `holdout`.

    Returns:
        Shares of votes, and the chosen `pooling`, `k` and `temperature`.

    Raises:
        UserError: Every k exceeds the training samples, nothing can be held out, or features or
            votes are not finite.
    """
    train = trial.train
    part, held = parted(trial)
    with threadpool_limits(limits=1):
        chosen = best(candidates(trial, part, held), held.labels, protocol="knn")
        features, k, what = trial.features[chosen["pooling"]], chosen["k"], described("knn", chosen)
        near = nearest(features, trial.test.rows, train.rows, k=k, what=what)
        scores = scores_of(
            near, train.labels, trial.classes, k=k, temperature=chosen["temperature"]
        )
    check_finite(scores, what)
    return Outcome(scores, {**chosen, "normalisation": "l2"})
