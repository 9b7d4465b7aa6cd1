"""The table of a scaling study: made from its points, shown, or rid of the points that failed.

python -m workflow_scripts.study --recipe JSON --points FOLDER --output FILE
python -m workflow_scripts.study --show FILE…
python -m workflow_scripts.study --retry-failed FILE…
"""

import argparse
import sys
from pathlib import Path

from workflow_scripts.code_digest import code_digest
from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_object
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import add_log, read_recipe, run_program
from workflow_scripts.study.forget import forget_failed
from workflow_scripts.study.points import read_study
from workflow_scripts.study.shown import shown
from workflow_scripts.study.table import damaged

_OF_STAMP = ("schema_version", "stage", "recipe", "digests")


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = argparse.ArgumentParser(prog="python -m workflow_scripts.study", description=__doc__)
    what = one.add_mutually_exclusive_group(required=True)
    what.add_argument("--recipe", help="the recipe: JSON text, or the path of a JSON file")
    what.add_argument("--show", type=Path, nargs="+", metavar="FILE", help="tables to print")
    what.add_argument(
        "--retry-failed", type=Path, nargs="+", metavar="FILE",
        help="tables whose points that are not done are deleted, so that the next start of the "
        "workflow measures them again",
    )  # fmt: skip
    one.add_argument("--points", type=Path, help="with --recipe: the folder of the points")
    one.add_argument("--output", type=Path, help="with --recipe: the table's JSON, written here")
    add_log(one)
    return one


def _make(arguments: argparse.Namespace) -> None:
    if arguments.points is None or arguments.output is None:
        raise UserError("--recipe needs --points and --output as well")
    code_digest("study")
    recipe = read_recipe(arguments.recipe)
    points = [
        read_object(arguments.points / f"{name}.json", point=str, status=str)
        for name in recipe["points"]
    ]
    for name, point in zip(recipe["points"], points, strict=True):
        if point["point"] != name:
            raise UserError(
                f"{arguments.points / f'{name}.json'}: of point {point['point']}; delete it and "
                "measure it again"
            )
    rows = [{k: value for k, value in row.items() if k not in _OF_STAMP} for row in points]
    inputs = {f"point:{row['point']}": digest(row) for row in points}
    body = {"study": recipe["study"], "label": recipe["label"], "points": rows}
    write_result(arguments.output, stamp=stamp("study", recipe, inputs), body=body)


def _table(file: Path) -> str:
    """The table of a study's JSON.

    Raises:
        UserError: The file is not what this stage writes.
    """
    study = read_study(file)
    try:
        return shown(study)
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise damaged(file, repr(error)) from error


def work(arguments: argparse.Namespace) -> None:
    """Make, show or thin out tables."""
    if arguments.recipe is not None:
        _make(arguments)
    for file in arguments.show or ():
        sys.stdout.write(_table(file) + "\n")
    for file in arguments.retry_failed or ():
        names = forget_failed(file)
        for name in names:
            sys.stdout.write(f"{file}: {name} will be measured again\n")
        if not names:
            sys.stdout.write(f"{file}: all points are done\n")


if __name__ == "__main__":
    run_program(parser(), work)
