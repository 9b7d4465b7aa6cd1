"""Plan a pretraining: what each layout takes of a machine, and which to take.

python -m workflow_scripts.forecast --recipe RECIPE [--index INDEX] [--study STUDY] --output PLAN
python -m workflow_scripts.forecast --show PLAN…
"""

import argparse
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.forecast.build import forecast
from workflow_scripts.forecast.show import lines
from workflow_scripts.logs import log
from workflow_scripts.results import stamp, write_result
from workflow_scripts.stage import add_log, run_program, run_stage, stage_parser

STAGE = "forecast"


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser(STAGE, __doc__ or "")
    one.add_argument("--index", type=Path, help="index.json of the corpus, to count its images")
    one.add_argument("--study", type=Path, help="a study of the machine, to fit constants to")
    one.add_argument("--output", type=Path, required=True, help="the plan, written here")
    return one


def show_parser() -> argparse.ArgumentParser:
    """The command line that prints plans."""
    one = argparse.ArgumentParser(prog=f"python -m workflow_scripts.{STAGE}", description=__doc__)
    one.add_argument("--show", type=Path, nargs="*", required=True, help="plans to print")
    add_log(one)
    return one


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """The stage, one at a time for a plan."""
    with exclusive(arguments.output):
        body = forecast(recipe, index=arguments.index, study=arguments.study)
        given = {"index": arguments.index, "study": arguments.study}
        inputs = {role: file_sha256(path) for role, path in given.items() if path}
        write_result(arguments.output, stamp=stamp(STAGE, recipe, inputs), body=body)
    log.info("%s", body["recommended"]["why"])
    log.info("%s", arguments.output)


def show(arguments: argparse.Namespace) -> None:
    """Print plans.

    Raises:
        UserError: A file is no plan.
    """
    texts = []
    for path in arguments.show:
        plan = read_json(path)
        if not isinstance(plan, dict) or plan.get("stage") != STAGE:
            raise UserError(f"{path}: no plan; expected what `snakemake plan` writes")
        try:
            texts.append("\n".join(lines(plan)))
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise UserError(
                f"{path}: damaged, it is not as `snakemake plan` writes it ({error!r}); delete it "
                "and make it again"
            ) from error
    sys.stdout.write("\n\n".join(texts or ["The configuration has no plans."]) + "\n")


if __name__ == "__main__":
    if "--show" in sys.argv[1:]:
        run_program(show_parser(), show)
    else:
        run_stage(parser(), work)
