"""Where a dataset's files lie: on disk, put into its folder by hand, or downloaded into it.

In this order: the configured `path`, read where it lies; what a person put into
`data/raw/<dataset>`, found by the names that the source gives, else as a folder; the source,
downloaded there. What has been downloaded and verified once is not asked for again.
"""

from dataclasses import replace
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch import generated, labels
from workflow_scripts.fetch.contents import Reading
from workflow_scripts.fetch.folder import IMAGE_SUFFIXES
from workflow_scripts.fetch.obtained import Obtained, of_files
from workflow_scripts.fetch.placed import by_hand, on_disk
from workflow_scripts.fetch.sources.manual import instructions
from workflow_scripts.fetch.sources.words import words

UNPACKED = ".unpacked"  # below the dataset's folder; hidden, so that no listing takes it for data
_URLS = 100  # kept in the provenance
_SUFFIXES = {
    "image-folder": IMAGE_SUFFIXES,
    "image-list": ("",),  # whatever the table names
    "aicca": labels.SUFFIXES,
    "files": ("",),
}


def obtain(
    recipe: dict[str, Any],
    transfer: dict[str, Any],
    raw: Path | None,
    *,
    manifest: Path | None = None,
) -> Obtained:
    """Find a dataset's files, and download them if that has not been done.

    Args:
        recipe: `dataset`, `kind`, `path`, `source`, `obtain`, `root`, `parquet`, `rescan`.
        transfer: How files are downloaded, of the option `--transfer`.
        raw: `data/raw/<dataset>`; None: neither downloads nor files put there by hand.
        manifest: What this job makes, to name the command to go on with.

    Raises:
        UserError: They are not there; tells where to get them, where to put them and how to go on.
            Or they are not what was expected.
    """
    reading = Reading(
        dataset=recipe["dataset"],
        suffixes=_SUFFIXES[recipe["kind"]],
        root=recipe.get("root") or "",
        unpacked=raw / UNPACKED if raw else None,
        parquet=recipe.get("parquet"),
    )
    if recipe.get("path"):
        return on_disk(recipe, Path(recipe["path"]), reading)
    if raw is None:
        raise UserError(
            f"dataset {recipe['dataset']}: neither path nor --raw is given; expected the folder "
            "that holds it, or the one to fetch it into"
        )
    by_hand_only = (recipe.get("source") or {"kind": "manual"})["kind"] == "manual"
    # The mark of an earlier download does not hide what a person has put there since.
    if generated.placed_by_hand(raw) or (by_hand_only and generated.holds_something(raw)):
        return by_hand(recipe, raw, reading)
    if by_hand_only:
        raise UserError(_instructions(recipe, raw, manifest))
    return _downloaded(recipe, transfer, raw, reading)


def _downloaded(
    recipe: dict[str, Any], transfer: dict[str, Any], raw: Path, reading: Reading
) -> Obtained:
    """The source's files, downloaded unless they are there."""
    # Here: most datasets lie on disk, and each process that hashes would load HTTP's libraries.
    from workflow_scripts.fetch.sources.find import find
    from workflow_scripts.transfer.download import download

    generated.claim(raw)
    dataset = recipe["dataset"]
    try:
        wanted = find(recipe["source"], transfer, raw, rescan=recipe.get("rescan") or 0)
        received = download(wanted.remotes, raw, client=wanted.client, what=dataset)
    except UserError as error:
        generated.release(raw)
        raise UserError(
            f"dataset {dataset}: {error}\nOr set datasets.{dataset}.path to a folder or archive "
            "that holds it."
        ) from None
    urls = [one.url for one in received if one.url]
    made = {"way": "downloaded", "fetched": len(urls), "urls": urls[:_URLS]}
    found = of_files(recipe, received, reading, text=words(recipe["source"]), made=made)
    return replace(found, facts=found.facts | wanted.facts, downloaded=True)


def _instructions(recipe: dict[str, Any], raw: Path, manifest: Path | None) -> str:
    return instructions(
        recipe["dataset"],
        raw,
        how=recipe.get("obtain") or "",
        files=(recipe.get("source") or {}).get("files") or [],
        manifest=manifest,
    )
