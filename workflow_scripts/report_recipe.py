"""The recipe of the report, and the scientific configuration that it shows and cites."""

from typing import Any

import yaml

from workflow_scripts.catalogue.words import cited
from workflow_scripts.config import Config
from workflow_scripts.config_models import models_of
from workflow_scripts.corpora import (
    BENCH,
    corpus_datasets,
    corpus_label,
    cut_from,
    dataset_days,
    is_chips,
    is_synthetic,
    judged_datasets,
)
from workflow_scripts.dates import compress
from workflow_scripts.digests import digest
from workflow_scripts.probed import run_of, split_name
from workflow_scripts.protocol_settings import needs_features, needs_training
from workflow_scripts.published import key_of
from workflow_scripts.study_shape import study_shape
from workflow_scripts.wanted import (
    wanted_corpora,
    wanted_probes,
    wanted_runs,
    wanted_studies,
    wanted_weights,
)

Recipe = dict[str, Any]


def report(config: Config, pins: dict[str, Any]) -> Recipe:
    """Recipe of the report on what `all` makes.

    Args:
        config: The configuration.
        pins: Stored and current digests of each pinned run.
    """
    corpora = wanted_corpora(config)
    datasets = sorted({name for c in corpora for name in corpus_datasets(config, c)})
    by_dataset = {name: dataset_days(config, name) for name in datasets}
    return {
        **shown(config),
        "name": config.name,
        "config_digest": config_digest(config),
        "config_yaml": yaml.safe_dump(scientific(config), sort_keys=True, allow_unicode=True),
        "datasets": [
            {
                **row,
                "kind": config.datasets[row["name"]].kind,
                "synthetic": is_synthetic(config.datasets[row["name"]]),
                **cited(config.datasets[row["name"]]),
            }
            for row in _named(config, "datasets", datasets)
        ],
        "energy": config.energy.model_dump(mode="json"),
        "days": {name: compress(days) for name, days in by_dataset.items() if days},
        "digests": {"runs": pins},
    }


def _named(config: Config, kind: str, names: list[str]) -> list[Recipe]:
    entries = getattr(config, kind)
    return [{"name": name, "label": entries[name].label or name} for name in names]


def shown(config: Config) -> Recipe:
    """What of the recipe the names of figures and tables follow from; no day is looked up for it.

    Args:
        config: The configuration.
    """
    return {
        **config.report.model_dump(mode="json"),
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
            for name in wanted_corpora(config)
        ],
        "benchmarks": [
            {
                **row,
                "published": config.benchmarks[row["name"]].published or key_of(row["name"]),
                "corpus": f"{BENCH}{row['name']}",
            }
            for row in _named(config, "benchmarks", config.all.benchmarks)
        ],
        "runs": [
            {
                **row,
                "objective": config.runs[row["name"]].objective,
                "pinned": bool(config.runs[row["name"]].pinned),
                "corpus": config.runs[row["name"]].corpus,
            }
            for row in _named(config, "runs", wanted_runs(config))
        ],
        "probes": reported_probes(config),
        "studies": [
            {**row, **study_shape(config, row["name"])}
            for row in _named(config, "studies", wanted_studies(config))
        ],
        "plans": [
            {**row, "study": getattr(config.machines.get(machine), "study", None)}
            for row in _named(config, "plans", config.all.plans)
            for machine in [config.plans[row["name"]].machine]
        ],
    }


def crate(config: Config, pins: dict[str, Any]) -> Recipe:
    """Recipe of the RO-Crate: that of the report, and what its things were made from.

    Args:
        config: The configuration.
        pins: Stored and current digests of each pinned run.
    """
    told = report(config, pins)
    return {
        **told,
        "corpora": [
            {**row, "datasets": corpus_datasets(config, row["name"])} for row in told["corpora"]
        ],
        "studies": [
            {**row, "corpus": config.studies[row["name"]].corpus} for row in told["studies"]
        ],
        "weights": wanted_weights(config),
        "models": {run: models_of(config, run) for run in wanted_runs(config)},
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
    # Of a source: what it is had by, but not what it is.
    reached = {"url", "keep", "sign", "token_env", "instructions"}
    places = dict.fromkeys(("path", "list", "obtain", "rescan", "listing"), True)
    left_out: Any = {
        "paths": True,
        "transfer": True,
        "datasets": {"__all__": {**places, "source": reached}},
        "weights": {"__all__": {"file"}},
        "runs": {"__all__": {"launch", "segments", "pinned"}},
    }
    return config.model_dump(mode="json", exclude=left_out)


def config_digest(config: Config) -> str:
    """Digest of the scientific configuration, for the report and for citing a result."""
    return digest(scientific(config))
