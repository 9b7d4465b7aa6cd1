"""Fetch a dataset: list its files with checksums, class (or classes) and split in a manifest.

Images, granules and labels are listed where they lie; the sample datasets are generated into
`--raw` first.
"""

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import folder, generated, granules
from workflow_scripts.fetch.datasets import (
    Found,
    compare,
    fetch_image_folder,
    fetch_image_list,
    fetch_labels,
)
from workflow_scripts.fetch.inventory import SetAsides, summary, take_inventory
from workflow_scripts.fetch.laads.archive import connect
from workflow_scripts.fetch.laads.write import write_day
from workflow_scripts.fetch.manifest import write_ordered
from workflow_scripts.fetch.obtain import obtain
from workflow_scripts.fetch.seen import seen_beside
from workflow_scripts.fetch.show_catalogue import ShowCatalogue
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import run_stage, stage_parser


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


def fetch_listed_day(recipe: dict[str, Any], arguments: argparse.Namespace) -> None:
    """List one day's granules at their source; they are fetched when they are tiled.

    Args:
        recipe: `dataset`, `kind`, `platform`, `date`, `source`.
        arguments: The command line's, with `transfer` and `raw`.

    Raises:
        UserError: An option is missing, the source cannot be asked, or there is no token.
    """
    if arguments.transfer is None or arguments.raw is None:
        raise UserError("--transfer or --raw is missing: granules are listed at their source")
    options = _transfer(arguments.transfer)
    write_day(
        recipe, connect(options), url=options["url"], manifest=arguments.manifest,
        folder=arguments.raw,
    )  # fmt: skip


_OBTAINED: dict[str, Callable[..., Found]] = {
    "image-folder": fetch_image_folder,
    "image-list": fetch_image_list,
    "aicca": fetch_labels,
}


def _transfer(text: str | None) -> dict[str, Any]:
    """What the option `--transfer` says.

    Raises:
        UserError: It is no JSON object.
    """
    try:
        said = json.loads(text or "{}")
    except ValueError as error:
        raise UserError(f"--transfer is not valid JSON: {error}") from None
    if not isinstance(said, dict):
        raise UserError(f"--transfer must be a JSON object, not {type(said).__name__}")
    return said


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: raw files if generated, the manifest, and its summary beside it."""
    kind = recipe["kind"]
    if kind == "modis-l1b" and recipe.get("source"):
        fetch_listed_day(recipe, arguments)
        return
    if kind.startswith("sample-") and arguments.raw is None:
        raise UserError(f"--raw is missing: {kind} writes its files there")
    manifest: Path = arguments.manifest
    more: dict[str, Any] = {}  # of the summary
    made: dict[str, Any] = {}  # and of the provenance
    demanded = False
    reading: dict[str, Any] = {"workers": arguments.workers, "seen": seen_beside(manifest)}
    with exclusive(manifest):
        if kind in _OBTAINED:
            transfer = _transfer(arguments.transfer)
            obtained = obtain(recipe, transfer, arguments.raw, manifest=manifest)
            items, set_aside = _OBTAINED[kind](recipe, obtained, **reading)
            more, made, demanded = obtained.facts, obtained.made, obtained.downloaded
            source = more["source"] + (f", list {recipe['list']}" if "list" in recipe else "")
        elif kind == "sample-scenes":
            items, set_aside = fetch_sample_scenes(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: procedural aerial scenes, not real images"
        elif kind == "sample-modis":
            items, set_aside = fetch_sample_modis(recipe, arguments.raw, workers=arguments.workers)
            source = "generated by Orbweaver: granules in the MOD021KM layout, not real data"
        elif kind == "modis-l1b":
            items, set_aside = fetch_modis_day(recipe, arguments.listing, **reading)
            source = f"folder {recipe['path']}"
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
        body = more | summary(
            items,
            set_aside,
            dataset=recipe["dataset"],
            synthetic=kind.startswith("sample-"),
            source=source,
        )
        if recipe.get("expected"):
            body["differences"] = compare(recipe, body, demanded=demanded)
        write_ordered(manifest, items.by_key())
        body["manifest"] = {"file": manifest.name, "sha256": file_sha256(manifest)}
        # The listing (with its times) is why the folder was looked at, and no part of the result.
        kept = {key: value for key, value in recipe.items() if key != folder.LISTING}
        write_result(
            manifest.with_suffix(".json"), stamp=stamp("fetch", kept, {}), body=body, facts=made
        )
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
    parser.add_argument(
        "--workers", type=int, help="threads or processes that read (default: all cores)"
    )
    parser.add_argument(
        "--list", nargs="?", metavar="NAME", action=ShowCatalogue,
        help="print the catalogue of known datasets, or one of them, and do nothing else",
    )  # fmt: skip
    run_stage(parser, work)


if __name__ == "__main__":
    main()
