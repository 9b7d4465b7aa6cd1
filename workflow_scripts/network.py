"""Which jobs download, or wait for a person, and what to ask for where the network is.

Jobs of a site with Slurm download nothing: its compute nodes reach the network through a proxy or
not at all.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from workflow_scripts.catalogue.known import known
from workflow_scripts.config import Config
from workflow_scripts.config_sources import HubSource, LaadsSource, ManualSource, Source, StacSource
from workflow_scripts.corpora import corpus_datasets, dataset_days
from workflow_scripts.fetch.generated import holds_something, placed_by_hand
from workflow_scripts.fetch_recipe import raw_folder
from workflow_scripts.wanted import wanted_corpora, wanted_weights

Job = tuple[str, Sequence[str]]  # rule and wildcards
_OF_DAYS = ("fetch_day", "tile")  # a day is asked for, fetched, tiled and deleted


def needs_network(config: Config, jobs: Iterable[Job]) -> list[str]:
    """What of some jobs is downloaded, or has to be fetched by hand, a line for each thing."""
    days: defaultdict[str, set[str]] = defaultdict(set)
    found = []
    for rule, names in jobs:
        target = _target(config, rule, names)
        if rule == "fetch_folder" and _is_by_hand(config, names[0]):
            raw = raw_folder(config, names[0])
            found.append(f"{raw} is empty: dataset {names[0]} has to be fetched by hand")
        if target is None:
            continue
        if rule in _OF_DAYS:
            days[names[0]].add(names[1])
        elif rule == "weights":
            found.append(f"{_state(target)}: weights.{names[0]} comes from {_HUB}")
        else:
            told = f"dataset {names[0]} comes from {_of(config, names[0])}"
            found.append(f"{_state(target)}: {told}")
    for dataset, missing in days.items():
        first = Path(config.paths.data, "chips", dataset, f"{min(missing)}.h5")
        more = f" ({len(missing):,} days)" if len(missing) > 1 else ""
        told = f"dataset {dataset} comes from {_of(config, dataset)}"
        found.append(f"{_state(first)}{more}: {told}")
    return found


def _state(target: Path) -> str:
    return f"{target} is {'there, and to be made anew' if target.is_file() else 'not here'}"


def fetch_targets(config: Config, jobs: Iterable[Job]) -> list[str]:
    """Files to ask for beside `fetch_all`, which makes what `all` needs."""
    wanted = {_target(config, *job) for job in wanted_downloads(config)}
    targets = dict.fromkeys(_target(config, *job) for job in jobs)
    return [str(target) for target in targets if target and target not in wanted]


def wanted_downloads(config: Config) -> Iterator[Job]:
    """The jobs of `all` that download, whether they are still to be done or not."""
    for name in wanted_weights(config):
        yield "weights", (name,)
    names = [n for corpus in wanted_corpora(config) for n in corpus_datasets(config, corpus)]
    for name in dict.fromkeys(names):
        if known(config.datasets[name]).by_day:
            yield from (("tile", (name, day)) for day in dataset_days(config, name))
        else:
            yield "fetch_folder", (name,)


def missing_downloads(config: Config) -> list[Job]:
    """Those of `wanted_downloads` whose file is not there; Snakemake need not be asked."""
    found = []
    for job in wanted_downloads(config):
        target = _target(config, *job)
        by_hand = job[0] == "fetch_folder" and _is_by_hand(config, job[1][0])
        if by_hand or (target and not target.is_file()):
            found.append(job)
    return found


def _target(config: Config, rule: str, names: Sequence[str]) -> Path | None:
    """The file that a job makes of what it downloads; None if it downloads nothing."""
    data = Path(config.paths.data)
    if rule == "weights":
        return data / "weights" / names[0] / "model.json" if _from_hub(config, names[0]) else None
    if rule not in (*_OF_DAYS, "fetch_folder"):
        return None
    told = known(config.datasets[names[0]])
    if rule in _OF_DAYS:
        return data / "chips" / names[0] / f"{names[1]}.h5" if told.by_day else None
    if not told.is_downloaded or placed_by_hand(raw_folder(config, names[0])):
        return None
    return data / "manifests" / f"{names[0]}.jsonl"


def _is_by_hand(config: Config, dataset: str) -> bool:
    """Whether nothing is there of a dataset that only a person can get; its job says how."""
    told = known(config.datasets[dataset])
    if told.path is not None or not isinstance(told.source, ManualSource):
        return False
    return not holds_something(raw_folder(config, dataset))


def _from_hub(config: Config, name: str) -> bool:
    return config.weights[name].file is None


_HUB = "the Hugging Face hub"


def _of(config: Config, dataset: str) -> str:
    source: Source | None = known(config.datasets[dataset]).source
    if isinstance(source, HubSource):
        return _HUB
    if isinstance(source, LaadsSource):
        return "LAADS, day by day"
    if isinstance(source, StacSource):
        return f"the STAC collection {source.collection}"
    return "the web"
