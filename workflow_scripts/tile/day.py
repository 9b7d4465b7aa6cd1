"""A day: every granule of its manifest, checked, read and cut; broken ones set aside."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest
from workflow_scripts.logs import log, progress
from workflow_scripts.modis.l1b import UNITS, check_quantity
from workflow_scripts.processes import map_in_processes
from workflow_scripts.shards.writer import ChipSample, write_chip_shard
from workflow_scripts.tile.chips import Cut
from workflow_scripts.tile.granules import Task, crashed, cut_granule, granules_of, why_foreign

_SHARES = ("min_valid", "min_cloud", "min_water", "max_broken_granules")
_CHOICES = {
    "dead_detectors": ("interpolate_lines", "drop_chip", "exclude_band"),
    "night": ("drop_chip", "keep_missing"),
}


def check_recipe(recipe: dict[str, Any]) -> None:
    """Refuse a recipe that no granule could satisfy, before any is read.

    Raises:
        UserError: Unknown band, quantity without scale and offset, or a value out of its range.
    """
    quantity = recipe["quantity"]
    check_quantity(recipe["bands"], quantity)
    repeated = [name for name, times in Counter(recipe["bands"]).items() if times > 1]
    if repeated:
        raise UserError(f"bands names {', '.join(repeated)} more than once; name each band once")
    if quantity == "brightness_temperature":
        raise UserError(
            "quantity is brightness_temperature, which is not linear in the counts that chips "
            "hold; tile radiance and convert what you read"
        )
    for key in ("size", "stride"):
        if recipe[key] < 1:
            raise UserError(f"{key} is {recipe[key]}; it must be at least 1 pixel")
    for key in _SHARES:
        if recipe[key] is not None and not 0 <= recipe[key] <= 1:
            raise UserError(f"{key} is {recipe[key]}; it is a share, from 0 to 1")
    for key, choices in _CHOICES.items():
        if recipe[key] not in choices:
            raise UserError(f"{key} is {recipe[key]!r}; expected {' or '.join(choices)}")


class Day:
    """What is known of a day while its granules are cut.

    Args:
        granules: Of its manifest, as `granules_of` gave them.
        manifest: For messages.
    """

    def __init__(self, granules: list[Task | Item], manifest: Path) -> None:
        self.granules = granules
        self.manifest = manifest
        self.rows: list[dict[str, Any]] = []
        self.dropped: Counter[str] = Counter()
        self.kept: Counter[str] = Counter()  # chips by what the summary counts
        self.platforms: Counter[str] = Counter()
        self.dead: defaultdict[str, Counter[int]] = defaultdict(Counter)

    def chips(self, recipe: dict[str, Any], *, workers: int) -> Iterator[ChipSample]:
        """Every chip of the day, granule by granule.

        Raises:
            UserError: A file changed since the manifest, or too many granules are broken.
        """
        tasks = [task for task in self.granules if isinstance(task, Task)]
        cuts = map_in_processes(cut_granule, tasks, workers=workers, crashed=crashed)
        what = f"granules of {self.manifest.stem}"
        for task, cut in zip(tasks, progress(cuts, what=what, total=len(tasks)), strict=True):
            if isinstance(cut, str):
                self._set_aside(task.item, cut, _fetched(task))
                continue
            self._count(task, cut)
            yield from cut.kept
        for item in self.granules:
            if isinstance(item, Item):
                self._set_aside(item, why_foreign(item, recipe), {})
        self._check_broken(recipe["max_broken_granules"])

    def _set_aside(self, item: Item, reason: str, fetched: dict[str, Any]) -> None:
        log.warning("set aside %s: %s", item.key, reason)
        self.rows.append({"key": item.key, "chips": 0, "reason": reason, **fetched})

    def _count(self, task: Task, cut: Cut) -> None:
        key = task.item.key
        row = {"key": key, "chips": len(cut.kept), "companions": list(cut.companions)}
        self.rows.append({**row, "dead_detectors": cut.dead_detectors, **_fetched(task)})
        if not cut.kept and not cut.dropped:
            log.warning("%s: too small for a single chip", key)
        self.dropped.update(cut.dropped)
        for name, detectors in cut.dead_detectors.items():
            self.dead[name].update(detectors)
        for chip in cut.kept:
            self.platforms[chip.fields["platform"]] += 1
            self.kept["without mask"] += math.isnan(chip.fields["cloud_share"])
            self.kept["night"] += chip.fields["night"]
            self.kept["filled"] += chip.filled is not None

    @property
    def broken(self) -> int:
        """How many granules were set aside."""
        return sum("reason" in row for row in self.rows)

    def _check_broken(self, limit: float) -> None:
        if self.broken > limit * len(self.rows):
            first = next(row for row in self.rows if "reason" in row)
            raise UserError(
                f"{self.manifest}: {self.broken} of {len(self.rows)} granules are broken, more "
                f"than max_broken_granules = {limit:g} allows; the first is {first['key']}: "
                f"{first['reason']}"
            )

    def summary(self) -> dict[str, Any]:
        """The counts of the day's result."""
        return {
            "granules": self.rows,
            "granules_read": len(self.rows) - self.broken,
            "granules_set_aside": self.broken,
            "chips_kept": sum(self.platforms.values()),
            "chips_dropped": dict(sorted(self.dropped.items())),
            "chips_by_platform": dict(sorted(self.platforms.items())),
            "chips_without_mask": self.kept["without mask"],
            "chips_night": self.kept["night"],
            "chips_with_filled_lines": self.kept["filled"],
            "dead_detectors": {
                name: {str(detector): times for detector, times in sorted(found.items())}
                for name, found in sorted(self.dead.items())
            },
        }


def _fetched(task: Task) -> dict[str, Any]:
    """What only the day's result tells of files that are deleted when it is made."""
    files = [item for item in (task.item, *task.companions) if item.remote is not None]
    return {"sha256": {item.key: item.sha256 for item in files}} if files else {}


def tile_day(
    recipe: dict[str, Any],
    manifest: Path,
    chips: Path,
    *,
    workers: int = 0,
    items: Iterable[Item] | None = None,
    may_be_empty: bool = False,
) -> dict[str, Any]:
    """Cut a day's granules into one shard of chips.

    Args:
        recipe: The tile recipe: `dataset`, `date`, `platform`, `synthetic`, and the keys of the
            configuration's `tile`.
        manifest: The day's manifest, `<date>.jsonl`.
        chips: The shard to write, `<date>.h5`.
        workers: Processes that cut granules at a time, each with under 1 GB; with 0 this one does.
        items: Of the manifest, with the sha256 of files that were fetched for this; None reads it.
        may_be_empty: Whether a day without a granule has a shard, of no chip: its source has none.

    Returns:
        The body of the day's result.

    Raises:
        UserError: A wrong recipe, an empty day, a granule that is missing or changed since the
            manifest, or too many broken ones.
    """
    check_recipe(recipe)
    listed = read_manifest(manifest) if items is None else items
    granules = granules_of(listed, recipe, manifest)
    if not granules and not may_be_empty:
        raise UserError(f"{manifest}: an empty day, no granule in it; fetch it or drop the date")
    day = Day(granules, manifest)
    known = {key: recipe[key] for key in ("dataset", "date", "platform", "synthetic", "bands")}
    attributes = {
        "dataset": recipe["dataset"],
        "date": recipe["date"],
        "quantity": recipe["quantity"],
        "units": UNITS[recipe["quantity"]],
        "synthetic": "true" if recipe["synthetic"] else "false",
    }
    write_chip_shard(
        chips,
        day.chips(recipe, workers=workers),
        bands=recipe["bands"],
        size=recipe["size"],
        attributes=attributes,
    )
    summary = day.summary()
    if not summary["chips_kept"]:
        log.warning("%s: no chip kept; dropped: %s", manifest, summary["chips_dropped"] or "none")
    shard = {
        "file": chips.name,
        "sha256": file_sha256(chips),
        "count": summary["chips_kept"],
        "bytes": chips.stat().st_size,
    }
    return {**known, **summary, "shard": shard}
