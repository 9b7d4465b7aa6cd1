"""Which models a run is made from: the teacher of GFM, and what its encoder starts from."""

from collections.abc import Callable, Iterable, Iterator

from workflow_scripts.config import Config
from workflow_scripts.config_runs import GfmRun
from workflow_scripts.config_weights import family_of

_SAME = ("width", "heads", "mlp_ratio", "gated", "extra_norm_period")  # in a run and its start


def models_of(config: Config, run: str) -> dict[str, str]:
    """Names (or paths, with a /) of the models a run is made from, by role."""
    entry = config.runs[run]
    teacher = entry.teacher if isinstance(entry, GfmRun) else None
    found = {"teacher": teacher, "start": entry.start}
    return {role: name for role, name in found.items() if name is not None}


def runs_needed(config: Config, run: str) -> list[str]:
    """The other runs whose weights a run needs."""
    return [name for name in models_of(config, run).values() if name in config.runs]


def broken_models(config: Config, nearest: Callable[[str, Iterable[str]], str]) -> Iterator[str]:
    """Names that are no model, starts of another family, and runs that wait for themselves.

    Args:
        config: The configuration, its types right.
        nearest: Words that name the entry which was perhaps meant.
    """
    for name in sorted({*config.weights} & {*config.runs}):
        yield f"weights.{name}: a run is called so too; choose another name"
    for key in config.runs:
        names = [name for name in (*config.runs, *config.weights) if name != key]
        for role, name in models_of(config, key).items():
            if "/" not in name and name not in names:
                what = "other run and no entry of weights"
                yield f"runs.{key}.{role}: no {what} is called {name!r}{nearest(name, names)}"
        yield from _unlike_its_start(config, key)
        yield from _no_teacher(config, key)
        if key in upstream(config, key):
            yield (
                f"runs.{key}: needs its own weights by way of {', '.join(upstream(config, key))}; "
                "a start or a teacher must be made before"
            )


def _unlike_its_start(config: Config, run: str) -> Iterator[str]:
    """A start whose weights cannot fit: another family or, of a run, other widths and heads."""
    entry = config.runs[run]
    start, ours = entry.start or "", entry.encoder.plain()
    if start in config.runs:
        theirs = config.runs[start].encoder.plain()
    elif start in config.weights:
        theirs = {"family": family_of(config.weights[start].architecture)}
    else:
        return
    if theirs["family"] != ours["family"]:
        yield (
            f"runs.{run}.start: {start!r} is a {theirs['family']} and this run's encoder a "
            f"{ours['family']}"
        )
        return
    for name in _SAME if "width" in theirs else ():
        seen, expected = theirs.get(name), ours.get(name)
        if seen != expected:
            yield (
                f"runs.{run}.start: {start!r} has encoder.{name} {seen} and this run {expected}; "
                "they must be the same"
            )


def _no_teacher(config: Config, run: str) -> Iterator[str]:
    """A teacher that has no last stage to be read before; its run would be trained in vain."""
    name = models_of(config, run).get("teacher", "")
    if name in config.runs:
        plain = config.runs[name].encoder.plain()
        family, stages = plain["family"], len(plain["depths"])
    elif name in config.weights:
        family, stages = family_of(config.weights[name].architecture), 4
    else:
        return
    if family == "vit" or stages < 2:
        seen = "a vit" if family == "vit" else f"a {family} of one stage"
        yield (
            f"runs.{run}.teacher: {name!r} is {seen}; gfm needs a swin or swinv2 of two or more "
            "stages"
        )


def upstream(config: Config, run: str) -> list[str]:
    """Every run whose weights a run needs, directly or not; itself too if there is a circle."""
    found: list[str] = []
    waiting = runs_needed(config, run)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.append(name)
            waiting += runs_needed(config, name)
    return found
