"""Results of probes as tables tell them: read, checked for today's form, and put into words."""

from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.probe.protocol_order import in_order

Json = dict[str, Any]

NONE = "–"
_NEEDED = ("encoder", "benchmark", "classes", "multi_label", "seeds", "splits", "protocols")
_TITLES = {"lars": "LARS", "knn": "kNN", "finetune": "fine-tuning"}
# What published rows call a protocol of ours.
_PUBLISHED_NAMES = {"linear": "linear probe", "lars": "linear probe", "finetune": "fine-tuning"}


def read_result(path: Path) -> Json:
    """The result of a probe or of fine-tuning.

    Raises:
        UserError: No such file, no result of these stages, or one of an older form.
    """
    if path.is_dir() or path.suffix != ".json":
        raise UserError(
            f"{path}: no result; give JSON files, such as results/probes/<encoder>/<benchmark>.json"
        )
    found = read_json(path)
    if isinstance(found, dict) and "benchmark" in found and "protocol" in found:
        raise UserError(
            f"{path}: a probe's result of an older form, with the one protocol "
            f"{found['protocol']!r}; probe again"
        )
    missing = [name for name in _NEEDED if not isinstance(found, dict) or name not in found]
    if missing:
        raise UserError(
            f"{path}: no result of a probe (it has no {', '.join(missing)}); give files of "
            "results/probes or results/finetune"
        )
    return dict(found)


def headline(result: Json) -> str:
    """The protocol whose verdicts are shown in pictures."""
    named: str | None = result.get("headline")
    return named or in_order(result["protocols"])[0]


def metrics(result: Json) -> list[tuple[str, str]]:
    """Key and title of both metrics of a result, the one that counts first."""
    if result["multi_label"]:
        return [("map_micro", "micro AP"), ("map_macro", "macro AP")]
    return [("top1", "top-1"), ("top5", "top-5")]


def spread(found: Json | None, decimals: int = 1) -> str:
    """`71.2 ± 0.4` percent, without a spread where there was one trial; a dash for None."""
    if found is None:
        return NONE
    text = f"{found['mean']:.{decimals}f}"
    return f"{text} ± {found['std']:.{decimals}f}" if len(found["values"]) > 1 else text


def signed(percent: float) -> str:
    """`+2.50`; nothing is `+0.00`, never `-0.00`."""
    return f"{round(percent, 2) + 0.0:+.2f}"


def judged(result: Json, protocol: str, who: str, metric: str) -> Json | None:
    """Mean, deviation and values of one metric; None where `who` was not judged so."""
    found: Json | None = result["protocols"][protocol]["judged"].get(who, {}).get(metric)
    return found


def protocol_title(name: str) -> str:
    """`few_shot_5` → `few shot, 5`, `knn` → `kNN`."""
    kind, _, shots = name.rpartition("_")
    return f"few shot, {shots}" if kind == "few_shot" else _TITLES.get(name, name)


def published_name(protocol: str) -> str | None:
    """What the file of published numbers calls a protocol; None where it has none such."""
    return _PUBLISHED_NAMES.get(protocol)


def split_digests(result: Json) -> list[tuple[str, str]]:
    """Name and digest of each split: two results are of the same samples if these are equal."""
    return [(split["name"], split["digest"]) for split in result["splits"]]


def chosen_text(chosen: list[Json]) -> str:
    """Hyper-parameters of all trials in one line: `pooling mean; strength 0.1, 1`.

    Each name once, in the order of the alphabet, with its different values in that of the trials.
    """
    parts = []
    for name in sorted({name for trial in chosen for name in trial}):
        if name in ("split", "seed"):
            continue
        values = dict.fromkeys(_plain(trial[name]) for trial in chosen if name in trial)
        parts.append(f"{name.replace('_', ' ')} {', '.join(values)}")
    return "; ".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, list):
        return "+".join(map(_plain, value))
    return str(value)


def overlaps(result: Json) -> Json:
    """Samples of the splits that were in the pretraining corpus.

    Returns:
        `known`: whether that could be looked up; `train` and `test`: how many, the most of any
        split; `test_of` and `train_of`: of how many there.
    """
    known = [split for split in result["splits"] if split.get("overlap") is not None]
    told: Json = {"known": len(known) == len(result["splits"])}
    for part in ("train", "test"):
        pairs = [(split["overlap"][part], split[f"n_{part}"]) for split in known]
        told[part], told[f"{part}_of"] = max(pairs, default=(0, 0))
    return told
