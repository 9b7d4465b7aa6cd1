"""What `all` makes: its runs and probes, and all that these are made from."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from workflow_scripts.config import Config
from workflow_scripts.config_check import merged_config
from workflow_scripts.config_models import models_of, runs_needed
from workflow_scripts.corpora import (
    BENCH,
    corpus_datasets,
    dataset_days,
    judging_benchmarks,
)
from workflow_scripts.probed import probed_encoders, run_of
from workflow_scripts.protocol_settings import needs_features, needs_training
from workflow_scripts.studies import points


def wanted_probes(config: Config) -> list[tuple[str, str]]:
    """(benchmark, encoder) of each probe of `all`."""
    return [(b, encoder) for b in config.all.benchmarks for encoder in probed_encoders(config, b)]


def judgement_file(config: Config, rule: str, encoder: str, benchmark: str) -> Path:
    """The result of `probe` or `finetune`: how good an encoder is on a benchmark."""
    folder = "probes" if rule == "probe" else rule
    return Path(config.paths.results, folder, encoder, f"{benchmark}.json")


def judgements(config: Config, encoder: str, benchmark: str) -> Iterator[tuple[str, Path]]:
    """Rule and result of each job that says how good an encoder is on a benchmark."""
    entry = config.benchmarks[benchmark]
    if needs_features(entry):
        yield "probe", judgement_file(config, "probe", encoder, benchmark)
    if needs_training(entry):
        yield "finetune", judgement_file(config, "finetune", encoder, benchmark)


def wanted_runs(config: Config) -> list[str]:
    """Runs of `all`, with those its probes, teachers and starts need, each after what it needs."""
    wanted: list[str] = []

    def want(name: str) -> None:
        for needed in runs_needed(config, name):
            want(needed)
        wanted.append(name)

    probed = (run_of(config, encoder) for _, encoder in wanted_probes(config))
    for name in [*config.all.runs, *filter(None, probed)]:
        want(name)
    return list(dict.fromkeys(wanted))


def wanted_studies(config: Config) -> list[str]:
    """Studies of `all`, and those that machines of its plans were measured by."""
    names = [*config.all.studies]
    for plan in config.all.plans:
        machine = config.machines.get(config.plans[plan].machine)
        names += [machine.study] if machine and machine.study else []
    return list(dict.fromkeys(names))


def own_entries(config: Config, key: Literal["studies", "plans"]) -> list[str]:
    """What `snakemake scaling` and `snakemake plan` make: what the user's configuration adds.

    Args:
        config: The embedded default, with what was given over it.
        key: Of what.

    Returns:
        Names; where nothing was added, the sample's.
    """
    names, sample = list(getattr(config, key)), merged_config()[key]
    return [name for name in names if name not in sample] or names


def wanted_weights(config: Config) -> list[str]:
    """Entries of `weights` that the runs of `all` are made from, and that its probes judge."""
    names = [name for run in wanted_runs(config) for name in models_of(config, run).values()]
    names += [encoder for _, encoder in wanted_probes(config)]
    return [name for name in dict.fromkeys(names) if name in config.weights]


def wanted_corpora(config: Config) -> list[str]:
    """Corpora of the wanted runs, then those of the benchmarks."""
    names = [config.runs[run].corpus for run in wanted_runs(config)]
    names += [f"{BENCH}{name}" for name in config.all.benchmarks]
    names += [corpus for name in wanted_studies(config) if (corpus := config.studies[name].corpus)]
    return list(dict.fromkeys(names))


def wanted_days(config: Config) -> list[tuple[str, str]]:
    """(dataset, day) of each tile job of `all`."""
    names = {name for corpus in wanted_corpora(config) for name in corpus_datasets(config, corpus)}
    return [(name, day) for name in sorted(names) for day in dataset_days(config, name)]


def card_benchmarks(config: Config, run: str) -> list[str]:
    """Benchmarks whose results stand in a run's model card: those that `all` wants."""
    return [benchmark for benchmark, judged in wanted_probes(config) if judged == run]


def shape(config: Config) -> dict[str, Any]:
    """What the graph of jobs of `all` depends on: which things there are, and what feeds them."""
    runs = {name: config.runs[name] for name in wanted_runs(config)}
    return {
        "corpora": {name: corpus_datasets(config, name) for name in wanted_corpora(config)},
        "judged": {name: judging_benchmarks(config, name) for name in wanted_corpora(config)},
        "days": wanted_days(config),
        "probes": [
            [benchmark, encoder, needs_features(entry), needs_training(entry)]
            for benchmark, encoder in wanted_probes(config)
            for entry in [config.benchmarks[benchmark]]
        ],
        "points": {name: len(points(config, name)) for name in wanted_studies(config)},
        "plans": config.all.plans,
        "runs": {
            name: [run.corpus, run.segments, models_of(config, name)] for name, run in runs.items()
        },
    }
