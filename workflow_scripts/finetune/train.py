"""One trial: an encoder trained on one split from one seed, judged once after its last epoch.

A step's batch is computed in pieces of a fixed size, each in one thread, side by side on the cores,
and their gradients are added in order: the result does not depend on the number of threads.
"""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.finetune.network import build, optimizer_of, sample_paths
from workflow_scripts.finetune.pixels import Pixels
from workflow_scripts.finetune.saved import Found, Saved
from workflow_scripts.finetune.targets import Mix, loss_sum, smoothed
from workflow_scripts.finetune.trial import Trial
from workflow_scripts.loader.batches import Batch
from workflow_scripts.loader.order import Order
from workflow_scripts.logs import log
from workflow_scripts.pretrain.schedule import learning_rate
from workflow_scripts.threads import map_in_order

PIECE = 32  # samples; fixed, not an option: another size may round sums differently
_MOST_NAMED = 8

Gradients = tuple[Tensor, tuple[Tensor, ...]]


def precision_of(device: str) -> str:
    """Arithmetic of the forward pass: `bf16` on GPUs, `fp32` on cores."""
    return "fp32" if device == "cpu" else "bf16"


def run_trial(trial: Trial, *, device: str, threads: int, folder: Path) -> Found:
    """Train and judge, from where an earlier process was ended.

    Args:
        trial: What to do.
        device: `cpu` or `cuda`.
        threads: Pieces that are read, and on cores computed, at a time.
        folder: Where its state is kept; nothing else may be kept there.

    Raises:
        UserError: A sample cannot be read, the loss is not finite, a size that does not fit.
    """
    saved = Saved(folder, trial.name)
    found = saved.read_found()
    if found is not None:
        log.info("%s: was done before", trial.name)
        return found
    training = Training(trial, device=device, threads=threads)
    losses = saved.restore(training.network, training.optimizer)
    if losses:
        log.info("%s: goes on after epoch %d", trial.name, len(losses))
    for epoch in range(len(losses), trial.settings["epochs"]):
        losses.append(training.epoch(epoch))
        saved.keep(training.network, training.optimizer, losses)
        log.info("%s: epoch %d, loss %.4f", trial.name, epoch + 1, losses[-1])
    found = Found(training.scores(), np.array(losses, np.float64))
    saved.keep_found(found)
    return found


class Training:
    """A network, its optimiser and what they are fed.

    Args:
        trial: What is trained on what.
        device: `cpu` or `cuda`.
        threads: Pieces read, and on cores computed, at a time.

    Raises:
        UserError: As of `network.build`.
    """

    def __init__(self, trial: Trial, *, device: str, threads: int) -> None:
        self.trial, self.device, self.threads = trial, device, threads
        self.settings, corpus = trial.settings, trial.benchmark.corpus
        self.batch: int = self.settings["batch"]
        self.network = build(
            trial.model, trial.state, classes=len(trial.benchmark.classes), settings=self.settings,
            size=trial.size, seed=trial.seed,
        ).to(device)  # fmt: skip
        self.draws, paths = sample_paths(self.network)
        self.parameters: list[nn.Parameter] = list(self.network.parameters())
        self.optimizer = optimizer_of(self.network, self.settings)
        self.order = Order(
            np.array([len(trial.sides.train)]), batch=self.batch, epochs=self.settings["epochs"],
            seed=trial.seed,
        )  # fmt: skip
        how = trial.model["normalisation"]
        self.pixels = Pixels(corpus, how, size=trial.size, device=device)
        self.views = self.pixels.views(self.order, self.settings["augment"], paths=paths)
        self.mix = Mix(self.settings, batch=self.batch, seed=trial.seed)

    def epoch(self, epoch: int) -> float:
        """Train for an epoch (from 0); returns the mean of its steps' losses.

        Raises:
            UserError: A sample cannot be read, or a loss is not finite.
        """
        self.network.train()
        steps = self.order.steps_per_epoch
        losses = [
            self._step(step, pieces) for step, pieces in self._read(epoch * steps, steps, epoch)
        ]
        found = torch.stack(losses).double().cpu().numpy()
        broken = np.flatnonzero(~np.isfinite(found))
        if len(broken):
            raise UserError(self._diverged(epoch, int(broken[0])))
        return float(found.mean())

    @torch.inference_mode()
    def scores(self) -> NDArray[np.float32]:
        """(n_test, classes) of the test samples, each looked at once.

        Raises:
            UserError: A sample cannot be read, or a score is not finite.
        """
        self.network.eval()
        rows = self.trial.sides.test
        found = np.concatenate(list(self._pieces(self._judge, _cut(rows, PIECE))))
        if not np.isfinite(found).all():
            raise UserError(
                f"finetune: {self.trial.name}: scores are not finite, the last step diverged; "
                "lower finetune.base_lr, or set finetune.clip"
            )
        return found

    def _judge(self, rows: NDArray[np.int64]) -> NDArray[np.float32]:
        with torch.inference_mode(), self._precision():  # both are of a thread
            return self.network(self.pixels.of_test(rows)).float().cpu().numpy()

    def _pieces(self, function: Callable[[Any], Any], pieces: list[Any]) -> Iterator[Any]:
        """Results by piece, in order: side by side on cores, one after the other on a GPU."""
        workers = self.threads if self.device == "cpu" else 1
        # Of equal size and most 0: results of no more pieces than there are workers wait.
        return map_in_order(function, pieces, workers=workers, size_of=lambda _: 1, most=0)

    def _precision(self) -> torch.autocast:
        return torch.autocast(
            self.device, torch.bfloat16, enabled=precision_of(self.device) == "bf16"
        )

    def _read(self, first: int, steps: int, epoch: int) -> Iterator[tuple[int, list[Batch]]]:
        """The steps of an epoch and their batches in pieces, read ahead."""
        jobs = [
            (step, rows)
            for step in range(first, first + steps)
            for rows in _cut(self._rows(step), PIECE)
        ]
        pieces: list[Batch] = []

        def read(job: tuple[int, NDArray[np.int64]]) -> Batch:
            return self.views.of(job[1], epoch=epoch)

        of_step = -(-self.batch // PIECE)
        for batch, (step, _) in zip(
            map_in_order(read, jobs, workers=self.threads), jobs, strict=True
        ):
            pieces.append(batch)
            if len(pieces) == of_step:
                yield step, pieces
                pieces = []

    def _rows(self, step: int) -> NDArray[np.int64]:
        """(batch,) numbers in the corpus of a step's samples."""
        return self.trial.sides.train[self.order.batch_at(step)]

    def _step(self, step: int, pieces: list[Batch]) -> Tensor:
        """Train on a batch; returns its loss on the device."""
        labels = torch.from_numpy(self.trial.labels(self._rows(step)))
        targets = smoothed(
            labels.to(self.device), classes=len(self.trial.benchmark.classes),
            smoothing=self.settings["label_smoothing"],
        )  # fmt: skip
        images = torch.cat([self.pixels.of_views(piece) for piece in pieces])
        noise = torch.cat([piece["noise"] for piece in pieces]).to(self.device)
        images, targets = self.mix(images, targets, step=step)
        rate = learning_rate(
            self.settings, step=step, steps_per_epoch=self.order.steps_per_epoch,
            total_steps=self.order.total_steps, batch=self.batch,
        )  # fmt: skip
        for group in self.optimizer.param_groups:
            group["lr"] = rate * group["lr_scale"]
        whole = list(zip(*(part.split(PIECE) for part in (images, targets, noise)), strict=True))
        loss = self._backward(whole)
        if self.settings["clip"] is not None:
            nn.utils.clip_grad_norm_(self.parameters, self.settings["clip"])
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return loss

    def _backward(self, pieces: list[tuple[Tensor, ...]]) -> Tensor:
        """Gradients of a batch into `.grad`, added in the order of its pieces; its loss."""
        total = torch.zeros((), device=self.device)
        for loss, gradients in self._pieces(self._gradients, pieces):
            total += loss
            for parameter, gradient in zip(self.parameters, gradients, strict=True):
                if parameter.grad is None:  # two of them may share memory: each gets its own
                    parameter.grad = gradient.clone(memory_format=torch.contiguous_format)
                else:
                    parameter.grad += gradient
        return total

    def _gradients(self, piece: tuple[Tensor, ...]) -> Gradients:
        images, targets, noise = piece
        self.draws.numbers = noise
        with self._precision():
            scores = self.network(images).float()
        multi_label = self.trial.benchmark.multi_label
        loss = loss_sum(scores, targets, multi_label=multi_label) / self.batch
        return loss.detach(), torch.autograd.grad(loss, self.parameters)

    def _diverged(self, epoch: int, number: int) -> str:
        steps = self.order.steps_per_epoch
        rows = self._rows(epoch * steps + number)
        corpus = self.trial.benchmark.corpus
        keys = ", ".join(corpus.key(int(row)) for row in rows[:_MOST_NAMED])
        more = f" and {len(rows) - _MOST_NAMED} more" if len(rows) > _MOST_NAMED else ""
        return (
            f"finetune: {self.trial.name}: the loss is not finite in epoch {epoch + 1}, step "
            f"{number + 1} of {steps} (samples {keys}{more}); lower finetune.base_lr, set "
            "finetune.clip, or look at these samples"
        )


def _cut(rows: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    return [rows[start : start + size] for start in range(0, len(rows), size)]
