"""A day: every granule of its manifest, checked, read and cut; broken ones set aside."""

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest
from workflow_scripts.logs import log, progress
from workflow_scripts.modis.l1b import UNITS, check_quantity, read_counts
from workflow_scripts.shards.writer import write_chip_shard
from workflow_scripts.tile.chips import Cut, cut_chips


def check_recipe(recipe: dict[str, Any]) -> str:
    """Refuse a recipe that no granule could satisfy, before any is read.

    Returns:
        The quantity, `radiance` by default.

    Raises:
        UserError: Unknown band, quantity without scale and offset, or a size below 1.
    """
    quantity = recipe.get("quantity", "radiance")
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
    for key in ("max_missing", "max_broken_granules"):
        if not 0 <= recipe[key] <= 1:
            raise UserError(f"{key} is {recipe[key]}; it is a share, from 0 to 1")
    return quantity


def _checked_path(item: Item, manifest: Path) -> Path:
    """The granule, exactly as the manifest knows it."""
    path = Path(item.path)
    if not path.is_file():
        raise UserError(f"{path}: named by {manifest} but missing; run fetch for this day again")
    found = file_sha256(path)
    if found != item.sha256:
        raise UserError(
            f"{path}: sha256 is {found}, {manifest} says {item.sha256}; the data changed since "
            "the manifest was made, run fetch for this day again"
        )
    return path


def _cut_granule(item: Item, path: Path, *, recipe: dict[str, Any], quantity: str) -> Cut | str:
    """Its chips, or why it is set aside."""
    size, stride = recipe["size"], recipe["stride"]
    try:
        granule = read_counts(path, recipe["bands"], quantity=quantity)
    except UserError as error:
        log.warning("set aside %s: %s", item.key, error)
        # Without the folder: a result must not depend on where it was made.
        return str(error).replace(str(path), path.name)
    lines, pixels = granule.counts.shape[1:]
    if min(lines, pixels) < size:
        log.warning("%s: %d × %d pixels hold no chip of %d", item.key, lines, pixels, size)
    return cut_chips(granule, size=size, stride=stride, max_missing=recipe["max_missing"])


def _check_broken(
    rows: Sequence[dict[str, Any]], manifest: Path, *, broken: int, limit: float
) -> None:
    if broken > limit * len(rows):
        first = next(row for row in rows if "reason" in row)
        raise UserError(
            f"{manifest}: {broken} of {len(rows)} granules are broken, more than "
            f"max_broken_granules = {limit:g} allows; the first is {first['key']}: "
            f"{first['reason']}"
        )


def _cut_day(
    items: Sequence[Item], manifest: Path, *, recipe: dict[str, Any], quantity: str
) -> tuple[list[dict[str, Any]], Cut]:
    """A row for each granule, and the chips of all."""
    rows: list[dict[str, Any]] = []
    day = Cut()
    for item in progress(items, what=f"granules of {manifest.stem}", total=len(items)):
        path = _checked_path(item, manifest)
        cut = _cut_granule(item, path, recipe=recipe, quantity=quantity)
        if isinstance(cut, str):
            rows.append({"key": item.key, "chips": 0, "reason": cut})
            continue
        rows.append({"key": item.key, "chips": len(cut.kept)})
        day.kept.extend(cut.kept)
        day.dropped.update(cut.dropped)
    return rows, day


def tile_day(recipe: dict[str, Any], manifest: Path, chips: Path) -> dict[str, Any]:
    """Cut a day's granules into one shard of chips.

    Args:
        recipe: `dataset`, `synthetic`, `bands`, `size`, `stride`, `max_missing` (share of pixels
            without a value), `max_broken_granules` (share), and `quantity` (`radiance` if absent,
            `reflectance` or `counts`).
        manifest: The day's manifest, `<date>.jsonl`.
        chips: The shard to write, `<date>.h5`.

    Returns:
        The body of the day's result.

    Raises:
        UserError: A wrong recipe, an empty day, a granule that is missing or changed since the
            manifest, or too many broken ones.
    """
    quantity = check_recipe(recipe)
    date = recipe.get("date", chips.stem)
    items = list(read_manifest(manifest))
    if not items:
        raise UserError(f"{manifest}: an empty day, no granule in it; fetch it or drop the date")
    rows, cut = _cut_day(items, manifest, recipe=recipe, quantity=quantity)
    kept, dropped = cut.kept, cut.dropped
    broken = sum("reason" in row for row in rows)
    _check_broken(rows, manifest, broken=broken, limit=recipe["max_broken_granules"])
    if not kept:
        log.warning("%s: no chip kept; dropped: %s", manifest, dict(dropped) or "none")
    attributes = {
        "dataset": recipe["dataset"],
        "date": date,
        "quantity": quantity,
        "units": UNITS[quantity],
        "synthetic": "true" if recipe["synthetic"] else "false",
    }
    write_chip_shard(chips, kept, bands=recipe["bands"], size=recipe["size"], attributes=attributes)
    return {
        "dataset": recipe["dataset"],
        "date": date,
        "synthetic": recipe["synthetic"],
        "bands": recipe["bands"],
        "granules": rows,
        "granules_read": len(rows) - broken,
        "granules_set_aside": broken,
        "chips_kept": len(kept),
        "chips_dropped": dict(sorted(dropped.items())),
        "shard": {
            "file": chips.name,
            "sha256": file_sha256(chips),
            "count": len(kept),
            "bytes": chips.stat().st_size,
        },
    }
