"""One granule of a day's manifest with its companions: checked, read and cut, or set aside."""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, sha256_here
from workflow_scripts.modis.companions import Companions, read_companions
from workflow_scripts.modis.l1b import Counts, read_counts
from workflow_scripts.modis.products import L1B, parse_name
from workflow_scripts.tile.chips import Cut, cut_chips


@dataclass(frozen=True, kw_only=True)
class Task:
    """A granule to cut: its item, those of its companions, the recipe, and who named them."""

    item: Item
    companions: tuple[Item, ...]
    recipe: dict[str, Any]
    manifest: Path


def granules_of(items: Iterable[Item], recipe: dict[str, Any], manifest: Path) -> list[Task | Item]:
    """The granules of a day in the order of time, each with its companions.

    Items that are no MODIS file, or of another platform or day, stand for themselves, at the end.
    """
    found: dict[datetime, Item] = {}
    companions: defaultdict[datetime, list[Item]] = defaultdict(list)
    others: list[Task | Item] = []
    for item in items:
        if _stranger(item, recipe) is not None:
            others.append(item)
            continue
        name = parse_name(item.key)
        if name.product != L1B:
            companions[name.time].append(item)
        elif name.time in found:
            others.append(item)
        else:
            found[name.time] = item
    tasks: list[Task | Item] = [
        Task(item=found[t], companions=tuple(companions[t]), recipe=recipe, manifest=manifest)
        for t in sorted(found)
    ]
    return tasks + others


def _stranger(item: Item, recipe: dict[str, Any]) -> str | None:
    """Why an item does not belong to the day's dataset, by its name; None if it does."""
    try:
        name = parse_name(item.key)
    except UserError as error:
        return str(error)
    if name.platform != recipe["platform"]:
        return f"a granule of {name.platform}; the dataset is of {recipe['platform']}"
    if name.time.date().isoformat() != recipe["date"]:
        return f"begins at {name.iso_time}; the day is {recipe['date']}"
    return None


def why_foreign(item: Item, recipe: dict[str, Any]) -> str:
    """Why an item of the manifest is no granule of the day's dataset."""
    return _stranger(item, recipe) or "a second granule of that time"


def check_file(item: Item, manifest: Path) -> None:
    """See that a file is exactly the one that the manifest knows.

    Raises:
        UserError: It is missing, or not the file that was listed.
    """
    path = Path(item.path)
    if not path.is_file():
        raise UserError(f"{path}: named by {manifest} but missing; run fetch for this day again")
    found = file_sha256(path)
    if found != sha256_here(item, manifest):
        raise UserError(
            f"{path}: sha256 is {found}, {manifest} says {item.sha256}; the data changed since "
            "the manifest was made, run fetch for this day again"
        )


def _read(task: Task) -> tuple[Counts, Companions] | str:
    """A granule and its companions, or why they cannot be read."""
    recipe = task.recipe
    paths = [Path(item.path) for item in (task.item, *task.companions)]
    try:
        granule = read_counts(paths[0], recipe["bands"], quantity=recipe["quantity"])
        shape = granule.counts.shape[1:]
        return granule, read_companions(paths[1:], granule.name, shape=shape)
    except UserError as error:
        text = str(error)
        for path in paths:
            # Without the folder: a result must not depend on where it was made.
            text = text.replace(str(path), path.name)
        return text


def cut_granule(task: Task) -> Cut | str:
    """Its chips, or why it is set aside: the granule or a companion is broken or does not fit.

    Raises:
        UserError: A file changed since the manifest was made.
    """
    with ThreadPoolExecutor(1) as beside:  # checksums take no lock and cost a fifth of reading
        checks = [
            beside.submit(check_file, item, task.manifest) for item in (task.item, *task.companions)
        ]
        found = _read(task)
        for check in checks:
            check.result()
    return found if isinstance(found, str) else cut_chips(*found, task.recipe)


def crashed(task: Task) -> str:
    """Why a granule is set aside whose reading ended the process.

    Raises:
        UserError: A file changed since the manifest was made, which is another matter.
    """
    for item in (task.item, *task.companions):
        check_file(item, task.manifest)
    return "the HDF4 library crashed on it: its metadata are damaged; get it again"
