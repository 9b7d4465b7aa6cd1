"""The training loop of one segment: from the last checkpoint to `done` or to the walltime.

Nothing in a step reads a value from the device; losses stay there until they are logged.
"""

import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.energy import sampler
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.feed import PREFETCH, Feed
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.loader.order import FEWEST_BATCHES
from workflow_scripts.logs import log
from workflow_scripts.models.flops import training_flops
from workflow_scripts.pretrain import checkpoint, parallel, saved
from workflow_scripts.pretrain.bad_steps import tell
from workflow_scripts.pretrain.construct import adamw, meta_objective, order_of, scaling_of
from workflow_scripts.pretrain.history import (
    History,
    add_segment,
    known_save_seconds,
    log_row,
    rounded,
    write_state,
)
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.meter import Clock, Window
from workflow_scripts.pretrain.schedule import learning_rate
from workflow_scripts.pretrain.snapshots import warn_of_snapshots
from workflow_scripts.pretrain.staging import Staging
from workflow_scripts.pretrain.stalled import AGREE, DATA, LOG, SAVE, STEP
from workflow_scripts.pretrain.started import note_start
from workflow_scripts.pretrain.step import NORM, Step
from workflow_scripts.pretrain.stop import Outcome, StopRequest, Wish
from workflow_scripts.pretrain.strategies import parts_of, share_of
from workflow_scripts.pretrain.times import Timed, Times
from workflow_scripts.pretrain.usage import usage_of
from workflow_scripts.pretrain.watchdog import Watchdog
from workflow_scripts.provenance import peak_memory_bytes
from workflow_scripts.shards.corpus import MOST_OPEN, Corpus

_SECONDS_BETWEEN_LINES = 10.0


@dataclass(frozen=True, kw_only=True)
class Layout:
    """How a segment runs; nothing here can change a result beyond floating-point order."""

    strategy: str = "no_shard"
    workers: int = 0
    prefetch: int = PREFETCH
    gather_ahead: int = 0
    retries: int = 2
    skip_bad: bool = False
    accumulate: int = 1
    activation_checkpointing: bool = False
    compile: bool = False
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    snapshots: tuple[int, ...] = ()
    async_checkpoints: bool = False
    log_every: int = 10
    bad_steps: int = 10
    stall_minutes: float = 30.0


class Trainer:
    """One segment of a run on this rank; made, it stands at the last checkpoint.

    Args:
        recipe: The run's recipe.
        corpus: The packed corpus, its split chosen.
        folder: The run's checkpoint folder.
        teacher: Run folder of the frozen teacher, for `gfm`.
        layout: How it runs.
        ranks: This process's place.
        device: This rank's device.
        start: Model folder that the encoder begins with.
        watch: Told what this rank does.
        staging: What copies shards to this node, for the facts.
        touched: When the corpus was first read, in seconds since 1970.

    Raises:
        UserError: A batch, strategy and number of ranks that do not fit together.
    """

    def __init__(
        self, recipe: dict[str, Any], corpus: Corpus, *, folder: Path, teacher: Path | None,
        layout: Layout, ranks: Ranks, device: torch.device, watch: Watchdog,
        touched: float, start: Path | None = None, staging: Staging | None = None,
    ) -> None:  # fmt: skip
        self.watch, self.staging = watch, staging
        self.recipe, self.corpus, self.folder = recipe, corpus, folder
        self.layout, self.ranks, self.device = layout, ranks, device
        self.order = order_of(recipe, corpus)
        batches = Batches(
            corpus, self.order, augment=recipe["augment"], size=recipe["encoder"]["image_size"],
            rank=ranks.rank, ranks=ranks.world, retries=layout.retries, skip_bad=layout.skip_bad,
        )  # fmt: skip
        objective = meta_objective(recipe, corpus, teacher, start)
        samples = share_of(self.order.batch, ranks.world)
        size, images = recipe["encoder"]["image_size"], parts_of(samples, layout.accumulate)
        flops = training_flops(objective, size=size, images=images) if ranks.is_first else 0.0
        model = parallel.laid_out(
            objective, layout.strategy, ranks=ranks, device=device,
            precision=recipe["precision"], seed=recipe["seed"],
            activation_checkpointing=layout.activation_checkpointing, compile=layout.compile,
            gather_ahead=layout.gather_ahead,
        )  # fmt: skip
        self.objective = parallel.plain(model)
        if self.objective.start is not None and ranks.is_first:
            note_start(folder, self.objective.start)
        batches.cells = self.objective.cells
        self.optimizer = adamw(self.objective, recipe["optim"])
        self.train_step = Step(
            model, self.optimizer, Normalise(corpus.index, device, scaling_of(recipe)),
            clip=recipe["optim"]["clip"], precision=recipe["precision"],
            samples=samples, accumulate=layout.accumulate,
        )  # fmt: skip
        self.step, self.window, self.skipped_before = 0, Window(), 0
        self.saved: int | None = None
        self.written = 0.0
        self.loss: float | None = None
        self.latest: dict[str, Any] = {}  # what else `status` shows
        earlier, earlier_j = self._resume()
        self.checkpoints = checkpoint.Saver(
            folder, objective=self.objective, optimizer=self.optimizer,
            keep=layout.keep_checkpoints, snapshots=layout.snapshots,
            background=layout.async_checkpoints,
            known=known_save_seconds(folder) if ranks.is_first else 0.0,
        )  # fmt: skip
        self.feed = Feed(
            batches, start=self.step, workers=layout.workers, pin=device.type == "cuda",
            prefetch=layout.prefetch,
        )  # fmt: skip
        self._warn_of_windows()
        if ranks.is_first:
            warn_of_snapshots(folder, layout.snapshots, step=self.step, of=self.order.total_steps)
        self.clock = Clock(batch=self.order.batch, step=self.step, earlier=earlier)
        self.usage = usage_of(
            ranks, device, flops=flops, precision=recipe["precision"], earlier_j=earlier_j
        )
        self.history = History(folder, step=self.step) if ranks.is_first else None
        if ranks.is_first:
            sampler.resume(folder, seconds=earlier)
        timed = Timed(
            recipe=recipe, order=self.order, ranks=ranks, accumulate=layout.accumulate,
            platform=self._device_name(), accelerated=device.type == "cuda", touched=touched,
            staging=staging,
        )  # fmt: skip
        self.times = Times(folder, timed, step=self.step)

    def _resume(self) -> tuple[float, float | None]:
        """Load the last checkpoint, if any; returns the seconds and joules used until then."""
        found = None
        if self.ranks.is_first:
            self.folder.mkdir(parents=True, exist_ok=True)
            saved.clear_leftovers(self.folder)
            found = saved.latest(self.folder)
        step = parallel.from_first(-1 if found is None else found, self.device)
        if step < 0:
            return 0.0, 0.0
        meta = checkpoint.load(
            self.folder, step, objective=self.objective, optimizer=self.optimizer
        )
        self.step = self.saved = step
        self.window = Window(meta["window"])
        self.skipped_before = meta.get("skipped", 0)
        if self.ranks.is_first:
            log.info("resumed at step %d of %d", step, self.order.total_steps)
        return float(meta["seconds"]), meta.get("energy_j")

    def run(self, stop: StopRequest) -> Outcome:
        """Train until the end or until asked to stop; either way a checkpoint is written.

        If that was asked before the first step, there is nothing to do.
        """
        agreement = parallel.Agreement()
        if self.ranks.is_first:
            self._write_state("running")
        stop.heed()
        wish = Wish(agreement.now(stop.asked()))
        if not wish:
            with self._sampler():
                wish = self._train(stop, agreement)
        agreement.close()
        self.watch.at(SAVE, self.step)
        self.checkpoints.finish()
        outcome = Outcome(
            start_step=self.clock.first_step, end_step=self.step, wish=wish,
            total_steps=self.order.total_steps, facts=self._facts(),
        )  # fmt: skip
        if self.ranks.is_first:
            self._write_state(outcome.how)
            if self.step > outcome.start_step:
                add_segment(self.folder, {**outcome.facts, "outcome": outcome.how})
        self.times.end(outcome.how, step=self.step, staged=outcome.facts["staged"])
        return outcome

    def _train(self, stop: StopRequest, agreement: parallel.Agreement) -> Wish:
        """The steps; returns what ended them, `GO_ON` at the end of the run."""
        self.watch.at(DATA, self.step)
        for batch in self.clock.timed(iter(self.feed)):
            self._train_step(batch)
            if self._is_logged():
                self._log()
            self.watch.at(AGREE, self.step)
            self.checkpoints.check()
            wish = Wish(agreement.greatest(stop.asked(reserve=self.checkpoints.reserve)))
            if wish or self._is_saved():
                self._save()
            if wish:
                return wish
            self.watch.at(DATA, self.step)
        return Wish.GO_ON

    def _sampler(self) -> sampler.Sampler:
        return sampler.Sampler(
            self.ranks, self.usage.energy, counted=self.usage.energy_source is not None,
            folder=self.folder, progress=lambda: (self.clock.seconds(), self.step),
        )  # fmt: skip

    def _warn_of_windows(self) -> None:
        if not self.ranks.is_first:
            return
        if self.order.windows == 1 and len(self.order.sizes) > MOST_OPEN:
            log.warning(
                "%d shards are mixed as a whole and %d can be open: most samples will open a file. "
                "Set shuffle_window", len(self.order.sizes), MOST_OPEN,
            )  # fmt: skip
        batches = self.order.steps_per_epoch // self.order.windows
        if self.order.windows > 1 and batches < FEWEST_BATCHES:
            log.warning(
                "samples are mixed over windows of about %d batches; raise shuffle_window for %d",
                batches, FEWEST_BATCHES,
            )  # fmt: skip

    def _is_saved(self) -> bool:
        regular = self.step % self.layout.checkpoint_every == 0
        is_last = self.step == self.order.total_steps
        return regular or is_last or self.step in self.layout.snapshots

    def _is_logged(self) -> bool:
        return self.step % self.layout.log_every == 0 or self.step == self.order.total_steps

    def _train_step(self, batch: dict[str, Tensor]) -> None:
        self.watch.at(STEP, self.step)
        self.rate = learning_rate(
            self.recipe["optim"], step=self.step, steps_per_epoch=self.order.steps_per_epoch,
            total_steps=self.order.total_steps, batch=self.order.batch,
        )  # fmt: skip
        self.window.add(self.train_step(batch, self.rate))
        self.step += 1
        self.times.stepped(self.step)

    def _collect(self) -> None:
        """Read the window's losses; tell of skipped steps, and end where they do not end."""
        for bad in self.window.collect(world=self.ranks.world):
            tell(
                bad, self.step - bad.ago, limit=self.layout.bad_steps, corpus=self.corpus,
                order=self.order, is_first=self.ranks.is_first,
            )  # fmt: skip

    def _log(self) -> None:
        self.watch.at(LOG, self.step)
        self._collect()
        lap = self.clock.lap(self.step)
        means, told = self.window.means(), self.usage.told(skipped=self.feed.skipped)
        if self.history is None or not means:
            return
        self.loss = means["loss"]
        norm = means.pop(NORM)
        row = {
            "step": self.step,
            "epoch": round(self.step / self.order.steps_per_epoch, 4),
            "samples": self.step * self.order.batch,
            "skipped": self.skipped_before + told.skipped,
            "bad_steps": self.window.bad,
            **means,
            "lr": rounded(self.rate),
            NORM: norm,
            **lap,
            **self.usage.speed(lap["images_per_s"]),
            "peak_memory_bytes": told.peak_memory_bytes,
            "energy_j": told.energy_j,
        }
        self.latest = {name: row[name] for name in ("data_wait", "mfu")}
        self.history.add(row)
        now = time.monotonic()
        if now - self.written >= _SECONDS_BETWEEN_LINES:
            self.written = now
            log_row(row, total=self.order.total_steps, seconds_left=self._seconds_left())
            self._write_state("running")

    def _seconds_left(self) -> float:
        speed = self.clock.images_per_s(self.step) / self.order.batch
        return (self.order.total_steps - self.step) / speed if speed else 0.0

    def _write_state(self, state: str) -> None:
        speed = rounded(self.clock.images_per_s(self.step)) or None  # none before the first step
        write_state(
            self.folder, state, step=self.step, total_steps=self.order.total_steps, loss=self.loss,
            images_per_s=speed, seconds_left=round(self._seconds_left()) if speed else None,
            **self.latest,
        )  # fmt: skip

    def _save(self) -> None:
        if self.saved == self.step:
            return
        self.watch.at(SAVE, self.step)
        self._collect()
        told = self.usage.told(skipped=self.feed.skipped)
        meta = {"window": self.window.state(), "seconds": self.clock.seconds(),
                "total_steps": self.order.total_steps, "energy_j": told.energy_j,
                "skipped": self.skipped_before + told.skipped}  # fmt: skip
        self.checkpoints.save(self.step, meta)
        self.saved = self.step

    def _device_name(self) -> str:
        cuda = self.device.type == "cuda"
        return str(torch.cuda.get_device_name(self.device)) if cuda else "cpu"

    def _facts(self) -> dict[str, Any]:
        """How it ran, for the provenance."""
        cuda = self.device.type == "cuda"
        return {
            "strategy": self.layout.strategy,
            "ranks": self.ranks.world,
            "threads": torch.get_num_threads(),
            "workers": self.layout.workers,
            "worker_restarts": self.feed.restarts,
            "reads_retried": self.feed.retried,
            "staged": self.staging.facts(self.feed.local) if self.staging else None,
            "device": self._device_name(),
            "start_step": self.clock.first_step,
            "end_step": self.step,
            "seconds": round(self.clock.seconds() - self.clock.earlier, 3),
            "images_per_s": rounded(self.clock.images_per_s(self.step)),
            "checkpoint_seconds": round(self.checkpoints.longest, 3),
            **self.usage.facts(self.clock.images_per_s(self.step)),
            "rank_peak_memory_bytes": peak_memory_bytes(),
            "device_peak_memory_bytes": torch.cuda.max_memory_allocated() if cuda else None,
        }
