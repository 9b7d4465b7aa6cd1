"""From the configuration to the plain recipe of each job.

A recipe holds exactly what determines a stage's result. What only lays the work over a machine
(ranks, workers, walltime, checkpoint cadence) is not in it.

    python -m workflow_scripts.recipes pretrain scenes-mae [--configfile examples/ucm.yaml]
"""

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from workflow_scripts import studies
from workflow_scripts.catalogue.words import cited
from workflow_scripts.config import Config
from workflow_scripts.config_check import load_config
from workflow_scripts.config_data import Aicca, Corpus, ImagePacking
from workflow_scripts.config_models import models_of, upstream
from workflow_scripts.config_modis import Granules
from workflow_scripts.config_runs import GfmRun, RunBase
from workflow_scripts.corpora import (
    BENCH,
    corpus_datasets,
    dataset_days,
    is_chips,
    is_synthetic,
    judging_benchmarks,
)
from workflow_scripts.dates import compress
from workflow_scripts.digests import canonical
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import LISTING, digest_of, found_file
from workflow_scripts.fetch_recipe import fetch, transfer
from workflow_scripts.probed import run_of, split_name
from workflow_scripts.protocol_settings import (
    feature_protocols,
    needed_poolings,
    needed_views,
)
from workflow_scripts.report_recipe import crate, report
from workflow_scripts.wanted import card_benchmarks

Recipe = dict[str, Any]
_OF_PACKING = {"max_set_aside", *ImagePacking.model_fields}  # keys of a benchmark


def tile(config: Config, dataset: str, date: str) -> Recipe:
    """Recipe of a day's chips."""
    entry = config.datasets[dataset]
    assert isinstance(entry, Granules)
    return {
        "dataset": dataset,
        "date": date,
        "platform": entry.platform,
        "synthetic": is_synthetic(entry),
        **entry.tile.model_dump(mode="json"),
    }


def pack(config: Config, corpus: str) -> Recipe:
    """Recipe of a corpus, or of a benchmark's corpus (`bench-<benchmark>`)."""
    names = corpus_datasets(config, corpus)
    recipe: Recipe = {
        "corpus": corpus,
        "kind": "images",
        "datasets": names,
        "synthetic": any(is_synthetic(config.datasets[name]) for name in names),
    }
    if is_chips(config, corpus):
        return recipe | _of_chips(config, names)
    if corpus.startswith(BENCH):
        benchmark = config.benchmarks[corpus.removeprefix(BENCH)]
        shared = benchmark.model_dump(include=_OF_PACKING)
        settings = Corpus(datasets=names, **shared)
    else:
        settings = config.corpora[corpus]
    recipe |= settings.model_dump(mode="json", exclude={"label", "datasets", "shard_mb"})
    # A benchmark's own splits say on which side an image stands, not those of its dataset.
    recipe["across_splits"] = "keep" if corpus.startswith(BENCH) else "protect"
    recipe["benchmark_test"] = {
        "handling": settings.benchmark_test,
        "benchmarks": judging_benchmarks(config, corpus),
    }
    return recipe | {"shard_bytes": settings.shard_mb * 2**20}


def _of_chips(config: Config, names: list[str]) -> Recipe:
    """What a corpus of chips is packed from: days, and labels if there are some."""
    granules = [name for name in names if isinstance(config.datasets[name], Granules)]
    recipe: Recipe = {
        "kind": "chips",
        "datasets": granules,
        "days": {name: compress(dataset_days(config, name)) for name in granules},
    }
    for name in names:
        entry = config.datasets[name]
        if isinstance(entry, Aicca):
            kept = {"max_distance_km", "max_minutes", "split"}
            recipe["labels"] = {"dataset": name, **entry.model_dump(mode="json", include=kept)}
    return recipe


def weights(config: Config, name: str) -> Recipe:
    """Recipe of pretrained weights from elsewhere."""
    entry = config.weights[name]
    recipe = {"weights": name, **entry.model_dump(mode="json")}
    path = Path(entry.file) if entry.file else None
    recipe[LISTING] = digest_of([found_file(path)]) if path and path.is_file() else None
    return recipe


def pretrain(config: Config, run: str) -> Recipe:
    """Recipe of a run."""
    return pretrain_of(config.runs[run])


def pretrain_of(entry: RunBase) -> Recipe:
    """Recipe of a pretraining, of a run or of a point of a study."""
    recipe = entry.model_dump(
        mode="json",
        exclude={"label", "corpus", "segments", "launch", "pinned", "teacher", "alpha", "start"},
    )
    if entry.start is not None:  # its name: where it lies is no part of the result
        recipe["start"] = Path(entry.start).name
    recipe["encoder"] = entry.encoder.plain()
    mask = {"ratio": 0.0, "patch": None, "norm_pix": False} | recipe.get("mask", {})
    recipe["mask"] = mask
    recipe.setdefault("decoder", None)
    recipe["gfm"] = {"alpha": entry.alpha} if isinstance(entry, GfmRun) else None
    recipe["split"] = None
    return recipe


def snapshot(config: Config, run: str, step: int) -> Recipe:
    """Recipe of a run's encoder at a step."""
    return {"pretrain": pretrain(config, run), "step": int(step)}


def point(config: Config, study: str, name: str) -> Recipe:
    """Recipe of a point of a scaling study: here the layout over ranks is what is measured."""
    entry, one = config.studies[study], studies.point(config, study, name)
    return {
        "study": study,
        "point": name,
        **asdict(one),
        "channels": studies.channels_of(config, study),
        "cores_per_rank": entry.cores_per_rank,
        "pretrain": pretrain_of(studies.run_of_point(config, study, one)),
        **entry.model_dump(
            mode="json",
            include={"activation_checkpointing", "compile", "warmup", "steps", "repeats"},
        ),
    }


def study(config: Config, name: str) -> Recipe:
    """Recipe of the table of a study's points."""
    return {
        "study": name,
        "label": config.studies[name].label or name,
        "points": [one.name for one in studies.points(config, name)],
    }


def forecast(config: Config, name: str) -> Recipe:
    """Recipe of a plan: what is to be trained, on what machine, and how it may be laid over it."""
    entry = config.plans[name]
    run = config.runs[entry.run] if entry.run else studies.run_of_plan(entry)
    own = studies.bands(config, config.runs[entry.run].corpus) if entry.run else None
    machine = config.machines.get(entry.machine)
    return {
        "plan": name,
        "label": entry.label or name,
        "run": entry.run,
        "pretrain": pretrain_of(run) | {"precision": entry.precision},
        "channels": entry.channels or own or 3,
        "epochs": entry.epochs or run.epochs,
        "images": entry.images,
        "checkpoint_every": entry.checkpoint_every or run.launch.checkpoint_every,
        # Numbers of a machine of the configuration, or the name of one that is built in.
        "machine": entry.machine,
        "numbers": machine.model_dump(mode="json", exclude={"study"}) if machine else None,
        "study": machine.study if machine else None,
        "energy": config.energy.model_dump(mode="json"),
        **entry.model_dump(
            mode="json",
            include={"nodes", "strategies", "batch", "activation_checkpointing",
                     "budget_node_hours", "deadline_days", "largest_batch"},
        ),
    }  # fmt: skip


def split(config: Config, benchmark: str) -> Recipe:
    """Recipe of a benchmark's splits."""
    entry = config.benchmarks[benchmark]
    spec = entry.split.model_dump(mode="json")
    return {"benchmark": benchmark, "dataset": entry.dataset, "split": spec}


def features(config: Config, encoder: str, benchmark: str) -> Recipe:
    """Recipe of an encoder's features, and those of its floors, on a benchmark."""
    entry = config.benchmarks[benchmark]
    return {
        "encoder": encoder,
        "benchmark": benchmark,
        "image_size": entry.image_size,
        "layers": entry.layers,
        "poolings": needed_poolings(config, encoder, benchmark),
        "seeds": entry.seeds,
        "views": needed_views(config, benchmark),
    }


def probe(config: Config, encoder: str, benchmark: str) -> Recipe:
    """Recipe of the protocols that judge an encoder's features on a benchmark."""
    entry = config.benchmarks[benchmark]
    return {
        **_judged(config, encoder, benchmark),
        "layers": entry.layers,
        "protocols": feature_protocols(config, encoder, benchmark),
    }


def finetune(config: Config, encoder: str, benchmark: str) -> Recipe:
    """Recipe of an encoder fine-tuned on a benchmark."""
    entry = config.benchmarks[benchmark]
    return {
        **_judged(config, encoder, benchmark),
        "finetune": entry.finetune.model_dump(mode="json"),
    }


def _judged(config: Config, encoder: str, benchmark: str) -> Recipe:
    """Which encoder, on which benchmark."""
    entry = config.benchmarks[benchmark]
    run, step = split_name(encoder) if run_of(config, encoder) else (None, None)
    names = corpus_datasets(config, f"{BENCH}{benchmark}")
    runs = [run, *upstream(config, run)] if run else []
    names += [name for one in runs for name in corpus_datasets(config, config.runs[one].corpus)]
    return {
        "encoder": encoder,
        "run": run,
        "step": step,
        "benchmark": benchmark,
        "synthetic": any(is_synthetic(config.datasets[name]) for name in names),
        "image_size": entry.image_size,
        "seeds": entry.seeds,
    }


def card(config: Config, run: str) -> Recipe:
    """Recipe of a run's model card."""
    names = corpus_datasets(config, config.runs[run].corpus)
    return {
        "run": run,
        "label": config.runs[run].label or run,
        "models": models_of(config, run),
        "energy": config.energy.model_dump(mode="json"),
        "datasets": [
            {
                "name": name,
                "label": config.datasets[name].label or name,
                "synthetic": is_synthetic(config.datasets[name]),
                **cited(config.datasets[name]),
            }
            for name in names
        ],
        "benchmarks": [
            {
                "name": name,
                "label": config.benchmarks[name].label or name,
                "citation": told["citation"],
                "homepage": told["homepage"],
            }
            for name in card_benchmarks(config, run)
            for told in [cited(config.datasets[config.benchmarks[name].dataset])]
        ],
    }


_OF_RULES: dict[str, Callable[..., Recipe]] = {
    "fetch": fetch,
    "transfer": transfer,
    "tile": tile,
    "split": split,
    "pack": pack,
    "weights": weights,
    "pretrain": pretrain,
    "snapshot": snapshot,
    "features": features,
    "probe": probe,
    "finetune": finetune,
    "point": point,
    "study": study,
    "forecast": forecast,
    "card": card,
    "report": report,
    "crate": crate,
}


def main() -> None:
    """Print the recipe of one job, as canonical JSON for `--recipe`."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.recipes", description=__doc__)
    parser.add_argument("rule", choices=list(_OF_RULES))
    parser.add_argument("names", nargs="*", help="such as a dataset, or a run and a benchmark")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[])
    parser.add_argument("--pretty", action="store_true", help="indented, to be read")
    arguments = parser.parse_args()
    try:
        config = load_config(*arguments.configfile)
        extra: list[Recipe] = [{}] if arguments.rule in ("report", "crate") else []
        recipe = _OF_RULES[arguments.rule](config, *arguments.names, *extra)
    except UserError as error:
        sys.exit(str(error))
    except (KeyError, TypeError, AssertionError) as error:
        sys.exit(f"{arguments.rule} {' '.join(arguments.names)}: no such job ({error})")
    text = json.dumps(recipe, indent=2) if arguments.pretty else canonical(recipe)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
