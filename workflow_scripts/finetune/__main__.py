"""Fine-tune an encoder on a benchmark, end to end: once a split and seed, and from random weights.

One process and one device. Killed at any moment, it goes on from the last finished epoch of its
trial and writes the same bytes as if it had not been.
"""

import argparse
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.device import device_of
from workflow_scripts.features.encoder import load_model, random_like
from workflow_scripts.features.samples import check_fits
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.finetune.train import precision_of, run_trial
from workflow_scripts.finetune.trial import State, Trial, check
from workflow_scripts.logs import log
from workflow_scripts.models.folder import file_digests
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.probe import metrics
from workflow_scripts.probe.checks import check_splits
from workflow_scripts.probe.told import told_corpora, told_splits
from workflow_scripts.provenance import versions
from workflow_scripts.results import stamp, write_result
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.split.samples import Benchmark, read_benchmark
from workflow_scripts.stage import run_stage, stage_parser
from workflow_scripts.threads import usable_cores

PROTOCOL = "finetune"
ENCODER, RANDOM = "encoder", "random"  # who is judged
_NUMERIC = ("numpy", "timm", "torch")  # packages whose versions may change a number


def trials_of(
    who: str, model: dict[str, Any], state: State, benchmark: Benchmark, recipe: dict[str, Any]
) -> Iterator[Trial]:
    """The trials of one kind of weights: splits, then seeds; one at a time in memory.

    Args:
        who: `encoder`, or `random` for weights drawn from each trial's seed.
        model: The encoder's `model.json`.
        state: Its weights.
        benchmark: What they are trained and judged on.
        recipe: Uses `seeds`, `finetune` and `image_size`.
    """
    for sides in benchmark.splits:
        for seed in recipe["seeds"]:
            yield Trial(
                name=f"{who}-{sides.name}-{seed}",
                model=model,
                state=state if who == ENCODER else random_like(model, seed).state_dict(),
                benchmark=benchmark,
                sides=sides,
                settings=recipe["finetune"],
                size=recipe["image_size"] or model["image_size"],
                seed=seed,
            )


def judged(
    trials: Iterator[Trial], classes: list[str], *, device: str, threads: int, folder: Path
) -> dict[str, Any]:
    """Train and judge one kind of weights: all its trials as one entry of the result."""
    outcomes, chosen = [], []
    for trial in trials:
        found = run_trial(trial, device=device, threads=threads, folder=folder)
        outcomes.append(metrics.judge(found.scores, trial.labels(trial.sides.test), len(classes)))
        chosen.append(
            {
                "split": trial.sides.name,
                "seed": trial.seed,
                "epoch": len(found.losses),
                "training_loss": found.losses.tolist()[-1],
            }
        )
    return metrics.summarise(outcomes, chosen, classes)


def work_folder(root: Path, stamped: dict[str, Any], device: str) -> Path:
    """Where the states of these very trials lie: others' are never gone on from."""
    numeric = {name: versions().get(name) for name in _NUMERIC}
    return root / digest({"stamp": stamped, "device": device, "versions": numeric})


def read_checked(arguments: argparse.Namespace, recipe: dict[str, Any]) -> Benchmark:
    """The benchmark, refused now if it would be refused after hours of training.

    Raises:
        UserError: A split from which nothing can be learnt, or settings that do not fit it.
    """
    if not recipe["seeds"]:
        raise UserError("finetune: seeds is empty; give one or more")
    benchmark = read_benchmark(arguments.index, arguments.splits)
    check_splits(benchmark)
    for sides in benchmark.splits:
        check(recipe["finetune"], sides)
    return benchmark


def inputs_of(arguments: argparse.Namespace) -> dict[str, str]:
    """Digest of each input by its role."""
    found = file_digests(arguments.model, "encoder")
    found["benchmark"] = read_json(arguments.index)["content"]
    if arguments.splits:
        found["splits"] = file_sha256(arguments.splits)
    return found | told_corpora(arguments.corpora)


def finetune(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write the result and its provenance."""
    benchmark = read_checked(arguments, recipe)
    model, encoder = load_model(arguments.model)
    name = recipe["encoder"]
    check_fits(model, benchmark.corpus.index, run=name, benchmark=recipe["benchmark"])
    if recipe["finetune"]["floor"]:
        random_like(model, recipe["seeds"][0])  # refuses what cannot be made
    splits = told_splits(benchmark, [Corpus(index) for index in arguments.corpora])
    device = device_of(arguments.device, Ranks())
    # Pieces in parallel, each in one thread: sums then round the same for any number of threads.
    torch.set_num_threads(1)

    stamped = stamp("finetune", recipe, inputs_of(arguments))
    folder = work_folder(arguments.work, stamped, device)
    entries = {
        who: judged(
            trials_of(who, model, encoder.state_dict(), benchmark, recipe), benchmark.classes,
            device=device, threads=arguments.threads, folder=folder,
        )
        for who in (ENCODER, *([RANDOM] if recipe["finetune"]["floor"] else []))
    }  # fmt: skip
    body = {
        **{key: recipe[key] for key in ("encoder", "run", "step", "benchmark", "seeds")},
        "synthetic": bool(recipe["synthetic"] or model.get("synthetic")),
        "image_size": recipe["image_size"] or model["image_size"],
        "layers": 1,
        "layer": "last block; the whole encoder is trained",
        "classes": benchmark.classes,
        "multi_label": benchmark.multi_label,
        "splits": splits,
        "protocols": {PROTOCOL: {"settings": recipe["finetune"], "judged": entries}},
    }
    facts = {"device": device, "threads": arguments.threads, "precision": precision_of(device)}
    write_result(arguments.output, stamp=stamped, body=body, facts=facts)
    shutil.rmtree(folder)
    for who, entry in entries.items():
        log.info("%s on %s, %s: %s", name, recipe["benchmark"], who, metrics.told(entry))


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for an output."""
    with exclusive(arguments.output):
        finetune(arguments, recipe)


if __name__ == "__main__":
    parser = stage_parser("finetune", __doc__)
    parser.add_argument("--model", type=Path, required=True, help="the encoder's model folder")
    parser.add_argument("--index", type=Path, required=True, help="the benchmark's index.json")
    parser.add_argument(
        "--splits", type=Path, help="the benchmark's table of splits; without it the index's own"
    )
    parser.add_argument(
        "--corpora", type=Path, nargs="*", default=[], metavar="INDEX",
        help="index.json of each corpus the encoder was pretrained on, to count shared samples",
    )  # fmt: skip
    parser.add_argument("--output", type=Path, required=True, help="the result JSON")
    parser.add_argument(
        "--work", type=Path, required=True,
        help="folder for what is gone on from after a kill; emptied when the result is written",
    )  # fmt: skip
    parser.add_argument(
        "--device", default="cpu", choices=["cpu", "cuda", "auto"],
        help="where it is trained; auto: on a GPU if there is one (default: cpu)",
    )  # fmt: skip
    parser.add_argument(
        "--threads",
        type=int,
        default=usable_cores(),
        help="pieces of a batch read, and on cores computed, at a time (default: the cores)",
    )
    run_stage(parser, work)
