"""How benchmarks judge their encoders: settings of their protocols, and what features they need."""

from typing import Any

from workflow_scripts.config import Config
from workflow_scripts.config_benchmarks import Benchmark
from workflow_scripts.config_weights import family_of
from workflow_scripts.probed import run_of

FINETUNE = "finetune"  # the protocol that needs no features


def needs_features(benchmark: Benchmark) -> bool:
    """Whether some protocol judges features of the frozen encoder."""
    return any(name != FINETUNE for name in benchmark.protocols)


def needs_training(benchmark: Benchmark) -> bool:
    """Whether encoders are fine-tuned on it."""
    return FINETUNE in benchmark.protocols


def feature_protocols(config: Config, encoder: str, benchmark: str) -> list[dict[str, Any]]:
    """Each protocol on features with its settings, in the order of the configuration."""
    entry = config.benchmarks[benchmark]
    shared = {"poolings": list(entry.poolings), "holdout": entry.holdout}
    pooling, views = lars_pooling(config, encoder, benchmark), lars_views(entry)
    # Without views nothing is augmented.
    lars = entry.lars.model_dump(mode="json", exclude=set() if views else {"augment"})
    settings: dict[str, dict[str, Any]] = {
        "linear": {
            "strengths": entry.strengths, "normalisations": list(entry.normalisations), **shared,
        },
        "knn": {**entry.knn.model_dump(mode="json"), **shared},
        "ridge": {**entry.ridge.model_dump(mode="json"), **shared},
        "few_shot": {
            **entry.few_shot.model_dump(mode="json"), "normalisation": entry.normalisations[0],
            "poolings": list(entry.poolings[:1]),
        },
        "lars": {**lars, "pooling": pooling, "poolings": [pooling], "views": views},
    }  # fmt: skip
    return [{"protocol": name, **settings[name]} for name in entry.protocols if name != FINETUNE]


def lars_pooling(config: Config, encoder: str, benchmark: str) -> str:
    """What `lars` looks at: as configured, or the class token of a ViT, or the mean."""
    run = run_of(config, encoder)
    family = (
        config.runs[run].encoder.plain()["family"]
        if run
        else family_of(config.weights[encoder].architecture)
    )
    return config.benchmarks[benchmark].lars.pooling or ("class" if family == "vit" else "mean")


def lars_views(benchmark: Benchmark) -> int:
    """How many augmented views of each training sample `lars` learns from; 0 without it."""
    if "lars" not in benchmark.protocols:
        return 0
    views = benchmark.lars.views
    return benchmark.lars.epochs if views is None else views


def needed_views(config: Config, benchmark: str) -> dict[str, Any]:
    """The views whose features are kept: how many, how drawn, and of which random encoders."""
    entry = config.benchmarks[benchmark]
    count = lars_views(entry)
    if not count:  # how they would be drawn is no part of the features
        return {"count": 0, "augment": None, "seeds": []}
    augment = entry.lars.augment.model_dump(mode="json")
    return {"count": count, "augment": augment, "seeds": entry.seeds}


def needed_poolings(config: Config, encoder: str, benchmark: str) -> list[str]:
    """What is kept of an encoder's output, `mean` and `class`."""
    entry = config.benchmarks[benchmark]
    used: set[str] = set(entry.poolings)
    if "lars" in entry.protocols:
        used.add(lars_pooling(config, encoder, benchmark))
    return [one for one in ("mean", "class") if any(one in name.split("+") for name in used)]
