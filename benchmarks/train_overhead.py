"""The real trainer, fed by the loader from shards: where the time of its steps goes.

For `train_step.py`. Of the seconds of `Trainer.run` after the first steps, checkpoints left out:
the share of waiting for data, of the gradient's norm, and of everything outside model and optimizer
(normalising pixels counts to the model; schedule, norm, checks, losses, log and state do not).
"""

import io
import json
import logging
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
import train_models as models
from PIL import Image

from workflow_scripts.digests import file_sha256
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.stop import StopRequest
from workflow_scripts.pretrain.trainer import Layout, Trainer
from workflow_scripts.pretrain.watchdog import Watchdog
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.threads import usable_cores

SIDE, QUALITY = 256, 92
WARM = 2  # steps before the clock starts
MODEL, OPTIMIZER, NORM, DATA, SAVING = "model", "optimizer", "norm", "data", "saving"
RUN = {
    "seed": 0, "precision": "fp32", "shuffle_window": None, "split": "train",
    "augment": {"scale": [0.2, 1.0], "ratio": [0.75, 4 / 3], "flip": True, "rotate": False},
    "optim": {"base_lr": 1e-4, "lr_reference_batch": 256, "betas": [0.9, 0.95], "clip": 5.0,
              "weight_decay": 0.05, "warmup_epochs": 0.5, "min_lr": 0.0},
}  # fmt: skip


def write_corpus(folder: Path, count: int) -> Corpus:
    """A corpus of smooth random JPEGs."""
    rng, samples = np.random.default_rng(0), []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8))
        buffer = io.BytesIO()
        coarse.resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=QUALITY)
        samples.append(
            ImageSample(key=f"{number}", data=buffer.getvalue(), height=SIDE, width=SIDE,
                        label=0, split=0)
        )  # fmt: skip
    path = folder / "shard-00000.h5"
    write_image_shard(path, samples, classes=["all"])
    rows = [{"file": path.name, "sha256": file_sha256(path), "count": count, "bytes": 0}]
    index = {
        "format_version": 1, "synthetic": True, "shards": rows, "kind": "images",
        "corpus": "benchmark", "channels": 3, "classes": ["all"], "count": count,
        "bands": ["red", "green", "blue"], "mean": [0.5] * 3, "std": [0.25] * 3,
    }  # fmt: skip
    index["content"] = content_digest(index)
    (folder / "index.json").write_text(json.dumps(index))
    return Corpus(folder / "index.json")


class Timed(Trainer):
    """The trainer with a clock on its parts; none of them does anything else."""

    def measure_parts(self) -> None:
        """Begin to measure what is called through this trainer."""
        self.spent: dict[str, float] = defaultdict(float)
        step: Any = self.train_step
        step._forward_backward = self._timed(step._forward_backward, MODEL)
        self.optimizer.step = self._timed(self.optimizer.step, OPTIMIZER)  # type: ignore
        self._save = self._timed(self._save, SAVING)  # type: ignore
        self.clock.timed = self._waiting  # type: ignore

    def _timed(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        def call(*values: Any, **named: Any) -> Any:
            start = time.perf_counter()
            found = function(*values, **named)
            self.spent[name] += time.perf_counter() - start
            return found

        return call

    def _waiting(self, batches: Iterator[Any]) -> Iterator[Any]:
        ask = self._timed(next, DATA)
        while (batch := ask(batches, None)) is not None:
            yield batch

    def _train_step(self, batch: dict[str, Any]) -> None:
        super()._train_step(batch)
        if self.step == WARM:
            self.spent.clear()
            self.started = time.perf_counter()


def run_once(corpus: Corpus, folder: Path, recipe: dict[str, Any], device: Any) -> dict[str, float]:
    """Seconds by part, and of everything, of the steps after the first."""
    layout = Layout(workers=min(2, usable_cores()), checkpoint_every=10**9)
    trainer = Timed(recipe, corpus, folder=folder, teacher=None, layout=layout,
                    ranks=models.ALONE, device=device,
                    watch=Watchdog(models.ALONE, limit_s=3600.0))  # fmt: skip
    trainer.measure_parts()
    norm = parallel.gradient_norm
    parallel.gradient_norm = trainer._timed(norm, NORM)
    try:
        trainer.run(StopRequest())
    finally:
        parallel.gradient_norm = norm
    total = time.perf_counter() - trainer.started - trainer.spent[SAVING]
    return {**trainer.spent, "total": total, "steps": trainer.step - WARM}


def measure(cases: dict[str, Any], device: torch.device, *, steps: int) -> dict[str, float]:
    """Shares of the steps of each MAE, and images a second fed by the loader.

    On a GPU the seconds are the host's: it runs ahead of the device, and waits for it where a
    value is read (when it logs), so only data wait and images a second mean what they say.
    """
    logging.disable(logging.WARNING)
    found = {}
    for name, (recipe, bands, batch) in cases.items():
        if bands != 3:
            continue  # the corpus is of pictures
        with tempfile.TemporaryDirectory() as folder:
            count = max(256, batch)
            corpus = write_corpus(Path(folder), count)
            epochs = -(-(steps + WARM) // (count // batch))
            run = {**recipe, **RUN, "batch": batch, "epochs": epochs}
            if device.type == "cuda":
                run["precision"] = "bf16"
            spent = run_once(corpus, Path(folder) / "run", run, device)
        outside = spent["total"] - spent[DATA] - spent[MODEL] - spent[OPTIMIZER]
        shares = {
            "data_wait": spent[DATA] / spent["total"],
            "outside": outside / spent["total"],
            "gradient_norm": spent[NORM] / spent["total"],
        }
        speed = spent["steps"] * batch / spent["total"]
        told = ", ".join(f"{part} {share:.2%}" for part, share in shares.items())
        print(f"trainer, {name} × {batch}: {speed:.1f} images/s, of its time {told}")
        found |= {f"{name}_trainer_{part}": round(share, 5) for part, share in shares.items()}
        found[f"{name}_trainer_images_per_s"] = round(speed, 2)
    return found
