"""A day's manifest and summary, from what the archive lists of it."""

from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.again import ask_again
from workflow_scripts.fetch.laads.archive import Reader
from workflow_scripts.fetch.laads.day import in_words, list_day
from workflow_scripts.fetch.laads.listing import SetAside
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result


def write_day(
    recipe: dict[str, Any], client: Reader, *, url: str, manifest: Path, folder: Path
) -> bool:
    """Ask the archive for a day, and write what it has; files that would be the same stay.

    Args:
        recipe: The fetch recipe: `dataset`, `kind`, `platform`, `date`, `source`.
        client: What asks.
        url: The archive's address.
        manifest: `<date>.jsonl`; the summary goes beside it.
        folder: Where the day's granules will lie.

    Returns:
        Whether the manifest changed.

    Raises:
        UserError: As `list_day`; or the source lists nothing of a product where it had listed some,
            which is more likely its trouble than the end of them.
    """
    with exclusive(manifest):
        items, aside, told = list_day(recipe, client, url=url, folder=folder)
        before = _read(manifest)
        changed = before is None or not _same(before, items)
        if gone := _gone(before or [], told):
            raise UserError(
                f"{manifest}: the source lists no {gone} of this day any more, where it had some: "
                "left as it was. Ask again later; if that is how it should be, remove the manifest"
            )
        if changed:
            write_manifest(manifest, items)
        result, body = manifest.with_suffix(".json"), _summary(recipe, items, aside, told)
        body["manifest"] = {"file": manifest.name, "sha256": file_sha256(manifest)}
        head = stamp("fetch", recipe, {})
        if changed or not result.is_file() or read_json(result) != {**head, **body}:
            write_result(result, stamp=head, body=body, facts={"listed_at": url})
        ask_again(manifest).unlink(missing_ok=True)
    log.info(
        "%s: %d of %d granules selected, %d files, %.1f GB to fetch",
        manifest, told["granules_selected"], told["granules_listed"], len(items),
        body["bytes"] / 1e9,
    )  # fmt: skip
    if told["incomplete"]:
        log.warning(
            "%s: incomplete at the source, which lacks %s; `snakemake relist` asks it again",
            manifest, in_words(told),
        )  # fmt: skip
    return changed


def _read(manifest: Path) -> list[Item] | None:
    """A manifest's items; None where there is none that can be read."""
    try:
        return list(read_manifest(manifest))
    except UserError:
        return None


def _same(before: list[Item], now: list[Item]) -> bool:
    """Whether the granules are the same: a listing of the older form only tells no MD5 of them."""
    return len(before) == len(now) and all(map(_alike, before, now))


def _alike(one: Item, other: Item) -> bool:
    if one == other or one.remote is None or other.remote is None:
        return one == other
    if None not in (one.remote["md5"], other.remote["md5"]):
        return False
    same_file = one.remote["url"] == other.remote["url"]
    return same_file and replace(one, remote=None) == replace(other, remote=None)


def _gone(before: list[Item], told: dict[str, Any]) -> str:
    """The products of which a source lists nothing, while the day's manifest has some."""
    had = {item.key.partition(".")[0] for item in before}
    if had and not told["granules_listed"]:
        return "granule"
    chosen = told["granules_selected"]
    return ", ".join(p for p, times in told["without"].items() if p in had and len(times) == chosen)


def _summary(
    recipe: dict[str, Any], items: list[Item], aside: list[SetAside], told: dict[str, Any]
) -> dict[str, Any]:
    """As `inventory.summary`; no copies are counted among files that nobody has read yet."""
    return {
        "dataset": recipe["dataset"],
        "synthetic": False,
        "source": f"LAADS, collection {recipe['source']['collection']:03d}",
        "items": len(items),
        "bytes": sum(item.bytes for item in items),
        "classes": [],
        "class_counts": {"none": {"none": len(items)}} if items else {},
        "duplicates": 0,
        "duplicates_across_splits": 0,
        "set_aside": aside,
        "at_source": told,
    }
