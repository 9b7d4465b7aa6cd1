"""A day of granules at the archive: which of them the recipe selects, and what the source lacks.

Nothing is downloaded but the listings: the day's tile job fetches the granules. An item's
`remote.url` is relative to the archive's address, which is no part of the recipe: a mirror gives
the same manifest.
"""

from collections.abc import Iterable
from datetime import date, datetime
from pathlib import Path
from typing import Any

from workflow_scripts.fetch.laads.archive import Reader
from workflow_scripts.fetch.laads.geometa import Place, read_places, wanted
from workflow_scripts.fetch.laads.listing import Listed, SetAside, read_listing
from workflow_scripts.fetch.manifest import Item, portable_path
from workflow_scripts.modis.products import L1B, PREFIX

GRANULES_OF_A_DAY = 288  # one every five minutes


def list_day(
    recipe: dict[str, Any], client: Reader, *, url: str, folder: Path
) -> tuple[list[Item], list[SetAside], dict[str, Any]]:
    """Ask the archive for a day.

    Args:
        recipe: `platform`, `date`, and `source` with `collection`, `companions`, `times`, `bbox`.
        client: What asks.
        url: The archive's address.
        folder: Where the day's granules will lie.

    Returns:
        The granules selected with their companions, sorted by name, without sha256 (nobody tells
        it before they are read); what is set aside; and what is told of the source:
        `granules_listed` and `granules_selected`; `missing`, how many of a day's 288 granules it
        has not; `without`, the times whose companion it has not, by product; `unplaced`, the times
        that a selection by place or by daylight leaves out because the archive does not say where
        they are; and `incomplete`, whether any of these may come later.

    Raises:
        UserError: An answer is not what the archive should give, or the token is refused.
    """
    source, platform = recipe["source"], recipe["platform"]
    day = date.fromisoformat(recipe["date"])
    listed, aside = {}, []
    for product in (L1B, *source["companions"]):
        listed[product], unfit = read_listing(
            client, url, source["collection"], platform=platform, product=product, day=day
        )
        aside += unfit
    granules = listed.pop(L1B)
    places: dict[datetime, Place] | None = None
    if granules and (source["times"] != "any" or source["bbox"] is not None):
        places = read_places(client, url, source["collection"], platform=platform, day=day)
    chosen = [time for time in granules if _chosen(time, places, source)]
    files = [granules[time] for time in chosen]
    files += [files_[time] for files_ in listed.values() for time in chosen if time in files_]
    without = {
        f"{PREFIX[platform]}{product}": _clock(time for time in chosen if time not in found)
        for product, found in listed.items()
    }
    unplaced = [] if places is None else _clock(time for time in granules if time not in places)
    missing = GRANULES_OF_A_DAY - len(granules)
    told = {
        "granules_listed": len(granules),
        "granules_selected": len(chosen),
        "missing": missing,
        "without": {product: times for product, times in without.items() if times},
        "unplaced": unplaced,
        "incomplete": bool(missing > 0 or unplaced or any(without.values())),
    }
    items = [_item(file, folder) for file in sorted(files, key=lambda file: file.name)]
    return items, aside, told


def _chosen(time: datetime, places: dict[datetime, Place] | None, source: dict[str, Any]) -> bool:
    if places is None:
        return True
    if time not in places:
        return False
    return wanted(places[time], times=source["times"], bbox=source["bbox"])


def _clock(times: Iterable[datetime]) -> list[str]:
    """Times of the day as `HH:MM`."""
    return [f"{time:%H:%M}" for time in times]


def _item(file: Listed, folder: Path) -> Item:
    return Item(
        key=file.name,
        path=portable_path(folder / file.name),
        sha256=None,
        bytes=file.bytes,
        remote={"url": file.address, "md5": file.md5},
    )


def in_words(told: dict[str, Any]) -> str:
    """What a source has not of a day, such as `3 of 288 granules, 2 MOD35_L2`."""
    parts = [f"{told['missing']} of {GRANULES_OF_A_DAY} granules"] if told["missing"] > 0 else []
    parts += [f"{len(times)} {product}" for product, times in told["without"].items()]
    if told["unplaced"]:
        parts.append(f"the place of {len(told['unplaced'])} granules")
    return ", ".join(parts)
