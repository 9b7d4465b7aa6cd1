"""What benchmarks judge: runs, runs at steps of theirs, and weights from elsewhere.

An encoder is named by one word, `<run>`, `<run>@<step>` or the name of an entry of `weights`, and
is a model folder (see `models.folder`).
"""

from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from workflow_scripts.config import Config


def split_name(encoder: str) -> tuple[str, int | None]:
    """`scenes-mae@936` → `("scenes-mae", 936)`; the step is None of a name without one."""
    name, _, step = encoder.partition("@")
    return name, int(step) if step else None


def run_of(config: Config, encoder: str) -> str | None:
    """The run that an encoder is of; None for weights from elsewhere."""
    name, _ = split_name(encoder)
    return name if name in config.runs else None


def encoder_folder(config: Config, encoder: str) -> Path:
    """The model folder of an encoder, made or not."""
    name, step = split_name(encoder)
    if name in config.weights:
        return Path(config.paths.data) / "weights" / name
    run = Path(config.paths.results) / "runs" / name
    return run if step is None else run / "steps" / str(step)


def probed_encoders(config: Config, benchmark: str) -> list[str]:
    """The encoders that a benchmark judges: those listed, then its runs along their steps."""
    entry = config.benchmarks[benchmark]
    along = [f"{run}@{step}" for run, steps in entry.along.items() for step in sorted(steps)]
    return list(dict.fromkeys([*entry.encoders, *along]))


def snapshots_of(config: Config, run: str) -> list[int]:
    """Steps of a run at which any benchmark judges it, ascending: those whose checkpoints stay."""
    named = (
        split_name(encoder)
        for benchmark in config.benchmarks
        for encoder in probed_encoders(config, benchmark)
    )
    return sorted({step for name, step in named if name == run and step is not None})


def broken_encoders(config: Config, nearest: Callable[[str, Iterable[str]], str]) -> Iterator[str]:
    """Encoders of benchmarks that there are not, a line each.

    Args:
        config: The configuration, its types right.
        nearest: Words that name the entry which was perhaps meant.
    """
    for key, benchmark in config.benchmarks.items():
        for encoder in benchmark.encoders:
            name, step = split_name(encoder)
            where = f"benchmarks.{key}.encoders"
            if step is not None and name in config.weights:
                yield f"{where}: {encoder!r} has no steps, as {name!r} is an entry of `weights`"
            elif name not in config.runs and name not in config.weights:
                names = [*config.runs, *([] if step else config.weights)]
                what = "run" if step else "run and no entry of `weights`"
                yield f"{where}: no {what} is called {name!r}{nearest(name, names)}"
        for name in benchmark.along:
            if name not in config.runs:
                why = (
                    "an entry of `weights` has no steps; list it in `encoders`"
                    if name in config.weights
                    else f"no run is called so{nearest(name, config.runs)}"
                )
                yield f"benchmarks.{key}.along.{name}: {why}"
