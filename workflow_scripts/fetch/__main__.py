"""Fetch a dataset: list its files with checksums, class (or classes) and split in a manifest.

Images, granules and labels are listed where they lie; the sample datasets are generated into
`--raw` first.
"""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch import days, kinds
from workflow_scripts.fetch.datasets import compare
from workflow_scripts.fetch.folder import LISTING
from workflow_scripts.fetch.inventory import summary
from workflow_scripts.fetch.manifest import write_ordered
from workflow_scripts.fetch.show_catalogue import ShowCatalogue
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import read_option, run_stage, stage_parser


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: raw files if generated, the manifest, and its summary beside it."""
    manifest: Path = arguments.manifest
    if days.is_at_source(recipe):
        options = read_option(arguments.transfer or "{}", "--transfer")
        days.fetch_listed_day(recipe, options, arguments.raw, manifest=manifest)
        return
    with exclusive(manifest):
        fetched = kinds.fetch(recipe, arguments)
        body = _summary(recipe, fetched)
        write_ordered(manifest, fetched.items.by_key())
        body["manifest"] = {"file": manifest.name, "sha256": file_sha256(manifest)}
        # The listing (with its times) is why the folder was looked at, and no part of the result.
        kept = {key: value for key, value in recipe.items() if key != LISTING}
        write_result(
            manifest.with_suffix(".json"),
            stamp=stamp("fetch", kept, {}), body=body, facts=fetched.made,
        )  # fmt: skip
    if body["duplicates_across_splits"]:
        log.warning(
            "%d items have a copy in another split: scores on them are flattered",
            body["duplicates_across_splits"],
        )
    log.info(
        "%s: %d items, %d classes, %.1f MB, %d set aside", manifest, len(fetched.items),
        len(body["classes"]), body["bytes"] / 1e6, fetched.set_aside.total,
    )  # fmt: skip


def _summary(recipe: dict[str, Any], fetched: kinds.Fetched) -> dict[str, Any]:
    """What the summary tells, less the manifest's digest.

    Raises:
        UserError: Nothing is usable, or what was downloaded is not what is expected.
    """
    items, set_aside = fetched.items, fetched.set_aside
    if not items:
        raise UserError(
            f"dataset {recipe['dataset']}: none of {set_aside.total} files is usable; the "
            f"first is {set_aside[0]['key']}: {set_aside[0]['reason']}"
        )
    body = fetched.facts | summary(
        items, set_aside,
        dataset=recipe["dataset"], synthetic=fetched.synthetic, source=fetched.source,
    )  # fmt: skip
    if recipe.get("expected"):
        differing = compare(recipe, body, demanded=fetched.demanded)
        body["differences"] = [*fetched.facts.get("differences", []), *differing]
    return body


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
