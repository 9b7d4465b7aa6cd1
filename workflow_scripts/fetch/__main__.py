"""Fetch a dataset: list its files with checksums, class (or classes) and split in a manifest.

Images, granules and labels are listed where they lie; the sample datasets are generated into
`--raw` first.
"""

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import folder, generated, granules, image_list, labels
from workflow_scripts.fetch.inventory import SetAside, summary, take_inventory
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.fetch.show_catalogue import ShowCatalogue
from workflow_scripts.fetch.splits import check_fractions, split_by_fraction
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser

Found = tuple[list[Item], list[SetAside]]


def fetch_image_folder(recipe: dict[str, Any], *, workers: int | None = None) -> Found:
    """List a folder of images; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `obtain`, and `split`: {"by": "fraction", "train", "val",
            "test", "seed"}, {"by": "folder"} or {"by": "none"}.
        workers: Threads that read and hash.

    Raises:
        UserError: No folder, no image in it, or no such split.
    """
    split = recipe["split"]
    if split["by"] == "fraction":  # refuse before hours of reading
        check_fractions({name: split.get(name, 0.0) for name in folder.SPLITS})
    files = folder.find_images(
        Path(recipe["path"]), dataset=recipe["dataset"], obtain=recipe.get("obtain") or ""
    )
    if split["by"] == "folder":
        placed = {file.key: folder.split_and_class_of(file.key) for file in files}
    elif split["by"] in ("fraction", "none"):
        placed = {file.key: ("", folder.class_of(file.key)) for file in files}
    else:
        raise UserError(f"split.by is {split['by']!r}, expected fraction, folder or none")
    items, set_aside = take_inventory([(file.key, file.path) for file in files], workers=workers)
    items = [
        replace(item, split=placed[item.key][0] or None, label=placed[item.key][1])
        for item in items
    ]
    if split["by"] == "fraction":
        shares = {name: split.get(name, 0.0) for name in folder.SPLITS}
        contents = [(item.sha256, item.label) for item in items]
        chosen = split_by_fraction(contents, shares, seed=split["seed"])
        items = [replace(item, split=name) for item, name in zip(items, chosen, strict=True)]
    return items, set_aside


def fetch_image_list(recipe: dict[str, Any], *, workers: int | None = None) -> Found:
    """List the images of a table where they lie, with its labels; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `list`, `obtain`.
        workers: Threads that read and hash.

    Raises:
        UserError: No folder or table, or a row of the table that cannot be.
    """
    listed = image_list.read_list(
        Path(recipe["list"]), Path(recipe["path"]), dataset=recipe["dataset"],
        obtain=recipe.get("obtain") or "",
    )  # fmt: skip
    files = [(key, Path(recipe["path"], key)) for key in listed]
    items, set_aside = take_inventory(files, workers=workers)
    return [replace(item, **listed[item.key]) for item in items], set_aside


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
    files = [(path.relative_to(raw).as_posix(), path) for path in paths]
    return take_inventory(files, workers=workers)


def fetch_modis_day(
    recipe: dict[str, Any], listing: str | None, *, workers: int | None = None
) -> Found:
    """List one day's granules and their companions where they lie; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `platform`, `date`.
        listing: Text file that names the files; None looks through the folder.
        workers: Threads that read and hash.

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
    items, unreadable = take_inventory(files, workers=workers, empty=True)
    if unreadable:
        raise UserError(
            f"{unreadable[0]['key']} below {recipe['path']}: {unreadable[0]['reason']}; mend it or "
            "take it out of the folder"
        )
    return items, older


def fetch_labels(recipe: dict[str, Any], *, workers: int | None = None) -> Found:
    """List a dataset's label files where they lie; nothing is copied.

    Args:
        recipe: `dataset`, `path`, `obtain`.
        workers: Threads that read and hash.

    Raises:
        UserError: There is no label file.
    """
    found = labels.find_labels(
        Path(recipe["path"]), dataset=recipe["dataset"], obtain=recipe["obtain"]
    )
    return take_inventory([(file.key, file.path) for file in found], workers=workers)


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: raw files if generated, the manifest, and its summary beside it."""
    kind = recipe["kind"]
    if kind.startswith("sample-") and arguments.raw is None:
        raise UserError(f"--raw is missing: {kind} writes its files there")
    manifest: Path = arguments.manifest
    with exclusive(manifest):
        if kind == "image-folder":
            items, set_aside = fetch_image_folder(recipe, workers=arguments.workers)
            source = f"folder {recipe['path']}"
        elif kind == "image-list":
            items, set_aside = fetch_image_list(recipe, workers=arguments.workers)
            source = f"folder {recipe['path']}, list {recipe['list']}"
        elif kind == "sample-scenes":
            items, set_aside = fetch_sample_scenes(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: procedural aerial scenes, not real images"
        elif kind == "sample-modis":
            items, set_aside = fetch_sample_modis(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: granules in the MOD021KM layout, not real data"
        elif kind == "modis-l1b":
            items, set_aside = fetch_modis_day(recipe, arguments.listing, workers=arguments.workers)
            source = f"folder {recipe['path']}"
        elif kind == "aicca":
            items, set_aside = fetch_labels(recipe, workers=arguments.workers)
            source = f"labels {recipe['path']}"
        else:
            raise UserError(
                f"kind is {kind!r}, expected image-folder, image-list, sample-scenes, "
                "sample-modis, modis-l1b or aicca"
            )
        if not items:
            raise UserError(
                f"dataset {recipe['dataset']}: none of {len(set_aside)} files is usable; the first "
                f"is {set_aside[0]['key']}: {set_aside[0]['reason']}"
            )
        body = summary(
            items,
            set_aside,
            dataset=recipe["dataset"],
            synthetic=kind.startswith("sample-"),
            source=source,
        )
        write_manifest(manifest, items)
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
        manifest, len(items), len(body["classes"]), body["bytes"] / 1e6, len(set_aside),
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = stage_parser("fetch", __doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="the manifest to write")
    parser.add_argument("--raw", type=Path, help="where generated datasets put their files")
    parser.add_argument("--listing", help="text file that names the granules (modis-l1b)")
    parser.add_argument("--transfer", help="how files are downloaded: JSON, as `recipes transfer`")
    parser.add_argument("--workers", type=int, help="threads that read (default: all cores)")
    parser.add_argument(
        "--list", nargs="?", metavar="NAME", action=ShowCatalogue,
        help="print the catalogue of known datasets, or one of them, and do nothing else",
    )  # fmt: skip
    run_stage(parser, work)


if __name__ == "__main__":
    main()
