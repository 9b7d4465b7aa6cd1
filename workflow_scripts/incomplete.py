"""Days of granules that their source had not whole when it was asked."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.catalogue.known import known
from workflow_scripts.config import Config
from workflow_scripts.corpora import dataset_days
from workflow_scripts.files import read_json

AT_SOURCE = "at_source"  # the key of what a day's summary tells of its source


def told_of_days(config: Config, dataset: str) -> Iterator[tuple[str, Path, dict[str, Any]]]:
    """Day, manifest and what was told of the source, of each day of a dataset that was listed."""
    folder = Path(config.paths.data, "manifests", dataset)
    for day in dataset_days(config, dataset):
        summary = folder / f"{day}.json"
        told = read_json(summary).get(AT_SOURCE) if summary.is_file() else None
        if told is not None:
            yield day, folder / f"{day}.jsonl", told


def say_incomplete(config: Config) -> str:
    """Which days that were listed their source had not whole, a line a dataset; empty if none."""
    lines = []
    for name, entry in config.datasets.items():
        if known(entry).by_day:
            listed = [told["incomplete"] for _, _, told in told_of_days(config, name)]
            if any(listed):
                lines.append(
                    f"dataset {name}: {sum(listed)} of {len(listed)} days are incomplete at their "
                    "source; `snakemake relist` asks it again"
                )
    return "\n".join(lines)
