"""The points of a scaling study: which combinations of its lists are measured, and their names.

A name holds all that tells a point from others of its study, so that a list that grows adds points
and touches none that is there.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import product
from typing import Any

from workflow_scripts.config import Config
from workflow_scripts.config_encoders import Swin, Vit
from workflow_scripts.config_modis import Granules
from workflow_scripts.config_runs import MaeDecoder, MaeRun, RunBase, SimmimRun
from workflow_scripts.config_studies import Plan, Study
from workflow_scripts.corpora import corpus_datasets
from workflow_scripts.errors import UserError
from workflow_scripts.forecast.layouts import divides
from workflow_scripts.pretrain.strategies import shard_count
from workflow_scripts.scaling.words import IO, NO_COMMUNICATION, READING

_RGB = 3


@dataclass(frozen=True, kw_only=True)
class Point:
    """One combination; None is what makes no difference to it.

    Attributes:
        encoder: Its name in the study, with the patch size where that is a list of the study.
        patch: Patch size, pixels; None: the encoder's own.
        strategy: None where nothing is trained.
        nodes: Of its job.
        ranks_per_node: Processes on each.
        batch: Samples of a rank in a step.
        mode: `real`, `synthetic`, `no_communication` or `io`.
        workers: Loader processes of a rank, where it reads.
        prefetch: Batches that each of these is ahead.
        gather_ahead: Blocks gathered ahead, where a strategy cuts the model.
    """

    encoder: str
    patch: int | None
    strategy: str | None
    nodes: int
    ranks_per_node: int
    batch: int
    mode: str
    workers: int | None
    prefetch: int | None
    gather_ahead: int | None

    @property
    def ranks(self) -> int:
        """Processes on all nodes."""
        return self.nodes * self.ranks_per_node

    @property
    def name(self) -> str:
        """Such as `base-p16_full_shard_4x8_b32_real_w2_f2`; a file's name and a wildcard."""
        parts = [
            self.encoder + (f"-p{self.patch}" if self.patch else ""),
            self.strategy,
            f"{self.nodes}x{self.ranks_per_node}",
            f"b{self.batch}",
            self.mode,
            f"w{self.workers}" if self.workers is not None else None,
            f"f{self.prefetch}" if self.prefetch is not None else None,
            f"a{self.gather_ahead}" if self.gather_ahead else None,
        ]
        return "_".join(part for part in parts if part)


def points(config: Config, study: str) -> list[Point]:
    """The points of a study, each once, in the order of its lists."""
    return list(dict.fromkeys(_combinations(config.studies[study])))


def point(config: Config, study: str, name: str) -> Point:
    """A point by its name.

    Raises:
        UserError: The study has no such point.
    """
    found = {one.name: one for one in points(config, study)}
    if name not in found:
        raise UserError(f"study {study} has no point {name}; it has {', '.join(found)}")
    return found[name]


def _combinations(study: Study) -> Iterator[Point]:
    patches: Sequence[int | None] = study.patches or [None]
    factors = product(
        study.modes, study.encoders, patches, study.nodes, study.ranks_per_node,
        study.batch, study.strategies, study.workers, study.prefetch, study.gather_ahead,
    )  # fmt: skip
    for mode, encoder, patch, nodes, local, batch, strategy, workers, prefetch, ahead in factors:
        ranks = nodes * local
        if not divides(strategy, ranks) or (ranks == 1 and mode == NO_COMMUNICATION):
            continue
        reads = mode in READING
        trains = mode != IO
        cuts = shard_count(strategy, ranks) > 1
        yield Point(
            encoder=encoder if trains else _first_of_size(study, encoder),
            patch=patch if trains else None,
            strategy=_same(strategy, ranks) if trains else None,
            nodes=nodes,
            ranks_per_node=local,
            batch=batch,
            mode=mode,
            workers=workers if reads else None,
            prefetch=prefetch if reads and workers else None,
            gather_ahead=ahead if trains and cuts else None,
        )


def _first_of_size(study: Study, encoder: str) -> str:
    """What reads only is the same for all encoders that see images of one size."""
    size = study.encoders[encoder].image_size
    return next(name for name, one in study.encoders.items() if one.image_size == size)


def _same(strategy: str, ranks: int) -> str:
    """On one rank every strategy is the plain model."""
    return "no_shard" if ranks == 1 else strategy


def run_of_point(config: Config, study: str, one: Point) -> RunBase:
    """The run that a point measures some steps of."""
    entry = config.studies[study]
    return _run(
        encoder_of(entry, one), entry.objective, entry.decoder, batch=one.batch * one.ranks,
        precision=entry.precision, corpus=entry.corpus,
    )  # fmt: skip


def encoder_of(study: Study, one: Point) -> Vit | Swin:
    """The encoder of a point, its patch size changed where the study asks for that.

    Raises:
        ValueError: Numbers that do not fit together (pydantic's error).
    """
    encoder = study.encoders[one.encoder]
    if one.patch is None:
        return encoder
    return type(encoder).model_validate({**encoder.model_dump(), "patch": one.patch})


def run_of_plan(plan: Plan) -> RunBase:
    """The run that a plan with an encoder of its own is made for."""
    assert plan.encoder is not None
    return _run(
        plan.encoder, plan.objective, plan.decoder, batch=plan.batch, precision=plan.precision
    )


def _run(
    encoder: Vit | Swin, objective: str | None, decoder: MaeDecoder, *, batch: int, precision: str,
    corpus: str | None = None,
) -> RunBase:  # fmt: skip
    objective = objective or ("mae" if encoder.family == "vit" else "simmim")
    kind = MaeRun if objective == "mae" else SimmimRun
    given: dict[str, Any] = {
        "objective": objective, "encoder": encoder.model_dump(), "batch": batch,
        "precision": precision, "corpus": corpus or "none",
    }  # fmt: skip
    if objective == "mae":
        given["decoder"] = decoder.model_dump()
    return kind.model_validate(given)


def bands(config: Config, corpus: str) -> int:
    """Bands of a corpus: those of its granules, or an image's three."""
    for name in corpus_datasets(config, corpus):
        dataset = config.datasets[name]
        if isinstance(dataset, Granules):
            return len(dataset.tile.bands)
    return _RGB


def channels_of(config: Config, study: str) -> int:
    """Bands of a study's images."""
    entry = config.studies[study]
    return bands(config, entry.corpus) if entry.corpus else entry.channels
