"""One extraction as its ranks do it: which parts of which sets, with which encoder."""

from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from workflow_scripts.features.encoder import Pooled, load_model, random_like, set_image_size
from workflow_scripts.features.extract import (
    CPU_BATCH,
    GPU_BATCH,
    Work,
    colour_columns,
    colours,
    extract,
    pooled_features,
)
from workflow_scripts.features.parts import Parts
from workflow_scripts.features.samples import Seen, check_fits, missing_of
from workflow_scripts.features.sets import Wanted, check_recipe, wanted_sets
from workflow_scripts.features.store import COLOUR, Block, StoredSet, rows_digest
from workflow_scripts.logs import log
from workflow_scripts.models.encoders import from_card
from workflow_scripts.models.folder import file_digests, read_card
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import read_benchmark


@dataclass(frozen=True, kw_only=True)
class Job:
    """What is extracted, and from what.

    Attributes:
        model: The encoder's model folder.
        files: Hexadecimal sha256 of its files, `model` and `weights`.
        card: Its `model.json`.
        corpus: The packed benchmark.
        rows: (n,) the corpus's rows that are used.
        trained: (k,) those of them that some split trains on: views are of these alone.
        recipe: The stage's.
        size: Height and width of what the encoder sees, pixels.
        precision: `fp32`, or `bf16` for autocast.
        columns: What stands in which columns of the encoder's features.
        sets: What is wanted, sets of one encoder together.
        store: Folder of the sets.
    """

    model: Path
    files: dict[str, str]
    card: dict[str, Any]
    corpus: Corpus
    rows: NDArray[np.int64]
    trained: NDArray[np.int64]
    recipe: dict[str, Any]
    size: int
    precision: str
    columns: list[Block]
    sets: list[Wanted]
    store: Path

    def parts(self, wanted: Wanted) -> Parts:
        """The parts of a set."""
        name = f"{wanted.name} ({self.recipe['encoder']} on {self.recipe['benchmark']})"
        samples = len(self.rows_of(wanted))
        return Parts(store=self.store, digest=wanted.digest, name=name, samples=samples)

    def rows_of(self, wanted: Wanted) -> NDArray[np.int64]:
        """(n,) the corpus's rows that a set has the features of."""
        return self.trained if wanted.views else self.rows

    def columns_of(self, wanted: Wanted) -> list[Block]:
        """What stands in which columns of a set."""
        return colour_columns(self.corpus) if wanted.encoder == COLOUR else self.columns


def _pooled(
    encoder: nn.Module, card: dict[str, Any], recipe: dict[str, Any], *, size: int, precision: str
) -> Pooled:
    set_image_size(encoder, card, size)
    poolings, layers = recipe["poolings"], recipe["layers"]
    return Pooled(encoder, poolings=poolings, layers=layers, precision=precision)


def prepare(
    recipe: dict[str, Any], *, model: Path, index: Path, splits: Path | None, store: Path,
    precision: str,
) -> Job:  # fmt: skip
    """Read what is small, and refuse what cannot work before anything is computed.

    Args:
        recipe: The stage's.
        model: The encoder's model folder.
        index: The benchmark's `index.json`.
        splits: The list of its splits; None: what the index has.
        store: Folder of the sets.
        precision: `fp32` or `bf16`.

    Raises:
        UserError: The recipe, the encoder and the benchmark do not fit together.
    """
    check_recipe(recipe)
    card, benchmark = read_card(model), read_benchmark(index, splits)
    corpus, rows = benchmark.corpus, benchmark.used
    check_fits(card, corpus.index, run=recipe["encoder"], benchmark=recipe["benchmark"])
    size = recipe["image_size"] or card["image_size"]
    with torch.device("meta"):  # without weights: does it take such images, has it such layers?
        columns = _pooled(from_card(card), card, recipe, size=size, precision=precision).columns
    files = file_digests(model, "encoder")
    common = {"index": corpus.index["content"], "image_size": size}
    sets = wanted_sets(
        recipe, card, files["weights"], precision=precision,
        of_used={"rows": rows_digest(rows), **common},
        of_trained={"rows": rows_digest(benchmark.trained), **common},
    )  # fmt: skip
    return Job(
        model=model, files=files, card=card, corpus=corpus, rows=rows, trained=benchmark.trained,
        recipe=recipe, size=size, precision=precision, columns=columns, store=store, sets=sets,
    )  # fmt: skip


def extract_share(job: Job, *, ranks: Ranks, device: str, threads: int) -> dict[str, int]:
    """Make this rank's share of the parts that are not there; how many samples, by set.

    A part belongs to the rank that its number leaves as a remainder, whatever was made before.

    Raises:
        UserError: A sample cannot be read, or its features are not finite.
    """
    done: dict[str, int] = {}
    for _, group in groupby(job.sets, key=lambda wanted: wanted.encoder):
        encoder: Pooled | None = None
        for wanted in group:
            parts = job.parts(wanted)
            numbers = _missing(parts, ranks)
            if not numbers:
                continue
            if wanted.encoder != COLOUR and encoder is None:
                encoder = _encoder(job, wanted)
            batch = CPU_BATCH if device == "cpu" else GPU_BATCH
            done[wanted.name] = extract(
                parts, _work(job, wanted, encoder, device), job.rows_of(wanted),
                numbers=numbers, batch=batch, threads=threads,
            )  # fmt: skip
    return done


def join_sets(job: Job, *, patience_s: float) -> dict[str, StoredSet]:
    """By name, the finished sets; waits for parts that other ranks make.

    Raises:
        UserError: They do not come.
    """
    return {
        wanted.name: job.parts(wanted).join(job.columns_of(wanted), patience_s=patience_s)
        for wanted in job.sets
    }


def _missing(parts: Parts, ranks: Ranks) -> list[int]:
    """This rank's parts of a set that are still to be made."""
    if parts.finished():
        return []
    if ranks.is_first:
        parts.forget_damaged()
    return [number for number in range(ranks.rank, parts.count, ranks.world)
            if not parts.has(number)]  # fmt: skip


def _encoder(job: Job, wanted: Wanted) -> Pooled:
    log.info("%s: %s", job.recipe["encoder"], wanted.encoder)
    if wanted.seed is None:
        _, encoder = load_model(job.model)
    else:
        encoder = random_like(job.card, wanted.seed)
    return _pooled(encoder, job.card, job.recipe, size=job.size, precision=job.precision)


def _work(job: Job, wanted: Wanted, encoder: Pooled | None, device: str) -> Work:
    normalisation = job.card["normalisation"]
    if encoder is None:
        return colours(job.corpus, size=job.size, missing=missing_of(normalisation))
    seen = Seen(job.corpus, normalisation=normalisation, size=job.size, views=wanted.views)
    return pooled_features(seen, encoder, device)
