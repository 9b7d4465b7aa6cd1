"""Cut one day's MODIS granules into chips of lossless counts: a shard and its summary."""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import read_option, run_stage, stage_parser
from workflow_scripts.tile.at_hand import at_hand
from workflow_scripts.tile.day import tile_day


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: the day's shard, and `<date>.json` beside it."""
    manifest, chips = arguments.manifest, arguments.chips
    options = read_option(arguments.transfer, "--transfer") if arguments.transfer else None
    inputs = {"manifest": file_sha256(manifest)}
    listed = list(read_manifest(manifest))
    with exclusive(chips), at_hand(listed, options, manifest=manifest) as items:
        body = tile_day(
            recipe,
            manifest,
            chips,
            workers=arguments.workers,
            items=items,
            may_be_empty=options is not None,
        )
        if file_sha256(manifest) != inputs["manifest"]:  # by relist, beside a driver that works
            chips.unlink()
            raise UserError(
                f"{manifest} changed while the day was tiled; start again, for the day as it is now"
            )
        write_result(
            chips.with_suffix(".json"),
            stamp=stamp("tile", recipe, inputs),
            body=body,
            facts={"fetched_from": options["url"]} if options else None,
        )
    log.info(
        "%s: %d granules, %d set aside, %d chips kept, %d dropped",
        chips, body["granules_read"], body["granules_set_aside"], body["chips_kept"],
        sum(body["chips_dropped"].values()),
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = stage_parser("tile", __doc__)
    parser.add_argument("--manifest", type=Path, required=True, help="the day's manifest")
    parser.add_argument("--chips", type=Path, required=True, help="the shard to write, <date>.h5")
    parser.add_argument("--transfer", help="how granules are downloaded: JSON")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes that cut granules (0: this one)"
    )
    run_stage(parser, work)


if __name__ == "__main__":
    main()
