"""Tiny corpora, recipes and real processes for the tests of pretraining and export."""

import contextlib
import io
import itertools
import json
import os
import subprocess
import sys
import time
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch
import torch.multiprocessing as mp
from PIL import Image
from torch.distributed.tensor import DTensor

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.pretrain import __main__ as pretrain
from workflow_scripts.pretrain import checkpoint, parallel, saved
from workflow_scripts.pretrain.construct import adamw, meta_objective, order_of
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.step import NORM, Step
from workflow_scripts.pretrain.stop import StopRequest, Wish
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

CPU = torch.device("cpu")
ROOT = Path(__file__).resolve().parent.parent


def _index(folder: Path, shards: list[Path], **own: Any) -> Path:
    rows = [
        {"file": path.name, "sha256": file_sha256(path), "count": count, "bytes": 0}
        for path, count in shards
    ]
    index = {"format_version": 1, "synthetic": True, "shards": rows, **own}
    index["content"] = content_digest(index)
    path = folder / "index.json"
    path.write_text(json.dumps(index))
    return path


def tiny_images(
    folder: Path, *, count: int = 44, seed: int = 0, shards: int = 2,
    sizes: tuple[tuple[int, int], tuple[int, int]] = ((22, 26), (24, 20)), judged: int = 0,
) -> Path:  # fmt: skip
    """A corpus of smooth random JPEGs of two sizes (width, height) and three classes.

    All are for training, but the first `judged`, which are for the test.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    samples = []
    for number in range(count):
        coarse = Image.fromarray(rng.integers(0, 256, (4, 4, 3), dtype=np.uint8))
        image = coarse.resize(sizes[number % 2], Image.Resampling.BICUBIC)
        buffer = io.BytesIO()
        image.save(buffer, "JPEG", quality=95)
        samples.append(
            ImageSample(
                key=f"image{number}", data=buffer.getvalue(), height=image.height,
                width=image.width, label=number % 3, split=2 if number < judged else 0,
            )
        )  # fmt: skip
    classes, written = ["a", "b", "c"], []
    for number in range(shards):
        path = folder / f"shard-{number:05d}.h5"
        part = samples[count * number // shards : count * (number + 1) // shards]
        write_image_shard(path, part, classes=classes)
        written.append((path, len(part)))
    return _index(
        folder, written, kind="images", corpus="tiny", channels=3, classes=classes,
        bands=["red", "green", "blue"], mean=[0.5, 0.5, 0.5], std=[0.25, 0.25, 0.2], count=count,
    )  # fmt: skip


def tiny_chips(folder: Path, *, count: int = 20) -> Path:
    """A corpus of two-band chips, unlabelled."""
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    samples = [
        ChipSample(
            key=f"chip{number}", counts=rng.integers(0, 30000, (2, 20, 20)).astype(np.uint16),
            scale=np.array([0.001, 0.02]), offset=np.array([0.0, 300.0]), split=0,
        )
        for number in range(count)
    ]  # fmt: skip
    path = folder / "day.h5"
    write_chip_shard(path, samples, bands=["28", "31"], size=20, attributes={})
    return _index(
        folder, [(path, count)], kind="chips", corpus="tiny-chips", channels=2, classes=[],
        bands=["28", "31"], mean=[15.0, 294.0], std=[8.7, 173.0], count=count,
    )  # fmt: skip


def tiny_batches(corpus: Corpus, recipe: dict[str, Any], **how: Any) -> Batches:
    """The batches that a run of that recipe sees."""
    how = {"augment": recipe["augment"], **how}
    return Batches(corpus, order_of(recipe, corpus), size=recipe["encoder"]["image_size"], **how)


def tensors(batch: dict[str, Any]) -> dict[str, torch.Tensor]:
    """A batch without its counts, as the feed hands it on."""
    return {name: value for name, value in batch.items() if isinstance(value, torch.Tensor)}


def tiny_recipe(**changes: Any) -> dict[str, Any]:
    """A recipe of a few thousand parameters; `changes` replace top-level keys."""
    recipe = {
        "objective": "mae", "seed": 3, "epochs": 2, "batch": 8, "split": "train",
        "encoder": {"family": "vit", "image_size": 16, "patch": 4, "width": 24, "depths": [2],
                    "heads": [2], "mlp_ratio": 2.0, "window": None},
        "decoder": {"width": 16, "depth": 1, "heads": 2},
        "mask": {"ratio": 0.75, "patch": None, "norm_pix": True},
        "augment": {"scale": [0.3, 1.0], "ratio": [0.75, 1.3333333333333333], "flip": True,
                    "rotate": True},
        "optim": {"base_lr": 0.05, "lr_reference_batch": 256, "betas": [0.9, 0.95],
                  "weight_decay": 0.05, "warmup_epochs": 0.5, "min_lr": 0.0, "clip": None},
        "gfm": None, "precision": "fp32", "shuffle_window": None,
    }  # fmt: skip
    return {**recipe, **changes}


def simmim_recipe(**changes: Any) -> dict[str, Any]:
    """The same with SimMIM over a two-stage Swin."""
    encoder = {"family": "swin", "image_size": 16, "patch": 2, "width": 8, "depths": [1, 1],
               "heads": [1, 2], "mlp_ratio": 2.0, "window": 4}  # fmt: skip
    mask = {"ratio": 0.6, "patch": 4, "norm_pix": False}
    own = {"objective": "simmim", "encoder": encoder, "decoder": {"kind": "pixelshuffle"}}
    return tiny_recipe(**own, mask=mask, **changes)


def arguments(recipe: dict[str, Any], index: Path, run: Path, *more: str, number: int = 1) -> list:
    """The command line of a segment."""
    previous = run / "segments" / f"{number - 1}.json"
    chain = ["--previous", str(previous)] if number > 1 else []
    return [
        "--recipe", json.dumps(recipe), "--index", str(index), "--run", str(run),
        "--segment", str(run / "segments" / f"{number}.json"), *chain, *more,
    ]  # fmt: skip


def train_here(
    recipe: dict[str, Any], index: Path, run: Path, *more: str, number: int = 1,
    steps: int | None = None,
) -> Any:  # fmt: skip
    """Run a segment in this process and return its JSON; with `steps`, it has time for so many."""
    parsed = pretrain.parser().parse_args(arguments(recipe, index, run, *more, number=number))
    with contextlib.nullcontext() if steps is None else time_for(steps):
        pretrain.work(parsed, recipe)
    return json.loads(parsed.segment.read_text())


def time_for(steps: int) -> Any:
    """A context within which the time of a segment in this process is up after so many steps."""
    asked = itertools.chain([Wish.GO_ON] * steps, itertools.repeat(Wish.WALLTIME))
    return mock.patch.object(StopRequest, "asked", side_effect=asked)


def start(
    recipe: dict[str, Any], index: Path, run: Path, *more: str, number: int = 1
) -> subprocess.Popen[str]:
    """Start a segment as a process of its own, one compute thread a rank."""
    command = [sys.executable, "-m", "workflow_scripts.pretrain"]
    return subprocess.Popen(
        [*command, *arguments(recipe, index, run, *more, number=number)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1"}, text=True, stderr=subprocess.PIPE,
    )  # fmt: skip


def wait_for(run: Path, step: int, process: subprocess.Popen[str], seconds: float = 300) -> None:
    """Wait until a process saves that step of a run or, from now on, a later one.

    On a busy machine the very checkpoint may be gone before it is seen, or the process before may
    have come further.
    """
    end = time.monotonic() + seconds
    least = max(step, 1 + _last_saved(run))
    while _last_saved(run) < least:
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"no checkpoint of step {least} after {seconds} s"
        time.sleep(0.005)


def _last_saved(run: Path) -> int:
    return max((saved.latest(one) or 0 for one in (run / "checkpoints").glob("*")), default=0)


def ended(process: subprocess.Popen[str], run: Path, *, number: int = 1) -> dict[str, Any]:
    """Wait for a segment that ends well, and return its JSON."""
    assert process.wait() == 0, process.communicate()[1]
    return json.loads((run / "segments" / f"{number}.json").read_text())


def curve(run: Path) -> list[tuple[int, float]]:
    """(step, loss) of a run's curve."""
    (path,) = (run / "checkpoints").glob("*/history.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    return [(row["step"], row["loss"]) for row in rows]


def full(tensor: torch.Tensor) -> torch.Tensor:
    """A copy of a whole tensor, gathered if it is sharded."""
    return (tensor.full_tensor() if isinstance(tensor, DTensor) else tensor).detach().clone()


class Trainee:
    """A laid-out objective with its optimizer, stepped by hand."""

    def __init__(
        self, index: Path, strategy: str = "no_shard", ranks: Ranks | None = None,
        recipe: dict[str, Any] | None = None, *, teacher: Path | None = None, **layout: bool,
    ) -> None:  # fmt: skip
        self.recipe, self.ranks = recipe or tiny_recipe(), ranks or Ranks()
        self.corpus = Corpus(index, "train")
        self.model = parallel.laid_out(
            meta_objective(self.recipe, self.corpus, teacher), strategy, ranks=self.ranks,
            device=CPU, precision=self.recipe["precision"], seed=self.recipe["seed"], **layout,
        )  # fmt: skip
        self.objective = parallel.plain(self.model)
        self.optimizer = adamw(self.objective, self.recipe["optim"])
        self.norms: list[float] = []

    def steps(
        self, first: int, last: int, *, clip: float | None = None, accumulate: int = 1
    ) -> list[float]:
        """Train steps first … last − 1 and return their global losses."""
        losses, share = [], self.recipe["batch"] // self.ranks.world
        batches = tiny_batches(
            self.corpus, self.recipe, cells=self.objective.cells, rank=self.ranks.rank,
            ranks=self.ranks.world,
        )  # fmt: skip
        step = Step(
            self.model, self.optimizer, Normalise(self.corpus.index, CPU), clip=clip,
            precision=self.recipe["precision"], samples=share, accumulate=accumulate,
        )  # fmt: skip
        for number in range(first, last):
            terms = step(tensors(batches[number]), 1e-3)
            self.norms.append(float(terms[NORM]))
            losses.append(float(parallel.summed(terms["loss"].clone())) / self.ranks.world)
        return losses

    def saver(self, root: Path, **how: Any) -> checkpoint.Saver:
        """What writes its checkpoints; every rank calls it."""
        return checkpoint.Saver(root, objective=self.objective, optimizer=self.optimizer, **how)

    def save(self, root: Path, step: int, **meta: Any) -> None:
        """One checkpoint, whole when this returns."""
        self.saver(root).save(step, meta)

    def load(self, root: Path, step: int) -> dict[str, Any]:
        return checkpoint.load(root, step, objective=self.objective, optimizer=self.optimizer)

    def tensors(self) -> dict[str, torch.Tensor]:
        """Whole weights and, after the first step, moments by name; every rank calls it."""
        found = {name: full(value) for name, value in self.objective.state_dict().items()}
        for name, parameter in self.objective.named_parameters():
            for part, value in self.optimizer.state[parameter].items():
                found[f"{name}.{part}"] = full(value)
        return found


def assert_same(found: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> None:
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(found[name], value), name


def run_ranks(world: int, function: Any, folder: Path, *values: Any) -> None:
    """Call function(ranks, folder, *values) in `world` fresh processes that can meet."""
    store = folder / f"store-{world}-{digest([function.__name__, time.time()])[:8]}"
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    mp.start_processes(
        _rank_main, args=(world, str(store), function, folder, values), nprocs=world,
        start_method="spawn",
    )  # fmt: skip


def _rank_main(
    rank: int, world: int, store: str, function: Any, folder: Path, values: tuple[Any, ...]
) -> None:
    import torch

    from workflow_scripts.pretrain.launch import Ranks

    torch.set_num_threads(1)
    ranks = Ranks(
        rank=rank, world=world, local_rank=rank, local_world=world, rendezvous=f"file://{store}"
    )
    function(ranks, folder, *values)
