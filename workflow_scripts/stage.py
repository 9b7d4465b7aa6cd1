"""What every stage's command line shares: the recipe, the log, and how errors end."""

import argparse
import errno
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from workflow_scripts.code_digest import code_digest
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.logs import log, start_logging

_OF_THE_DISK = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EPERM})


def stage_parser(stage: str, description: str) -> argparse.ArgumentParser:
    """A parser for `python -m workflow_scripts.<stage>` with the options that all stages have."""
    parser = argparse.ArgumentParser(
        prog=f"python -m workflow_scripts.{stage}",
        description=description,
        epilog="`python -m workflow_scripts.recipes <rule> <name>` prints the config's recipe.",
    )
    parser.add_argument(
        "--recipe", required=True, help="the recipe: JSON text, or the path of a JSON file"
    )
    add_log(parser)
    return parser


def add_log(parser: argparse.ArgumentParser) -> None:
    """The option that every program of the pipeline has."""
    parser.add_argument("--log", type=Path, help="also write the log to this file")


def read_recipe(text: str) -> dict[str, Any]:
    """The recipe from JSON text or from a file.

    Raises:
        UserError: It is neither.
    """
    is_text = text.lstrip().startswith("{")
    return _as_object(_parsed(text, "--recipe") if is_text else read_json(Path(text)), "--recipe")


def read_option(text: str, option: str) -> dict[str, Any]:
    """What an option says that is a JSON object.

    Raises:
        UserError: It is none.
    """
    return _as_object(_parsed(text, option), option)


def _parsed(text: str, option: str) -> Any:
    try:
        return json.loads(text)
    except ValueError as error:
        raise UserError(f"{option} is not valid JSON: {error}") from None


def _as_object(value: Any, option: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise UserError(f"{option} must be a JSON object, not {type(value).__name__}")
    return value


def run_program(
    parser: argparse.ArgumentParser, work: Callable[[argparse.Namespace], None]
) -> None:
    """Parse the command line, start the log, do the work; a UserError ends with its text and 1.

    Args:
        parser: Has the option `--log`.
        work: Gets the arguments.
    """
    arguments = parser.parse_args()
    start_logging(arguments.log)
    try:
        work(arguments)
    except UserError as error:
        log.error("%s", error)
        sys.exit(1)
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _OF_THE_DISK:
            log.error(
                "%s; make room, or mend the file system or its rights, and start again", error
            )
        else:
            log.exception("%s failed", parser.prog)
        sys.exit(1)


def run_stage(
    parser: argparse.ArgumentParser,
    work: Callable[[argparse.Namespace, dict[str, Any]], None],
    *,
    writes: bool = True,
) -> None:
    """`run_program` for a stage: its work gets the arguments and the recipe.

    Args:
        parser: The stage's.
        work: What it does.
        writes: Whether this process writes results, which carry the digest of the code; of a
            thousand ranks one does.
    """

    def stage(arguments: argparse.Namespace) -> None:
        if writes:  # the digest of the code that runs, should it be edited now
            code_digest(parser.prog.rpartition(".")[2])
        work(arguments, read_recipe(arguments.recipe))

    run_program(parser, stage)
