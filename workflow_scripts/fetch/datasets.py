"""From a dataset's files to its items: image folders, images of a table, and labels."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from workflow_scripts.catalogue.expected import differences, in_all_splits
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import folder, image_list
from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.fetch.inventory import SetAsides, Told, take_inventory
from workflow_scripts.fetch.listing import Listing
from workflow_scripts.fetch.obtain import obtain
from workflow_scripts.fetch.obtained import Obtained
from workflow_scripts.fetch.splits import check_fractions
from workflow_scripts.logs import log

Found = tuple[Listing, SetAsides]


def fetch_image_folder(
    recipe: dict[str, Any],
    obtained: Obtained | None = None,
    *,
    workers: int | None = None,
    seen: Path | None = None,
) -> Found:
    """List the images of a dataset, with the folders they are in as classes.

    Args:
        recipe: What `obtain` takes, and `split`: {"by": "fraction", "train", "val", "test",
            "seed"}, {"by": "folder"} or {"by": "none"}.
        obtained: Where its files lie; by default what `path` says.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: No folder, no image in it, or no such split.
    """
    split = recipe["split"]
    shares = {name: split.get(name, 0.0) for name in folder.SPLITS}
    if split["by"] not in ("fraction", "folder", "none"):
        raise UserError(f"split.by is {split['by']!r}, expected fraction, folder or none")
    if split["by"] == "fraction":  # refuse before hours of reading
        check_fractions(shares)
    obtained = obtained or obtain({"kind": "image-folder", **recipe}, {}, None)
    place = folder.split_and_class_of if split["by"] == "folder" else folder.class_alone

    def count() -> int:
        return sum(1 for key in obtained.keys() if place(key))  # noqa: SIM118 (no mapping)

    # Counting refuses what is in no split, before hours of reading.
    total = count() if split["by"] == "folder" else count if obtained.folder else None

    def told(key: str) -> Told:
        return (*place(key), None)

    items, set_aside = take_inventory(
        obtained.files(), workers=workers, seen=seen, total=total, told=told
    )
    if split["by"] == "fraction":
        items.split_by_fraction(shares, seed=split["seed"])
    return items, _with_members(set_aside, obtained)


def fetch_image_list(
    recipe: dict[str, Any],
    obtained: Obtained | None = None,
    *,
    workers: int | None = None,
    seen: Path | None = None,
) -> Found:
    """List the images of a table, with its labels.

    Args:
        recipe: What `obtain` takes, and `list`.
        obtained: Where its files lie; by default what `path` says.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: No files or no table, or a row of the table that cannot be.
    """
    obtained = obtained or obtain({"kind": "image-list", **recipe}, {}, None)
    listed = image_list.read_list(
        Path(recipe["list"]), dataset=recipe["dataset"], obtain=recipe.get("obtain") or ""
    )
    absent = SetAsides()
    place = obtained.folder
    # A file of a folder is looked for by its name alone: the table says which there are.
    files = folder.files_at(place, listed) if place else _listed(obtained, listed, absent)
    items, set_aside = take_inventory(
        files, workers=workers, seen=seen, total=len(listed),
        told=lambda key: (listed[key]["split"], listed[key]["label"], listed[key]["labels"]),
    )  # fmt: skip
    for row in absent:
        set_aside.add(**row)
    return items, _with_members(set_aside, obtained)


def _listed(
    obtained: Obtained, listed: dict[str, image_list.Told], absent: SetAsides
) -> Iterator[FoundFile]:
    """Files that the table names; those that it names and are not there are set aside."""
    missing = dict.fromkeys(listed)
    for file in obtained.files():
        if file.key in missing:
            del missing[file.key]
            yield file
    for key in missing:
        absent.add(key, "is in the table, and not among the files")


def fetch_files(
    recipe: dict[str, Any],
    obtained: Obtained | None = None,
    *,
    workers: int | None = None,
    seen: Path | None = None,
) -> Found:
    """List a dataset's files, without classes: labels of chips, or what nothing reads yet.

    Args:
        recipe: What `obtain` takes.
        obtained: Where its files lie; by default what `path` says.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: There is no file.
    """
    obtained = obtained or obtain({"kind": "aicca", **recipe}, {}, None)
    items, set_aside = take_inventory(obtained.files(), workers=workers, seen=seen)
    return items, _with_members(set_aside, obtained)


def compare(recipe: dict[str, Any], body: dict[str, Any], *, demanded: bool) -> list[str]:
    """How a dataset differs from what it should hold, a line each.

    Args:
        recipe: `dataset`, `expected`.
        body: The summary: `items`, `class_counts`.
        demanded: Whether a difference is an error: of what was downloaded. Of somebody's own files
            it is told, and they are used as they are.

    Raises:
        UserError: There is a difference, and none may be.
    """
    found = differences(recipe["expected"], in_all_splits(body["class_counts"]), body["items"])
    if not found:
        return []
    dataset, listed = recipe["dataset"], "".join(f"\n  {line}" for line in found)
    if demanded:
        raise UserError(
            f"dataset {dataset}: what was downloaded is not what is expected:{listed}\n"
            "If its publisher changed it, give the source's new version and what it holds "
            f"(datasets.{dataset}: source, expected); if its files are damaged, remove "
            "them and start again."
        )
    log.warning("dataset %s differs from what is expected:%s", dataset, listed)
    return found


def _with_members(set_aside: SetAsides, obtained: Obtained) -> SetAsides:
    """What was set aside, members of archives that could not even be listed with it."""
    rows = obtained.set_aside
    for row in rows:
        set_aside.add(**row)
    if rows:
        log.warning(
            "%d members of archives set aside; the first is %s: %s",
            len(rows), rows[0]["key"], rows[0]["reason"],
        )  # fmt: skip
    return set_aside
