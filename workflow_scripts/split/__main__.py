"""Make the splits of a benchmark: a table with a row an image, and what each split is made of.

The CSV has the columns `key,sha256,label` and one a split, whose cells are `train`, `val`, `test`
or empty; its rows are those of the manifest. The JSON beside it has the digest of each split, how
it was made, and what was left out.
"""

import argparse
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.split.items import JOINS, Items, read_items
from workflow_scripts.split.lists import ListFile, list_files
from workflow_scripts.split.make import Made, make_splits
from workflow_scripts.split.table import SIDES, split_digest, write_table
from workflow_scripts.stage import run_stage, stage_parser

_SHOWN = 5  # classes that are named in a message


def check_sides(made: list[Made], items: Items, *, benchmark: str) -> None:
    """Refuse splits that nothing could be learnt from or judged on, before anything is pretrained.

    Raises:
        UserError: There is one class, a split has no image for training, or none for the test, or
            a class has none for training.
    """
    if len(items.classes) < 2:
        raise UserError(
            f"benchmark {benchmark}: all images are of class {items.classes[0]!r}; a benchmark "
            "needs two classes or more"
        )
    change = f"change benchmarks.{benchmark}.split"
    for one in made:
        for side in ("train", "test"):
            if side not in one.sides:
                counts = ", ".join(f"{one.sides.count(name)} {name}" for name in SIDES)
                raise UserError(
                    f"benchmark {benchmark}: split {one.name!r} has no image for {side} ({counts} "
                    f"of {len(one.sides)}); {change}"
                )
        learnt = {text for text, side in zip(items.labels, one.sides, strict=True)
                  if side == "train"}  # fmt: skip
        if items.multi_label:
            learnt = {name for text in learnt for name in text.split(JOINS)}
        if lacking := [name for name in items.classes if name not in learnt]:
            listed = ", ".join(map(repr, lacking[:_SHOWN]))
            raise UserError(
                f"benchmark {benchmark}: split {one.name!r} has no image for training of "
                f"{len(lacking)} of {len(items.classes)} classes: {listed}"
                f"{', …' if len(lacking) > _SHOWN else ''}; {change}, or take such images out"
            )


def describe(items: Items, one: Made) -> dict[str, Any]:
    """What the JSON says of a split."""
    return {
        "name": one.name,
        "digest": split_digest(items.keys, one.sides, items.labels),
        "counts": {name: one.sides.count(name) for name in SIDES},
        "made": one.how,
        "left_out": one.left_out,
    }


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: the table, then the JSON beside it."""
    output, benchmark = arguments.output, recipe["benchmark"]
    if output.suffix != ".csv":
        raise UserError(f"--output is {output}; expected a file that ends with .csv")
    with exclusive(output):
        items = read_items(arguments.manifest)
        made = make_splits(items, recipe)
        check_sides(made, items, benchmark=benchmark)
        columns = {one.name: one.sides for one in made}
        write_table(output, items.keys, items.contents, items.labels, columns)
        body = {
            "benchmark": benchmark,
            "dataset": recipe["dataset"],
            "items": len(items.keys),
            "classes": items.classes,
            "multi_label": items.multi_label,
            "table": {"file": output.name, "sha256": file_sha256(output)},
            "splits": [describe(items, one) for one in made],
        }
        inputs = {"manifest": file_sha256(arguments.manifest), **_lists(recipe)}
        write_result(output.with_suffix(".json"), stamp=stamp("split", recipe, inputs), body=body)
    for row in body["splits"]:
        counts = ", ".join(f"{count} {name}" for name, count in row["counts"].items())
        log.info("%s: split %s: %s", output, row["name"], counts)


def _lists(recipe: dict[str, Any]) -> dict[str, str]:
    """Digests of the lists that the splits are read from, as `jobs` expects them."""
    found: list[ListFile] = list_files(recipe["split"])
    return {f"list:{path}": file_sha256(Path(path)) for path in found}


def main() -> None:
    """The command line."""
    parser = stage_parser("split", __doc__)
    parser.add_argument(
        "--manifest", type=Path, required=True, help="data/manifests/<dataset>.jsonl"
    )
    parser.add_argument(
        "--output", type=Path, required=True, help="the CSV to write; a JSON goes beside it"
    )
    run_stage(parser, work)


if __name__ == "__main__":
    main()
