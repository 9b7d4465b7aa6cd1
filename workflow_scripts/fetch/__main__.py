"""Fetch a dataset: list its files with checksums, class (or classes) and split in a manifest.

Images, granules and labels are listed where they lie; the sample datasets are generated into
`--raw` first.
"""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import folder, generated, granules, image_list, labels
from workflow_scripts.fetch.inventory import SetAsides, summary, take_inventory
from workflow_scripts.fetch.listing import Listing
from workflow_scripts.fetch.manifest import write_ordered
from workflow_scripts.fetch.seen import seen_beside
from workflow_scripts.fetch.splits import check_fractions
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser

Found = tuple[Listing, SetAsides]


def fetch_image_folder(
    recipe: dict[str, Any], *, workers: int | None = None, seen: Path | None = None
) -> Found:
    """List a folder of images; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `obtain`, and `split`: {"by": "fraction", "train", "val",
            "test", "seed"}, {"by": "folder"} or {"by": "none"}.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: No folder, no image in it, or no such split.
    """
    split, path = recipe["split"], Path(recipe["path"])
    shares = {name: split.get(name, 0.0) for name in folder.SPLITS}
    if split["by"] not in ("fraction", "folder", "none"):
        raise UserError(f"split.by is {split['by']!r}, expected fraction, folder or none")
    if split["by"] == "fraction":  # refuse before hours of reading
        check_fractions(shares)
    files = folder.find_images(path, dataset=recipe["dataset"], obtain=recipe.get("obtain") or "")
    place = folder.split_and_class_of if split["by"] == "folder" else folder.class_alone
    # This refuses what is in no split, before hours of reading.
    total = sum(1 for key, _ in folder.names_below(path, folder.is_image) if place(key))
    items, set_aside = take_inventory(
        files, workers=workers, seen=seen, total=total, told=lambda key: (*place(key), None)
    )
    if split["by"] == "fraction":
        items.split_by_fraction(shares, seed=split["seed"])
    return items, set_aside


def fetch_image_list(
    recipe: dict[str, Any], *, workers: int | None = None, seen: Path | None = None
) -> Found:
    """List the images of a table where they lie, with its labels; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `list`, `obtain`.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: No folder or table, or a row of the table that cannot be.
    """
    listed = image_list.read_list(
        Path(recipe["list"]), Path(recipe["path"]), dataset=recipe["dataset"],
        obtain=recipe.get("obtain") or "",
    )  # fmt: skip
    files = folder.files_at(Path(recipe["path"]), listed)
    return take_inventory(
        files, workers=workers, seen=seen, total=len(listed),
        told=lambda key: (listed[key]["split"], listed[key]["label"], listed[key]["labels"]),
    )  # fmt: skip


def fetch_sample_scenes(recipe: dict[str, Any], raw: Path, *, workers: int | None = None) -> Found:
    """Generate the sample scenes below `raw` as <split>/<class>/<class>NNN.jpg, and list them."""
    from workflow_scripts.fetch.sample_scenes import write_sample_scenes

    generated.claim(raw)
    generated.remove_others(raw, write_sample_scenes(raw, recipe))
    listed = {"dataset": recipe["dataset"], "path": str(raw), "split": {"by": "folder"}}
    return fetch_image_folder(listed, workers=workers)


def fetch_sample_modis(recipe: dict[str, Any], raw: Path, *, workers: int | None = None) -> Found:
    """Generate one day of sample granules below `raw`, and list them."""
    from workflow_scripts.fetch.sample_modis import write_sample_day

    generated.claim(raw)
    paths = sorted(write_sample_day(raw, recipe))
    generated.remove_others(raw, paths)
    return take_inventory(
        folder.files_at(raw, [path.relative_to(raw).as_posix() for path in paths]), workers=workers
    )


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


def fetch_labels(
    recipe: dict[str, Any], *, workers: int | None = None, seen: Path | None = None
) -> Found:
    """List a dataset's label files where they lie; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `obtain`.
        workers: Threads, then processes, that read and hash.
        seen: The file of what was read before.

    Raises:
        UserError: There is no label file.
    """
    found = labels.find_labels(
        Path(recipe["path"]), dataset=recipe["dataset"], obtain=recipe["obtain"]
    )
    return take_inventory(found, workers=workers, seen=seen, total=len(found))


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: raw files if generated, the manifest, and its summary beside it."""
    kind = recipe["kind"]
    if kind.startswith("sample-") and arguments.raw is None:
        raise UserError(f"--raw is missing: {kind} writes its files there")
    manifest: Path = arguments.manifest
    reading: dict[str, Any] = {"workers": arguments.workers, "seen": seen_beside(manifest)}
    with exclusive(manifest):
        if kind == "image-folder":
            items, set_aside = fetch_image_folder(recipe, **reading)
            source = f"folder {recipe['path']}"
        elif kind == "image-list":
            items, set_aside = fetch_image_list(recipe, **reading)
            source = f"folder {recipe['path']}, list {recipe['list']}"
        elif kind == "sample-scenes":
            items, set_aside = fetch_sample_scenes(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: procedural aerial scenes, not real images"
        elif kind == "sample-modis":
            items, set_aside = fetch_sample_modis(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: granules in the MOD021KM layout, not real data"
        elif kind == "modis-l1b":
            items, set_aside = fetch_modis_day(recipe, arguments.listing, **reading)
            source = f"folder {recipe['path']}"
        elif kind == "aicca":
            items, set_aside = fetch_labels(recipe, **reading)
            source = f"labels {recipe['path']}"
        else:
            raise UserError(
                f"kind is {kind!r}, expected image-folder, image-list, sample-scenes, "
                "sample-modis, modis-l1b or aicca"
            )
        if not items:
            raise UserError(
                f"dataset {recipe['dataset']}: none of {set_aside.total} files is usable; the "
                f"first is {set_aside[0]['key']}: {set_aside[0]['reason']}"
            )
        body = summary(
            items,
            set_aside,
            dataset=recipe["dataset"],
            synthetic=kind.startswith("sample-"),
            source=source,
        )
        write_ordered(manifest, items.by_key())
        body["manifest"] = {"file": manifest.name, "sha256": file_sha256(manifest)}
        # The listing (with its times) is why the folder was looked at, and no part of the result.
        kept = {key: value for key, value in recipe.items() if key != folder.LISTING}
        write_result(manifest.with_suffix(".json"), stamp=stamp("fetch", kept, {}), body=body)
    if body["duplicates_across_splits"]:
        log.warning(
            "%d items have a copy in another split: scores on them are flattered",
            body["duplicates_across_splits"],
        )
    log.info(
        "%s: %d items, %d classes, %.1f MB, %d set aside",
        manifest, len(items), len(body["classes"]), body["bytes"] / 1e6, set_aside.total,
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = stage_parser("fetch", __doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="the manifest to write")
    parser.add_argument("--raw", type=Path, help="where generated datasets put their files")
    parser.add_argument("--listing", help="text file that names the granules (modis-l1b)")
    parser.add_argument("--transfer", help="how files are downloaded: JSON, as `recipes transfer`")
    parser.add_argument("--workers", type=int, help="threads or processes that read (default: all)")
    run_stage(parser, work)


if __name__ == "__main__":
    main()
