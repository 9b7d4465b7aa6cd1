"""What the report shows of a run's energy: numbers for its facts, and power over time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.energy.climate import NOT_MEASURED, co2_words, grid_words, watts_words
from workflow_scripts.energy.measured import measured
from workflow_scripts.report.collect import RunData
from workflow_scripts.report.run_facts import mean_of_segments

Json = dict[str, Any]
MOST_POINTS = 400  # of a curve of power: three stand in a row

POWER = ("seconds", "watts", "utilisation", "memory_bytes")


def energy_facts(run: RunData, energy: Json) -> list[tuple[str, str]]:
    """Arithmetic speed, energy, power and CO2 of a run, line by line.

    Args:
        run: The run.
        energy: What energy means for the climate, of the report's recipe.
    """
    found = measured(run.facts or {})
    co2 = co2_words(found.whole, energy)
    return [
        ("speed of a device", _mean(run, "tflops", "{:,.3g} TFLOP/s")),
        ("model FLOPs utilisation", _mean(run, "mfu", "{:.1%}")),
        ("energy", found.words()),
        ("mean power", watts_words(found.watts)),
        ("CO2", co2 if found.whole is None else f"{co2}, at {grid_words(energy)}"),
    ]


def _mean(run: RunData, name: str, pattern: str) -> str:
    mean = mean_of_segments(run, name)
    return NOT_MEASURED if mean is None else pattern.format(mean)


def is_sampled(run: RunData) -> bool:
    """Whether anything of a run was measured over time."""
    return any(row.get(name) is not None for row in run.power for name in POWER[1:])


def thinned(rows: Sequence[Json], most: int = MOST_POINTS) -> dict[str, NDArray[np.float64]]:
    """Samples as columns, NaN where not measured; of very many, means of neighbours.

    A mean leaves out what is missing; of nothing it is NaN, so that a gap stays one.

    Args:
        rows: Lines of `power.jsonl`.
        most: Points that are kept at most.
    """
    values = np.array(
        [[np.nan if row.get(name) is None else row[name] for name in POWER] for row in rows], float
    ).reshape(len(rows), len(POWER))
    size = -(-len(rows) // most)
    if size > 1:
        values = np.stack([_means(values[at : at + size]) for at in range(0, len(rows), size)])
    return dict(zip(POWER, values.T, strict=True))


def _means(values: NDArray[np.float64]) -> NDArray[np.float64]:
    known = np.isfinite(values)
    count = known.sum(axis=0)
    total = np.where(known, values, 0.0).sum(axis=0)
    return np.divide(total, count, out=np.full(values.shape[1], np.nan), where=count > 0)
