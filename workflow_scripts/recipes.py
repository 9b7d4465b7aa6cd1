"""From the configuration to the plain recipe of each job.

A recipe holds exactly what determines a stage's result. What only lays the work over a machine
(ranks, workers, walltime, checkpoint cadence) is not in it.

    python -m workflow_scripts.recipes pretrain scenes-mae [--configfile examples/ucm.yaml]
"""

import argparse
import functools
import json
import sys
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.config import Config
from workflow_scripts.config_check import load_config
from workflow_scripts.config_data import Aicca, Corpus, ImageFolder, ImageList, ImagePacking
from workflow_scripts.config_models import models_of, upstream
from workflow_scripts.config_modis import Granules, ModisL1b
from workflow_scripts.config_runs import GfmRun
from workflow_scripts.corpora import (
    BENCH,
    corpus_datasets,
    corpus_label,
    cut_from,
    dataset_days,
    day_digests,
    is_chips,
    is_synthetic,
    judged_datasets,
    judging_benchmarks,
)
from workflow_scripts.dates import compress
from workflow_scripts.digests import canonical, digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import LISTING, digest_of, found_file, listing_digest
from workflow_scripts.fetch.labels import labels_digest
from workflow_scripts.probed import run_of, split_name
from workflow_scripts.protocol_settings import (
    feature_protocols,
    needed_poolings,
    needed_views,
    needs_features,
    needs_training,
)
from workflow_scripts.published import key_of
from workflow_scripts.wanted import card_benchmarks, wanted_corpora, wanted_probes, wanted_runs

Recipe = dict[str, Any]
_OF_PACKING = {"max_set_aside", *ImagePacking.model_fields}  # keys of a benchmark


def fetch(config: Config, dataset: str, date: str | None = None) -> Recipe:
    """Recipe of a dataset's manifest (of one day's for MODIS)."""
    entry = config.datasets[dataset]
    left_out = {"label", "licence", "tile", "dates", "first", "last"}
    recipe = {"dataset": dataset, **entry.model_dump(mode="json", exclude=left_out)}
    if isinstance(entry, ImageFolder):
        recipe[LISTING] = _listing(Path(entry.path))
    if isinstance(entry, ImageList):
        recipe[LISTING] = _list_and_folder(Path(entry.list), Path(entry.path))
    if isinstance(entry, Granules):
        recipe["date"] = date
    if isinstance(entry, ModisL1b):
        del recipe["listing"], recipe["obtain"]
        recipe[LISTING] = day_digests(entry).get(str(date))
    if isinstance(entry, Aicca):
        # How rows are matched and split is of packing.
        recipe = {key: recipe[key] for key in ("dataset", "kind", "path", "obtain")}
        recipe[LISTING] = labels_digest(Path(entry.path))
    return recipe


@functools.cache
def _listing(folder: Path) -> str | None:
    return listing_digest(folder) if folder.is_dir() else None


@functools.cache
def _list_and_folder(table: Path, folder: Path) -> str | None:
    """What an image list's dataset is: the content of its table, and the files of its folder."""
    return digest([file_sha256(table), _listing(folder)]) if table.is_file() else None


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
    entry = config.runs[run]
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
        "datasets": [
            {
                "name": name,
                "label": config.datasets[name].label or name,
                "licence": config.datasets[name].licence,
                "synthetic": is_synthetic(config.datasets[name]),
            }
            for name in names
        ],
        "benchmarks": [
            {"name": name, "label": config.benchmarks[name].label or name}
            for name in card_benchmarks(config, run)
        ],
    }


def report(config: Config, pins: dict[str, Any]) -> Recipe:
    """Recipe of the report on what `all` makes.

    Args:
        config: The configuration.
        pins: Stored and current digests of each pinned run.
    """
    runs = wanted_runs(config)
    corpora = wanted_corpora(config)
    datasets = sorted({name for c in corpora for name in corpus_datasets(config, c)})
    by_dataset = {name: dataset_days(config, name) for name in datasets}
    labels = scientific(config)

    def named(kind: str, names: list[str]) -> list[Recipe]:
        return [{"name": n, "label": labels[kind][n]["label"] or n} for n in names]

    return {
        **config.report.model_dump(mode="json"),
        "name": config.name,
        "config_digest": config_digest(config),
        "config_yaml": yaml.safe_dump(labels, sort_keys=True, allow_unicode=True),
        "datasets": [
            {
                **row,
                "kind": config.datasets[row["name"]].kind,
                "synthetic": is_synthetic(config.datasets[row["name"]]),
            }
            for row in named("datasets", datasets)
        ],
        "corpora": [
            {
                "name": name,
                "label": corpus_label(config, name),
                "kind": "chips" if is_chips(config, name) else "images",
                "cut_from": cut_from(config, name),
                "judged": {
                    dataset: [config.benchmarks[b].label or b for b in benchmarks]
                    for dataset, benchmarks in judged_datasets(config, name).items()
                },
            }
            for name in corpora
        ],
        "benchmarks": [
            {
                **row,
                "published": config.benchmarks[row["name"]].published or key_of(row["name"]),
                "corpus": f"{BENCH}{row['name']}",
            }
            for row in named("benchmarks", config.all.benchmarks)
        ],
        "runs": [
            {
                **row,
                "objective": config.runs[row["name"]].objective,
                "pinned": bool(config.runs[row["name"]].pinned),
                "corpus": config.runs[row["name"]].corpus,
            }
            for row in named("runs", runs)
        ],
        "probes": reported_probes(config),
        "days": {name: compress(days) for name, days in by_dataset.items() if days},
        "digests": {"runs": pins},
    }


def reported_probes(config: Config) -> list[Recipe]:
    """What the report shows of probes: an entry for each encoder on each benchmark of `all`."""
    return [_reported(config, benchmark, encoder) for benchmark, encoder in wanted_probes(config)]


def _reported(config: Config, benchmark: str, encoder: str) -> Recipe:
    """What the report shows of an encoder on a benchmark."""
    entry = config.benchmarks[benchmark]
    run, step = split_name(encoder) if run_of(config, encoder) else (None, None)
    label = (config.runs[run].label if run else "") or run or encoder
    return {
        "encoder": encoder,
        "label": label if step is None else f"{label}, step {step:,}",
        "run": run,
        "step": step,
        "benchmark": benchmark,
        "features": needs_features(entry),
        "finetune": needs_training(entry),
    }


def scientific(config: Config) -> Recipe:
    """The configuration without where things lie and how the work is laid over a machine."""
    left_out: Any = {
        "paths": True,
        "datasets": {"__all__": {"path", "list", "obtain", "rescan", "listing"}},
        "weights": {"__all__": {"file"}},
        "runs": {"__all__": {"launch", "segments", "pinned"}},
    }
    return config.model_dump(mode="json", exclude=left_out)


def config_digest(config: Config) -> str:
    """Digest of the scientific configuration, for the report and for citing a result."""
    return digest(scientific(config))


_RULES = [
    "fetch", "tile", "split", "pack", "weights", "pretrain", "snapshot", "features", "probe",
    "finetune", "card", "report",
]  # fmt: skip


def main() -> None:
    """Print the recipe of one job, as canonical JSON for `--recipe`."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.recipes", description=__doc__)
    parser.add_argument("rule", choices=_RULES)
    parser.add_argument("names", nargs="*", help="such as a dataset, or a run and a benchmark")
    parser.add_argument("--configfile", type=Path, nargs="*", default=[])
    parser.add_argument("--pretty", action="store_true", help="indented, to be read")
    arguments = parser.parse_args()
    try:
        config = load_config(*arguments.configfile)
        extra: list[Recipe] = [{}] if arguments.rule == "report" else []
        recipe = globals()[arguments.rule](config, *arguments.names, *extra)
    except UserError as error:
        sys.exit(str(error))
    except (KeyError, TypeError, AssertionError) as error:
        sys.exit(f"{arguments.rule} {' '.join(arguments.names)}: no such job ({error})")
    text = json.dumps(recipe, indent=2) if arguments.pretty else canonical(recipe)
    sys.stdout.write(text + "\n")


if __name__ == "__main__":
    main()
