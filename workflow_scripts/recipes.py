"""From the configuration to the plain recipe of each job, and where each job's files go.

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
from workflow_scripts.config_data import Aicca, Corpus, Dataset, ImageFolder, ImagePacking
from workflow_scripts.config_models import models_of, runs_needed
from workflow_scripts.config_modis import Granules, ModisL1b, SampleModis
from workflow_scripts.config_runs import GfmRun
from workflow_scripts.dates import compress
from workflow_scripts.digests import canonical, digest
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.folder import LISTING, digest_of, found_file, listing_digest
from workflow_scripts.fetch.granules import listed_days, no_granules
from workflow_scripts.fetch.labels import labels_digest

Recipe = dict[str, Any]
BENCH = "bench-"  # corpora of benchmarks are packed under this prefix
_OF_PACKING = {"max_set_aside", *ImagePacking.model_fields}  # keys of a benchmark


def is_chips(config: Config, corpus: str) -> bool:
    """Whether a corpus holds MODIS chips (else images)."""
    return any(isinstance(config.datasets[n], Granules) for n in corpus_datasets(config, corpus))


def corpus_datasets(config: Config, corpus: str) -> list[str]:
    """Names of the datasets of a corpus or of a benchmark's corpus.

    Labels of chips come after the datasets whose chips they are for.
    """
    if corpus.startswith(BENCH):
        name = config.benchmarks[corpus.removeprefix(BENCH)].dataset
        entry = config.datasets[name]
        return [*entry.chips, name] if isinstance(entry, Aicca) else [name]
    return config.corpora[corpus].datasets


def is_synthetic(dataset: Dataset) -> bool:
    """Whether a dataset is generated."""
    return dataset.kind.startswith("sample-")


def fetch(config: Config, dataset: str, date: str | None = None) -> Recipe:
    """Recipe of a dataset's manifest (of one day's for MODIS)."""
    entry = config.datasets[dataset]
    left_out = {"label", "licence", "tile", "dates", "first", "last"}
    recipe = {"dataset": dataset, **entry.model_dump(mode="json", exclude=left_out)}
    if isinstance(entry, ImageFolder):
        recipe[LISTING] = _listing(Path(entry.path))
    if isinstance(entry, Granules):
        recipe["date"] = date
    if isinstance(entry, ModisL1b):
        del recipe["listing"], recipe["obtain"]
        recipe[LISTING] = _days(entry).get(str(date))
    if isinstance(entry, Aicca):
        # How rows are matched and split is of packing.
        recipe = {key: recipe[key] for key in ("dataset", "kind", "path", "obtain")}
        recipe[LISTING] = labels_digest(Path(entry.path))
    return recipe


@functools.cache
def _listing(folder: Path) -> str | None:
    return listing_digest(folder) if folder.is_dir() else None


def _days(entry: ModisL1b) -> dict[str, str]:
    """Digest of the files of each day of a dataset, by day."""
    days = listed_days(Path(entry.path), entry.listing, entry.platform)
    first, last = entry.first or "", entry.last or "9999"
    return {day: found for day, found in days.items() if first <= day <= last}


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
    recipe["benchmark_test"] = {
        "handling": settings.benchmark_test,
        "datasets": sorted(judged_datasets(config, corpus)),
    }
    return recipe | {"shard_bytes": settings.shard_mb * 2**20}


def judged_datasets(config: Config, corpus: str) -> dict[str, list[str]]:
    """Datasets of an image corpus whose test images benchmarks use, and the benchmarks' names.

    None where the corpus takes no test images, or is a benchmark's own.
    """
    if corpus.startswith(BENCH) or is_chips(config, corpus):
        return {}
    entry = config.corpora[corpus]
    if entry.splits is not None and "test" not in entry.splits:
        return {}
    found = {
        name: [key for key, one in config.benchmarks.items() if one.dataset == name]
        for name in entry.datasets
    }
    return {name: benchmarks for name, benchmarks in found.items() if benchmarks}


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


def probe(config: Config, run: str, benchmark: str) -> Recipe:
    """Recipe of one encoder on one benchmark."""
    entry = config.benchmarks[benchmark]
    trained_on = corpus_datasets(config, config.runs[run].corpus)
    judged_on = corpus_datasets(config, f"{BENCH}{benchmark}")
    return {
        "benchmark": benchmark,
        "synthetic": any(is_synthetic(config.datasets[name]) for name in judged_on),
        "pretraining_dataset_overlap": bool({*judged_on} & {*trained_on}),
        **entry.model_dump(mode="json", exclude={"label", "runs", *_OF_PACKING}),
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


def card_benchmarks(config: Config, run: str) -> list[str]:
    """Benchmarks whose results stand in a run's model card: those that `all` wants."""
    return [benchmark for benchmark, judged in wanted_probes(config) if judged == run]


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
        "benchmarks": named("benchmarks", config.all.benchmarks),
        "runs": [
            {
                **row,
                "objective": config.runs[row["name"]].objective,
                "pinned": bool(config.runs[row["name"]].pinned),
                "corpus": config.runs[row["name"]].corpus,
            }
            for row in named("runs", runs)
        ],
        "probes": [{"run": r, "benchmark": b} for b, r in wanted_probes(config)],
        "days": {name: compress(days) for name, days in by_dataset.items() if days},
        "digests": {"runs": pins},
    }


def corpus_label(config: Config, corpus: str) -> str:
    """A corpus's name in the report."""
    if corpus.startswith(BENCH):
        name = corpus.removeprefix(BENCH)
        return f"benchmark {config.benchmarks[name].label or name}"
    return config.corpora[corpus].label or corpus


def scientific(config: Config) -> Recipe:
    """The configuration without where things lie and how the work is laid over a machine."""
    left_out: Any = {
        "paths": True,
        "datasets": {"__all__": {"path", "obtain", "rescan", "listing"}},
        "weights": {"__all__": {"file"}},
        "runs": {"__all__": {"launch", "segments", "pinned"}},
    }
    return config.model_dump(mode="json", exclude=left_out)


def config_digest(config: Config) -> str:
    """Digest of the scientific configuration, for the report and for citing a result."""
    return digest(scientific(config))


# --- what `all` needs ----------------------------------------------------------------------------


def wanted_probes(config: Config) -> list[tuple[str, str]]:
    """(benchmark, run) of each probe of `all`."""
    return [(b, run) for b in config.all.benchmarks for run in config.benchmarks[b].runs]


def wanted_runs(config: Config) -> list[str]:
    """Runs of `all`, with those its probes, teachers and starts need, each after what it needs."""
    wanted: list[str] = []

    def want(name: str) -> None:
        for needed in runs_needed(config, name):
            want(needed)
        wanted.append(name)

    for name in [*config.all.runs, *(run for _, run in wanted_probes(config))]:
        want(name)
    return list(dict.fromkeys(wanted))


def wanted_weights(config: Config) -> list[str]:
    """Entries of `weights` that the runs of `all` are made from."""
    names = [name for run in wanted_runs(config) for name in models_of(config, run).values()]
    return [name for name in dict.fromkeys(names) if name in config.weights]


def wanted_corpora(config: Config) -> list[str]:
    """Corpora of the wanted runs, then those of the benchmarks."""
    names = [config.runs[run].corpus for run in wanted_runs(config)]
    names += [f"{BENCH}{name}" for name in config.all.benchmarks]
    return list(dict.fromkeys(names))


def dataset_days(config: Config, dataset: str) -> list[str]:
    """Days of a MODIS dataset; none for images, or where no granule is found."""
    entry = config.datasets[dataset]
    if isinstance(entry, ModisL1b):
        return sorted(_days(entry))
    return sorted(entry.dates) if isinstance(entry, SampleModis) else []


def cut_from(config: Config, corpus: str) -> list[str]:
    """Datasets of a corpus that have days of granules, so that it is known what was dropped."""
    return [name for name in corpus_datasets(config, corpus) if dataset_days(config, name)]


def required_days(config: Config, dataset: str) -> list[str]:
    """Days of a MODIS dataset that is needed; none for images.

    Raises:
        UserError: A MODIS dataset has no granule; tells where to get some and where to put them.
    """
    days = dataset_days(config, dataset)
    entry = config.datasets[dataset]
    if isinstance(entry, ModisL1b) and not days:
        raise UserError(no_granules(dataset, entry.model_dump()))
    return days


def wanted_days(config: Config) -> list[tuple[str, str]]:
    """(dataset, day) of each tile job of `all`."""
    names = {name for corpus in wanted_corpora(config) for name in corpus_datasets(config, corpus)}
    return [(name, day) for name in sorted(names) for day in dataset_days(config, name)]


def shape(config: Config) -> Recipe:
    """What the graph of jobs of `all` depends on: which things there are, and what feeds them."""
    runs = {name: config.runs[name] for name in wanted_runs(config)}
    return {
        "corpora": {name: corpus_datasets(config, name) for name in wanted_corpora(config)},
        "days": wanted_days(config),
        "probes": wanted_probes(config),
        "runs": {
            name: [run.corpus, run.segments, models_of(config, name)] for name, run in runs.items()
        },
    }


_RULES = ["fetch", "tile", "pack", "weights", "pretrain", "probe", "card", "report"]


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
