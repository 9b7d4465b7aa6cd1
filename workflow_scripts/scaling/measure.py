"""One rank's part of a point: build what a run would, take some steps, tell what they took."""

import os
import statistics
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.mllog import MlLog, settings_of
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.construct import Described, adamw, meta_objective, scaling_of
from workflow_scripts.pretrain.history import rounded
from workflow_scripts.pretrain.launch import Ranks, seconds_since_start, threads
from workflow_scripts.pretrain.schedule import learning_rate
from workflow_scripts.pretrain.step import NORM, Step
from workflow_scripts.pretrain.usage import usage_of
from workflow_scripts.scaling.laps import Laps, run_laps
from workflow_scripts.scaling.rows import Row, done, known, spread
from workflow_scripts.scaling.sources import Source, described, steps_of, warmup_of
from workflow_scripts.scaling.words import IO, NO_COMMUNICATION
from workflow_scripts.shards.corpus import Corpus

BENCHMARK = "orbweaver_scaling"
# Images of the run that a point's first steps could be, where the rate rises: as ImageNet's.
_IMAGES_OF_RUN = 1_281_167
_LONGEST_MESSAGE_S = 1800.0
_FEWEST_VALUES = 10  # of a counter of energy, for a point to be measured by it


@dataclass(kw_only=True)
class Progress:
    """How far a point is, for whoever ends it."""

    laps: Laps = field(default_factory=Laps)
    steps: int = 0

    def __str__(self) -> str:
        if not self.steps:
            return "before the first step"
        return f"after {self.laps.steps} of {self.steps} steps"


class _Work:
    """What a rank does with each batch.

    Args:
        recipe: The point's.
        corpus: What it is of.
        device: This rank's.
        ranks: This process's place.
    """

    def __init__(
        self, recipe: Row, corpus: Described, *, device: torch.device, ranks: Ranks
    ) -> None:  # fmt: skip
        self.recipe, self.run, self.device = recipe, recipe["pretrain"], device
        objective = meta_objective(self.run, corpus, None)
        self.known = known(recipe, objective)
        self.cells = objective.cells
        self.terms: list[Tensor] = []  # (2,): loss and gradient's norm of a step; on the device
        self.step: Step | None = None
        if recipe["mode"] == IO:
            return
        model = parallel.laid_out(
            objective, recipe["strategy"], ranks=ranks, device=device,
            precision=self.run["precision"], seed=self.run["seed"],
            activation_checkpointing=recipe["activation_checkpointing"],
            compile=recipe["compile"], gather_ahead=recipe["gather_ahead"] or 0,
            silent=recipe["mode"] == NO_COMMUNICATION,
        )  # fmt: skip
        self.step = Step(
            model, adamw(parallel.plain(model), self.run["optim"]),
            Normalise(corpus.index, device, scaling_of(self.run)),
            clip=self.run["optim"]["clip"], precision=self.run["precision"],
            samples=recipe["batch"],
        )  # fmt: skip

    def __call__(self, batch: dict[str, Tensor], number: int) -> None:
        """Train on a batch, or only bring it to the device."""
        if self.step is None:
            for part in batch.values():
                part.to(self.device, non_blocking=True)
            return
        steps = max(1, _IMAGES_OF_RUN // self.run["batch"])
        rate = learning_rate(
            self.run["optim"], step=number, steps_per_epoch=steps,
            total_steps=self.run["epochs"] * steps, batch=self.run["batch"],
        )  # fmt: skip
        terms = self.step(batch, rate)
        self.terms.append(torch.stack([terms["loss"].float(), terms[NORM].float()]))

    def loss(self) -> float | None:
        """The last one, the mean over ranks; every rank calls it.

        Raises:
            FloatingPointError: A step was skipped, which takes less time than one that was not.
        """
        if not self.terms:
            return None
        own = torch.stack(self.terms).double()
        finite = own.isfinite().all().double()
        rows = parallel.gathered(torch.stack([own[-1, 0], finite])).cpu()
        if not rows[:, 1].all():
            raise FloatingPointError(
                "a loss or gradient was not finite, and steps that are skipped are no measure"
            )
        return rounded(float(rows[:, 0].mean()))


def measured(
    recipe: Row, *, index: Path | None, ranks: Ranks, progress: Progress, mllog: Path | None,
    patience_s: float,
) -> tuple[Row, Row] | None:  # fmt: skip
    """Measure a point; every rank of its job calls it.

    Args:
        recipe: The point's.
        index: Index of the corpus that it reads; None if it reads none.
        ranks: This process's place.
        progress: Told how far it is.
        mllog: Where rank 0 logs what MLPerf HPC asks for.
        patience_s: How long the ranks wait for each other at the start.

    Returns:
        In rank 0 what the point's JSON and its provenance say.

    Raises:
        UserError: A corpus that cannot be read, a layout that cannot be, ranks that do not come.
    """
    torch.set_num_threads(threads(ranks))
    device = parallel.join(ranks, timeout_s=_LONGEST_MESSAGE_S, patience_s=patience_s)
    cuda = device.type == "cuda"
    touched = time.time()
    corpus = described(recipe, index)
    drawn = steps_of(recipe) * recipe["pretrain"]["batch"]
    images = len(corpus) if isinstance(corpus, Corpus) else drawn  # made up: seen once
    settings = settings_of(
        recipe["pretrain"], nodes=recipe["nodes"], ranks_per_node=recipe["ranks_per_node"],
        train_samples=images, accelerated=cuda,
    )  # fmt: skip
    name = torch.cuda.get_device_name(device) if cuda else "cpu"
    with MlLog(
        mllog if ranks.is_first else None, benchmark=BENCHMARK, platform=name, settings=settings,
        began=time.time() - seconds_since_start(),
    ) as lines:  # fmt: skip
        lines.run_start(at=touched)
        with lines.staging():  # nothing is copied to the nodes: a point reads where the corpus lies
            pass
        with lines.block(epochs=drawn / images):
            found = _measured(recipe, corpus, ranks=ranks, device=device, progress=progress)
        lines.run_stop(True)
    parallel.from_first(0, device)  # as at the end of a segment
    parallel.leave()
    if not ranks.is_first:
        return None
    row, facts = found
    return done(**row, device=name), facts


def _measured(
    recipe: Row, corpus: Described, *, ranks: Ranks, device: torch.device, progress: Progress
) -> tuple[Row, Row]:  # fmt: skip
    work = _Work(recipe, corpus, device=device, ranks=ranks)
    source = Source(recipe, corpus, ranks=ranks, cells=work.cells, pin=device.type == "cuda")
    batches, progress.steps = iter(source), steps_of(recipe)
    how: dict[str, Any] = {"device": device}
    # Counters are looked for before the warm-up: meanwhile loader processes would get ahead again.
    usage = usage_of(
        ranks, device, flops=work.known["flops_per_image"], precision=work.run["precision"],
        earlier_j=0.0,
    )  # fmt: skip
    run_laps(progress.laps, batches, work, steps=warmup_of(recipe), repeats=1, **how)
    laps = Laps(steps=progress.laps.steps)
    progress.laps = laps
    warm_j = usage.told(skipped=0).energy_j
    run_laps(laps, batches, work, steps=recipe["steps"], repeats=recipe["repeats"], **how)
    told = usage.told(skipped=0)
    loss = work.loss()
    own = [*laps.seconds, *laps.waited, *_cores()]
    rows = parallel.gathered(torch.tensor(own, dtype=torch.float64, device=device)).cpu()
    count = recipe["repeats"]
    seconds, waited = rows[:, :count], rows[:, count : 2 * count]
    slowest = seconds.amax(dim=0).tolist()
    images = recipe["batch"] * ranks.world * recipe["steps"]
    speed = spread([images / one for one in slowest])
    achieved = usage.speed(speed["median"])
    if recipe["mode"] == IO:
        achieved = dict.fromkeys(achieved)
    joules = None
    long_enough = sum(slowest) >= _FEWEST_VALUES * usage.energy.every_s
    if warm_j is not None and told.energy_j is not None and long_enough:
        joules = round(told.energy_j - warm_j, 1)
    row = {
        "row": work.known,
        "images_per_s": speed,
        "step_s": spread([one / recipe["steps"] for one in slowest]),
        "data_wait": round(statistics.median((waited / seconds).mean(dim=0).tolist()), 4),
        "peak_memory_bytes": told.peak_memory_bytes,
        **achieved,
        "energy_j": joules,
        "watts": None if joules is None else round(joules / sum(slowest), 1),
        "energy_counter": usage.energy_source if joules is not None else None,
        "cores": _cores_of_node(rows[: ranks.local_world, 2 * count :].tolist()),
        "loss": loss,
    }
    facts = {
        "threads": torch.get_num_threads(),
        "worker_restarts": source.feed.restarts if source.feed else 0,
        "reads_retried": source.feed.retried if source.feed else 0,
        "seconds_by_rank": [[rounded(one) for one in rank] for rank in seconds.tolist()],
        "waited_by_rank": [[rounded(one) for one in rank] for rank in waited.tolist()],
    }
    return row, facts


def _cores() -> tuple[float, float]:
    """How many cores this process may use, and the first of them."""
    cores = os.sched_getaffinity(0)
    return float(len(cores)), float(min(cores))


def _cores_of_node(told: list[list[float]]) -> int:
    """Usable cores of a node whose ranks share them, or have some each."""
    return int(sum(count for count, _ in {tuple(one) for one in told}))
