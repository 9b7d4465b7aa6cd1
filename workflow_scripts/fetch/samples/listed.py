"""The sample datasets, generated and listed."""

from pathlib import Path
from typing import Any

from workflow_scripts.fetch import folder, generated
from workflow_scripts.fetch.datasets import Found, fetch_image_folder
from workflow_scripts.fetch.inventory import take_inventory
from workflow_scripts.fetch.samples.sample_modis import write_sample_day
from workflow_scripts.fetch.samples.sample_scenes import write_sample_scenes


def fetch_sample_scenes(recipe: dict[str, Any], raw: Path, *, workers: int | None = None) -> Found:
    """Generate the sample scenes below `raw` as <split>/<class>/<class>NNN.jpg, and list them."""
    generated.claim(raw)
    generated.remove_others(raw, write_sample_scenes(raw, recipe))
    listed = {"dataset": recipe["dataset"], "path": str(raw), "split": {"by": "folder"}}
    return fetch_image_folder(listed, workers=workers)


def fetch_sample_modis(recipe: dict[str, Any], raw: Path, *, workers: int | None = None) -> Found:
    """Generate one day of sample granules below `raw`, and list them."""
    generated.claim(raw)
    paths = sorted(write_sample_day(raw, recipe))
    generated.remove_others(raw, paths)
    return take_inventory(
        folder.files_at(raw, [path.relative_to(raw).as_posix() for path in paths]), workers=workers
    )
