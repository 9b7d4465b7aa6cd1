"""Read and check a configuration: each mistake named with its key, value and nearest name."""

import difflib
import re
import types
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from workflow_scripts.config import Config
from workflow_scripts.config_data import Aicca, ImagePacking
from workflow_scripts.config_masks import impossible_mask
from workflow_scripts.config_models import broken_models
from workflow_scripts.config_modis import Granules
from workflow_scripts.config_origin import broken_origins, in_catalogue
from workflow_scripts.config_runs import GfmRun, Launch
from workflow_scripts.config_scaling import broken_studies
from workflow_scripts.config_unfit import unfit_encoders
from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.strategies import parts_of, shard_count, share_of
from workflow_scripts.probed import broken_encoders, probed_encoders

ROOT = Path(__file__).resolve().parent.parent


def check_config(raw: Mapping[str, Any]) -> Config:
    """Validate a merged configuration.

    Raises:
        UserError: All that is wrong, one line a mistake.
    """
    try:
        config = Config.model_validate(dict(raw))
    except ValidationError as error:
        problems = [_explain(problem) for problem in error.errors(include_url=False)]
    else:
        # Whether encoders fit can be asked once all that is named is there.
        problems = list(_broken_references(config)) or list(unfit_encoders(config))
        if not problems:
            return config
    raise UserError("the configuration cannot be used:\n  " + "\n  ".join(problems))


def load_config(*files: Path) -> Config:
    """The embedded default with further files merged over it, as `snakemake --configfile` does.

    That is: the files with each other first, the outcome over the default.

    Raises:
        UserError: A file is missing, is not YAML, or the result is not valid.
    """
    return check_config(merged_config(*files))


def merged_config(*files: Path) -> dict[str, Any]:
    """The embedded default with further files merged over it, not checked yet.

    Raises:
        UserError: A file is missing or is not YAML.
    """
    merged: dict[str, Any] = {}
    for file in files:
        merged = _merge(merged, _loaded(file))
    return without_samples(_merge(_loaded(ROOT / "config.yaml"), merged), merged)


def without_samples(merged: dict[str, Any], given: Mapping[str, Any]) -> dict[str, Any]:
    """A configuration with an `all` of its own has the studies and plans that this names.

    Files are merged key by key; the sample's would stay in every experiment that names none. So
    would the sample's baseline of ARP, where benchmarks judge other encoders.

    Args:
        merged: The embedded default with what was given over it.
        given: What was given: files, and `--config`.
    """
    out, own, report = dict(merged), given.get("all"), given.get("report")
    if isinstance(own, Mapping):
        none: dict[str, Any] = {key: [] for key in ("studies", "plans") if key not in own}
        out["all"] = {**merged["all"], **none}
    told = isinstance(report, Mapping) and "arp_baseline" in report
    if given.keys() & {"all", "benchmarks"} and not told and isinstance(merged["report"], Mapping):
        out["report"] = {k: v for k, v in merged["report"].items() if k != "arp_baseline"}
    return out


def _loaded(file: Path) -> dict[str, Any]:
    try:
        loaded = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
    except OSError as error:
        raise UserError(f"{file}: {error.strerror}") from None
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{file}: expected keys and values, found {type(loaded).__name__}")
    return loaded


def _merge(base: dict[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    out = dict(base)
    for key, value in over.items():
        old = out.get(key)
        both = isinstance(old, dict) and isinstance(value, dict)
        out[key] = _merge(old, value) if both else value  # type: ignore[arg-type]
    return out


# --- what pydantic says, in the user's words -------------------------------------------------


def _explain(problem: Any) -> str:
    key, names = _readable(problem["loc"])
    value = problem["input"]
    kind = problem["type"]
    if kind == "extra_forbidden":
        unknown = str(problem["loc"][-1])
        return f"{key}: unknown key (value {_short(value, key)}){_nearest(unknown, names)}"
    if kind == "missing":
        return f"{key}: missing; it has no default"
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        context = problem["ctx"]
        tag = context["discriminator"].strip("'")
        expected = [name.strip("' ") for name in context.get("expected_tags", "").split(",")]
        seen = value.get(tag) if isinstance(value, Mapping) else value
        if kind == "union_tag_not_found":
            return f"{key}.{tag}: missing; it has no default"
        return f"{key}.{tag}: {seen!r} is none of {', '.join(expected)}{_nearest(seen, expected)}"
    message = problem["msg"].removeprefix("Value error, ")
    hint = ""
    if kind == "literal_error":
        hint = _nearest(value, re.findall(r"'([^']+)'", problem["ctx"]["expected"]))
    return f"{key}: {message} (value {_short(value, key)}){hint}"


_USER = re.compile(r"://[^/@'\"\s]*@")
_QUERY = re.compile(r"(://[^'\"\s?]*)\?[^'\"\s]*")


def _short(value: Any, key: str) -> str:
    """A value as it is told: without what may be a secret, since errors go to logs."""
    if re.search("token|secret|password", key.rpartition(".")[2]):
        return "not shown: it may be a secret"
    text = _QUERY.sub(r"\1?…", _USER.sub("://", repr(value)))
    return text if len(text) <= 80 else text[:77] + "…"


def _nearest(wrong: Any, names: Iterable[str]) -> str:
    close = difflib.get_close_matches(str(wrong), list(names), n=1, cutoff=0.6)
    return f"; did you mean {close[0]!r}?" if close else ""


def _readable(location: tuple[int | str, ...]) -> tuple[str, list[str]]:
    """A dotted key without pydantic's union tags, and the names valid at its last step."""
    annotation: Any = Config
    metadata: Iterable[Any] = ()
    parts: list[str] = []
    names: list[str] = []
    for step in location:
        annotation, tagged = _resolve(annotation, metadata, step)
        metadata = ()
        if tagged:
            continue
        parts.append(str(step))
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            names = list(annotation.model_fields)
            field: FieldInfo | None = annotation.model_fields.get(str(step))
            annotation = field.annotation if field else None
            metadata = [field] if field else []
        elif get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        elif get_origin(annotation) in (list, tuple):
            annotation = get_args(annotation)[0]
    return ".".join(parts), names


def _resolve(annotation: Any, metadata: Iterable[Any], step: int | str) -> tuple[Any, bool]:
    """Step through Annotated and tagged unions: (type, True) when `step` was only a union's tag."""
    while hasattr(annotation, "__metadata__"):
        metadata = annotation.__metadata__
        annotation = annotation.__origin__
    if get_origin(annotation) in (Union, types.UnionType):
        members = [member for member in get_args(annotation) if member is not type(None)]
        if len(members) == 1:
            return _resolve(members[0], (), step)
        tag = next((m.discriminator for m in metadata if isinstance(m, FieldInfo)), None)
        for member in get_args(annotation):
            if not (isinstance(member, type) and issubclass(member, BaseModel)):
                continue
            if isinstance(tag, str) and step in get_args(member.model_fields[tag].annotation):
                return member, True
    return annotation, False


# --- names that point at nothing ---------------------------------------------------------------


def _broken_references(config: Config) -> Iterator[str]:
    def unknown(key: str, name: str, names: Iterable[str], what: str) -> Iterator[str]:
        names = list(names)
        if name not in names:
            hint = in_catalogue(name) if what == "dataset" else ""
            yield f"{key}: no {what} is called {name!r}{hint or _nearest(name, names)}"

    for name in config.all.runs:
        yield from unknown("all.runs", name, config.runs, "run")
    for name in config.all.benchmarks:
        yield from unknown("all.benchmarks", name, config.benchmarks, "benchmark")
    for name in config.all.studies:
        yield from unknown("all.studies", name, config.studies, "study")
    for name in config.all.plans:
        yield from unknown("all.plans", name, config.plans, "plan")
    if baseline := config.report.arp_baseline:
        shown = config.benchmarks.keys() & (config.all.benchmarks or config.benchmarks)
        judged = [name for key in sorted(shown) for name in probed_encoders(config, key)]
        yield from unknown("report.arp_baseline", baseline, judged, "judged encoder")
    for key, corpus in config.corpora.items():
        if key.startswith("bench-"):
            yield f"corpora.{key}: names that begin with bench- are kept for benchmarks"
        for name in corpus.datasets:
            yield from unknown(f"corpora.{key}.datasets", name, config.datasets, "dataset")
        known = [config.datasets[name] for name in corpus.datasets if name in config.datasets]
        sources = [dataset for dataset in known if not isinstance(dataset, Aicca)]
        if len({isinstance(dataset, Granules) for dataset in sources}) > 1:
            yield f"corpora.{key}.datasets: images and MODIS granules cannot be mixed in one corpus"
    for key, run in config.runs.items():
        yield from unknown(f"runs.{key}.corpus", run.corpus, config.corpora, "corpus")
        yield from impossible_mask(f"runs.{key}", run)
        if isinstance(run, GfmRun) and len(run.encoder.depths) < 2:
            yield f"runs.{key}.encoder.depths: gfm needs two or more stages, not 1"
        yield from impossible_layout(f"runs.{key}", run.batch, run.launch)
    yield from broken_origins(config, _nearest)
    yield from broken_models(config, _nearest)
    yield from broken_studies(config, unknown)
    yield from _broken_benchmarks(config, unknown)
    yield from _broken_chips(config, unknown)


def impossible_layout(key: str, batch: int, launch: Launch) -> Iterator[str]:
    """What `strategies.check_layout` refuses when the run starts, by its key.

    Args:
        key: Of the run.
        batch: Samples a step, over all ranks.
        launch: How the run is laid over its ranks.
    """
    ranks = launch.nodes * launch.ranks_per_node
    checks: list[tuple[str, Callable[[], int]]] = [
        ("launch.strategy", lambda: shard_count(launch.strategy, ranks)),
        ("batch", lambda: share_of(batch, ranks)),
    ]
    if batch % ranks == 0:
        checks.append(("launch.accumulate", lambda: parts_of(batch // ranks, launch.accumulate)))
    for field, check in checks:
        try:
            check()
        except UserError as error:
            yield f"{key}.{field}: {error}"


def _broken_chips(config: Config, unknown: Any) -> Iterator[str]:
    """What only chips or only images can have."""

    def kinds(names: Iterable[str]) -> set[type]:
        return {type(config.datasets[name]) for name in names if name in config.datasets}

    for key, dataset in config.datasets.items():
        for name in dataset.chips if isinstance(dataset, Aicca) else ():
            yield from unknown(f"datasets.{key}.chips", name, config.datasets, "dataset")
            if not all(issubclass(kind, Granules) for kind in kinds([name])):
                yield f"datasets.{key}.chips: {name!r} is no dataset of MODIS granules"
    for key, corpus in config.corpora.items():
        found = kinds(corpus.datasets)
        if Aicca in found:
            yield f"corpora.{key}.datasets: labels are for benchmarks; name the datasets of chips"
        if any(issubclass(kind, Granules) for kind in found):
            for field in sorted(corpus.model_fields_set - {"label", "datasets"}):
                yield f"corpora.{key}.{field}: does not apply to chips; drop it"
    for key, benchmark in config.benchmarks.items():
        chips = any(issubclass(kind, Aicca | Granules) for kind in kinds([benchmark.dataset]))
        of_images = {"max_set_aside", "split", *ImagePacking.model_fields}
        for field in sorted(benchmark.model_fields_set & of_images) if chips else ():
            yield f"benchmarks.{key}.{field}: does not apply to chips; drop it"
    for key, run in config.runs.items():
        names = config.corpora[run.corpus].datasets if run.corpus in config.corpora else []
        images = [kind for kind in kinds(names) if not issubclass(kind, Granules)]
        if run.scaling == "mean_2sigma" and images:
            yield (
                f"runs.{key}.scaling: mean_2sigma is for chips, and corpus {run.corpus!r} holds "
                "images; take standardize"
            )


def _broken_benchmarks(config: Config, unknown: Any) -> Iterator[str]:
    targets = ["all", *(key.replace("-", "_") for key in config.benchmarks)]
    for key, benchmark in config.benchmarks.items():
        if targets.count(key.replace("-", "_")) > 1:
            yield f"benchmarks.{key}: the target probe_{key.replace('-', '_')} would stand twice"
        yield from unknown(
            f"benchmarks.{key}.dataset", benchmark.dataset, config.datasets, "dataset"
        )
    yield from broken_encoders(config, _nearest)
