"""Pack a corpus: shards and their index from the images of manifests, or an index over chips.

Chips that a benchmark's labels are joined to get a selection beside their index. With `--verify`
and an index alone, the corpus is compared with it instead, and nothing is written.
"""

import argparse
import sys
import time
from pathlib import Path
from typing import Any

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.pack.chips import pack_chips
from workflow_scripts.pack.images import pack_images
from workflow_scripts.pack.verify import VERIFY, check, verify_parser
from workflow_scripts.results import stamp, write_result
from workflow_scripts.shards import layout
from workflow_scripts.shards.corpus import content_digest
from workflow_scripts.stage import run_program, run_stage, stage_parser


def _by_dataset(manifests: list[Path], datasets: list[str]) -> list[tuple[str, Path]]:
    """(dataset, manifest) in the order of the datasets; a manifest is named after its dataset.

    Raises:
        UserError: The manifests are not those of the datasets.
    """
    found = {path.stem: path for path in manifests}
    if set(found) != set(datasets) or len(found) != len(manifests):
        raise UserError(
            f"--manifests are {', '.join(map(str, manifests))}, expected one <dataset>.jsonl for "
            f"each of the recipe's datasets: {', '.join(datasets)}"
        )
    return [(dataset, found[dataset]) for dataset in datasets]


def _judged(tables: list[Path], recipe: dict[str, Any]) -> dict[str, Path]:
    """The table of splits of each benchmark whose test images the corpus meets.

    Raises:
        UserError: The tables are not those of the recipe's benchmarks.
    """
    found = {path.stem: path for path in tables}
    wanted = recipe["benchmark_test"]["benchmarks"]
    if set(found) != set(wanted) or len(found) != len(tables):
        raise UserError(
            f"--judged is {', '.join(map(str, tables)) or 'not given'}, expected one "
            f"<benchmark>.csv for each of the recipe's benchmarks: {', '.join(wanted) or 'none'}"
        )
    return found


def remove_stale(index: Path, body: dict[str, Any]) -> None:
    """Remove shards of earlier packings, and what a killed one left, from the index's folder."""
    kept = {row["file"] for row in (*body["shards"], body.get("selection", {"file": None}))}
    # The facts of finished shards have served: with an index nothing is left to resume.
    patterns = ("shard-*.h5", ".shard-*.h5.tmp", ".shard-*.json",
                "..shard-*.json.tmp", "selection.h5",
                ".selection.h5.tmp")  # fmt: skip
    for pattern in patterns:
        for path in sorted(index.parent.glob(pattern)):
            if path.name not in kept:
                if not path.name.startswith("."):
                    log.info("removing %s, which the new index does not list", path)
                path.unlink()


def _given(arguments: argparse.Namespace, name: str, recipe: dict[str, Any]) -> Any:
    """An option that this recipe needs.

    Raises:
        UserError: It is missing.
    """
    value = getattr(arguments, name)
    if not value:
        kind = "labelled chips" if "labels" in recipe else recipe["kind"]
        raise UserError(f"--{name.replace('_', '-')} is missing, which {kind} need")
    return value


def _packed(
    arguments: argparse.Namespace, recipe: dict[str, Any]
) -> tuple[dict[str, Any], dict[str, str]]:
    """The body of the index, and the digests of what it was made from.

    Raises:
        UserError: No such kind, or an option is missing that the recipe needs.
    """
    index, workers = arguments.index, arguments.workers
    manifests: list[tuple[str, Path]] = []
    if recipe["kind"] == layout.IMAGES:
        manifests = _by_dataset(_given(arguments, "manifests", recipe), recipe["datasets"])
        judged = _judged(arguments.judged, recipe)
        body = pack_images(recipe, manifests, index, judged=judged, workers=workers)
        inputs = {f"manifest:{name}": file_sha256(path) for name, path in manifests}
        return body, inputs | {f"split:{one}": file_sha256(path) for one, path in judged.items()}
    if recipe["kind"] != layout.CHIPS:
        raise UserError(f"kind is {recipe['kind']!r}, expected {layout.IMAGES} or {layout.CHIPS}")
    root = _given(arguments, "chips_root", recipe)
    if "labels" in recipe:
        from workflow_scripts.pack.aicca import pack_labelled  # pandas and scikit-learn take long

        given = _given(arguments, "manifests", recipe)
        manifests = _by_dataset(given, [recipe["labels"]["dataset"]])
        body = pack_labelled(recipe, root, manifests[0][1], index, workers=workers)
    else:
        body = pack_chips(recipe, root, index, workers=workers)
    inputs = {f"manifest:{name}": file_sha256(path) for name, path in manifests}
    return body, inputs | {f"chips:{row['file']}": row["sha256"] for row in body["shards"]}


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: shards (of images), then the index."""
    index: Path = arguments.index
    start = time.monotonic()
    with exclusive(index):
        body, inputs = _packed(arguments, recipe)
        body = {
            "format_version": layout.FORMAT_VERSION,
            "count": sum(row["count"] for row in body["shards"]),
            "content": content_digest(body),
            **body,
        }
        body |= {key: recipe[key] for key in ("corpus", "kind", "synthetic", "datasets")}
        seconds = time.monotonic() - start
        facts = {"samples_per_s": round(body["count"] / seconds, 1)}
        stamped = stamp("pack", recipe, inputs)
        body["checksum"] = digest({**stamped, **body})  # of all else; --verify compares it
        write_result(index, stamp=stamped, body=body, facts=facts)
        remove_stale(index, body)
    log.info("%s: %d samples in %d shards", index, body["count"], len(body["shards"]))
    for what in ("set_aside", "left_out"):
        for reason, count in sorted(body.get(what, {}).items()):
            log.info("%s: %d %s: %s", index, count, what.replace("_", " "), reason)


def parser() -> argparse.ArgumentParser:
    """The command line that packs."""
    one = stage_parser("pack", __doc__)
    one.add_argument("--index", type=Path, required=True, help="the index.json to write")
    one.add_argument(
        "--manifests", type=Path, nargs="+", help="manifests of image datasets, or of label files"
    )
    one.add_argument(
        "--judged", type=Path, nargs="*", default=[],
        help="<benchmark>.csv of each benchmark whose test images are to be left out, or counted",
    )  # fmt: skip
    one.add_argument(
        "--chips-root", type=Path, help="folder with <dataset>/<date>.h5 of the recipe's days"
    )
    one.add_argument(
        "--workers", type=int, help="processes and threads in all (default: all cores)"
    )
    return one


def main() -> None:
    """The command line: packs, or checks what was packed."""
    if any(word.partition("=")[0] == VERIFY for word in sys.argv[1:]):
        run_program(verify_parser(), check)
    else:
        run_stage(parser(), work)


if __name__ == "__main__":
    main()
