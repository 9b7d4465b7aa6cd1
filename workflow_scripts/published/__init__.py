"""Published numbers with their sources: one file, read by the terminal's table and the report.

No stage that computes a number imports this, so that a new citation makes nothing stale but them.
"""

import functools
from pathlib import Path
from typing import Any

import yaml

Json = dict[str, Any]

FILE = Path(__file__).parent / "published.yaml"


@functools.cache
def groups() -> list[Json]:
    """Everything, by source: title, metric, source, link, place, note and `rows`."""
    found: list[Json] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def value(row: Json) -> str:
    """What is shown for a row: `98.99 (top-5 99.82)`."""
    return f"{row['value']} (top-5 {row['top5']})" if "top5" in row else str(row["value"])


def trained_on(row: Json) -> str:
    """Data, their volume, epochs and CO2 of a row, as far as they are stated.

    `GeoPile, 587,954 images, 200 epochs, 12.64 kg CO2`

    Args:
        row: Of the file.
    """
    told = [row["data"]]
    told += [f"{row['images']:,} images"] if "images" in row else []
    told += [f"{row['epochs']:,} epochs"] if "epochs" in row else []
    told += [f"{row['co2_kg']:g} kg CO2"] if "co2_kg" in row else []
    return ", ".join(told)


def number(row: Json) -> float | None:
    """A row's value as a number; None where the source gives a range."""
    try:
        return float(row["value"].replace("−", "-"))
    except ValueError:
        return None


def published(key: str | None) -> list[Json]:
    """Rows of one benchmark, the largest value first, each with its group's source and metric.

    Args:
        key: A `benchmark_key` of the file; without one, or with one of which it holds nothing, the
            list is empty.
    """
    rows = [
        {**row, "number": number(row)}
        | {name: group[name] for name in ("metric", "source", "link", "place", "note")}
        for group in groups()
        for row in group["rows"]
        if key is not None and row["benchmark_key"] == key
    ]
    return sorted(rows, key=lambda row: -(row["number"] or 0.0))


def keys() -> list[str]:
    """Every `benchmark_key` of the file, sorted."""
    found = {row["benchmark_key"] for group in groups() for row in group["rows"]}
    return sorted(found - {None})


def key_of(benchmark: str) -> str | None:
    """The key whose numbers stand beside a benchmark of that name.

    `ucm` and `ucm-50` have the key `ucm`; None where no number is of such a benchmark.
    """
    fitting = [key for key in keys() if benchmark == key or benchmark.startswith(f"{key}-")]
    return max(fitting, key=len, default=None)
