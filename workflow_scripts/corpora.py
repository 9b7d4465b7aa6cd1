"""What the corpora of a configuration are made of: their datasets, and the days of these."""

from pathlib import Path

from workflow_scripts.catalogue.known import known
from workflow_scripts.config import Config
from workflow_scripts.config_data import Aicca, Dataset
from workflow_scripts.config_modis import Granules, ModisL1b, SampleModis
from workflow_scripts.dates import expand
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.granules import listed_days, no_granules

BENCH = "bench-"  # corpora of benchmarks are packed under this prefix


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


def judging_benchmarks(config: Config, corpus: str) -> dict[str, str]:
    """Benchmarks whose test images may be among the images of a corpus, and their datasets.

    Those on its datasets, less those that judge by the dataset's own split where the corpus does
    not take its test images. None where the corpus is a benchmark's own.
    """
    if corpus.startswith(BENCH) or is_chips(config, corpus):
        return {}
    entry = config.corpora[corpus]
    takes_test = entry.splits is None or "test" in entry.splits
    return {
        name: one.dataset
        for name, one in config.benchmarks.items()
        if one.dataset in entry.datasets and (takes_test or one.split.by != "dataset")
    }


def judged_datasets(config: Config, corpus: str) -> dict[str, list[str]]:
    """Datasets of an image corpus whose test images benchmarks use, and the benchmarks' names."""
    found: dict[str, list[str]] = {}
    for benchmark, dataset in judging_benchmarks(config, corpus).items():
        found.setdefault(dataset, []).append(benchmark)
    return dict(sorted(found.items()))


def corpus_label(config: Config, corpus: str) -> str:
    """A corpus's name in the report."""
    if corpus.startswith(BENCH):
        name = corpus.removeprefix(BENCH)
        return f"benchmark {config.benchmarks[name].label or name}"
    return config.corpora[corpus].label or corpus


def day_digests(entry: ModisL1b) -> dict[str, str]:
    """Digest of the files of each day of a dataset, by day."""
    if entry.path is None:
        return {}
    days = listed_days(Path(entry.path), entry.listing, entry.platform)
    first, last = entry.first or "", entry.last or "9999"
    return {day: found for day, found in days.items() if first <= day <= last}


def dataset_days(config: Config, dataset: str) -> list[str]:
    """Days of a MODIS dataset; none for images.

    Where no granule is there yet these are all from `first` to `last`, so that an experiment can be
    planned before its data lies here or is fetched; none where these are not both given.
    """
    entry = config.datasets[dataset]
    if isinstance(entry, ModisL1b):
        return sorted(day_digests(entry)) or _asked_for(entry)
    return sorted(entry.dates) if isinstance(entry, SampleModis) else []


def _asked_for(entry: ModisL1b) -> list[str]:
    return expand(f"{entry.first}/{entry.last}") if entry.first and entry.last else []


def cut_from(config: Config, corpus: str) -> list[str]:
    """Datasets of a corpus that have days of granules, so that it is known what was dropped."""
    return [name for name in corpus_datasets(config, corpus) if dataset_days(config, name)]


def are_assumed(config: Config, dataset: str) -> bool:
    """Whether the days of a dataset are only those asked for: no granule of it is there."""
    entry = config.datasets[dataset]
    return isinstance(entry, ModisL1b) and not known(entry).by_day and not day_digests(entry)


def planned_days(config: Config, dataset: str) -> list[str]:
    """Days of a MODIS dataset in a plan; none for images.

    Raises:
        UserError: It has no granule, and it is not said which days it should have.
    """
    days = dataset_days(config, dataset)
    return days if days else required_days(config, dataset)


def required_days(config: Config, dataset: str) -> list[str]:
    """Days of a MODIS dataset that is needed now; none for images.

    Raises:
        UserError: A MODIS dataset has no granule; tells where to get some and where to put them.
    """
    if are_assumed(config, dataset):
        raise UserError(no_granules(dataset, config.datasets[dataset].model_dump()))
    return dataset_days(config, dataset)
