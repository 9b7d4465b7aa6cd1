"""Days of MODIS granules: listed where they lie, or at the source that `tile` fetches them from."""

from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch import folder, granules
from workflow_scripts.fetch.datasets import Found
from workflow_scripts.fetch.inventory import SetAsides, take_inventory


def fetch_modis_day(
    recipe: dict[str, Any],
    listing: str | None,
    *,
    workers: int | None = None,
    seen: Path | None = None,
) -> Found:
    """List one day's granules and their companions where they lie; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `platform`, `date`.
        listing: Text file that names the files; None looks through the folder.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: The listing cannot be read, or there is no file of that day.
    """
    files, older = granules.find_day(
        Path(recipe["path"]), listing, platform=recipe["platform"], day=recipe["date"]
    )
    if not files:
        day = {**recipe, "first": recipe["date"], "last": recipe["date"], "listing": listing}
        raise UserError(granules.no_granules(recipe["dataset"], day))
    # An empty mask must not pass for none: tile sets its granule aside, and counts it.
    items, unreadable = take_inventory(
        folder.files_at(Path(recipe["path"]), [key for key, _ in files]),
        workers=workers, seen=seen, total=len(files), empty=True,
    )  # fmt: skip
    if unreadable:
        raise UserError(
            f"{unreadable[0]['key']} below {recipe['path']}: {unreadable[0]['reason']}; mend it or "
            "take it out of the folder"
        )
    return items, SetAsides(older)


def is_at_source(recipe: dict[str, Any]) -> bool:
    """Whether a recipe is of a day whose granules are listed at their source."""
    return recipe["kind"] == "modis-l1b" and bool(recipe.get("source"))


def fetch_listed_day(
    recipe: dict[str, Any], transfer: dict[str, Any], raw: Path | None, *, manifest: Path
) -> None:
    """List one day's granules at their source; they are fetched when they are tiled.

    Args:
        recipe: `dataset`, `kind`, `platform`, `date`, `source`.
        transfer: How the source is asked, of the option `--transfer`.
        raw: `data/raw/<dataset>`.
        manifest: What is written, with its summary.

    Raises:
        UserError: An option is missing, the source cannot be asked, or there is no token.
    """
    # Here: of all that is fetched, days at their source alone need it.
    from workflow_scripts.fetch.laads.archive import connect
    from workflow_scripts.fetch.laads.write import write_day

    if not transfer or raw is None:
        raise UserError("--transfer or --raw is missing: granules are listed at their source")
    write_day(recipe, connect(transfer), url=transfer["url"], manifest=manifest, folder=raw)
