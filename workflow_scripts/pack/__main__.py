"""Pack a corpus: shards and their index from the images of manifests, or an index over chips."""

import argparse
import time
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.pack.chips import pack_chips
from workflow_scripts.pack.images import pack_images
from workflow_scripts.results import stamp, write_result
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.stage import run_stage, stage_parser


def _by_dataset(manifests: list[Path], recipe: dict[str, Any]) -> list[tuple[str, Path]]:
    """(dataset, manifest) in the recipe's order; a manifest is named after its dataset.

    Raises:
        UserError: The manifests are not those of the recipe's datasets.
    """
    found = {path.stem: path for path in manifests}
    if set(found) != set(recipe["datasets"]) or len(found) != len(manifests):
        raise UserError(
            f"--manifests are {', '.join(map(str, manifests))}, expected one <dataset>.jsonl for "
            f"each of the recipe's datasets: {', '.join(recipe['datasets'])}"
        )
    return [(dataset, found[dataset]) for dataset in recipe["datasets"]]


def remove_stale(index: Path, body: dict[str, Any]) -> None:
    """Remove shards of earlier packings, and what a killed one left, from the index's folder."""
    kept = {row["file"] for row in body["shards"]}
    for pattern in ("shard-*.h5", ".shard-*.h5.tmp"):
        for path in sorted(index.parent.glob(pattern)):
            if path.name not in kept:
                log.info("removing %s, which the new index does not list", path)
                path.unlink()


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: shards (of images), then the index."""
    index: Path = arguments.index
    start = time.monotonic()
    with exclusive(index):
        if recipe["kind"] == layout.IMAGES and arguments.manifests:
            manifests = _by_dataset(arguments.manifests, recipe)
            inputs = {f"manifest:{name}": file_sha256(path) for name, path in manifests}
            body = pack_images(recipe, manifests, index, workers=arguments.workers)
        elif recipe["kind"] == layout.CHIPS and arguments.chips:
            body = pack_chips(recipe, arguments.chips, index, workers=arguments.workers)
            inputs = {f"chips:{row['file']}": row["sha256"] for row in body["shards"]}
        else:
            raise UserError(
                f"kind is {recipe['kind']!r}: images need --manifests, chips need --chips"
            )
        body |= {
            "format_version": layout.FORMAT_VERSION,
            "count": sum(row["count"] for row in body["shards"]),
            "content": content_digest(body),
        }
        body |= {key: recipe[key] for key in ("corpus", "kind", "synthetic", "datasets")}
        seconds = time.monotonic() - start
        facts = {"samples_per_s": round(body["count"] / seconds, 1)}
        write_result(index, stamp=stamp("pack", recipe, inputs), body=body, facts=facts)
        remove_stale(index, body)
    log.info(
        "%s: %d samples in %d shards, %d set aside",
        index, body["count"], len(body["shards"]), sum(body["set_aside"].values()),
    )  # fmt: skip


def main() -> None:
    """The command line."""
    parser = stage_parser("pack", __doc__)
    parser.add_argument("--index", type=Path, required=True, help="the index.json to write")
    parser.add_argument("--manifests", type=Path, nargs="+", help="manifests of image datasets")
    parser.add_argument("--chips", type=Path, nargs="+", help="day files of chips")
    parser.add_argument("--workers", type=int, help="threads (default: all cores)")
    run_stage(parser, work)


if __name__ == "__main__":
    main()
