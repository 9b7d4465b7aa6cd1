"""What a pretraining takes of a machine: time, node-hours, energy; by strategy and nodes."""

import argparse
import json
import math
import sys
from pathlib import Path
from typing import Any

from workflow_scripts import recipes
from workflow_scripts.config import Config
from workflow_scripts.config_check import check_config, merged_config
from workflow_scripts.errors import UserError
from workflow_scripts.forecast.build import forecast
from workflow_scripts.forecast.show import lines
from workflow_scripts.jobs import Jobs
from workflow_scripts.plan.cases import encoder_of
from workflow_scripts.plan.machine_options import add_machine, named_machine
from workflow_scripts.report.figures_plans import write_picture

_NAME = "planned"  # of a plan that is only on the command line
_MACHINE = "frontier"


def whole(text: str) -> int:
    """A whole number, also as `1e6`.

    Raises:
        argparse.ArgumentTypeError: It is none.
    """
    try:
        number = float(text)
    except ValueError:
        number = math.nan
    if not number.is_integer():  # neither are nan and inf
        raise argparse.ArgumentTypeError(
            f"expected a whole number, such as 1000000 or 1e6; got {text!r}"
        )
    return int(number)


def wholes(text: str) -> list[int]:
    """Whole numbers with commas between them.

    Raises:
        argparse.ArgumentTypeError: One of them is none.
    """
    return [whole(part) for part in text.split(",")]


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m workflow_scripts.plan run`."""
    add = parser.add_argument
    add("--run", help="a run of the configuration")
    add("--configfile", type=Path, nargs="*", default=[], help="over the embedded default")
    add("--encoder", help="instead of --run: an encoder as in the configuration, a name or JSON")
    add("--objective", choices=["mae", "simmim"], help="default: mae for a ViT, simmim for a Swin")
    add("--image-size", type=int, help="pixels; default: the encoder's own")
    add("--channels", type=int, help="bands of the images (default: 3, or the run's)")
    add("--images", type=whole, help="of the corpus, such as 1e6; default: as the run's holds")
    add("--epochs", type=whole, help="passes over them (default: 100, or the run's)")
    add("--nodes", type=wholes, help="numbers of nodes (default: 1,2,4,8,16,32,64,128)")
    add("--strategies", type=lambda text: text.split(","), help="default: those worth comparing")
    add("--batch", type=int, help="samples of a device in a step (default: 32)")
    add("--precision", choices=["bf16", "fp32"], default="bf16", help="default: bf16")
    add("--activation-checkpointing", action="store_true", help="blocks keep their inputs only")
    add("--budget-node-hours", type=float, help="what may be spent")
    add("--deadline-days", type=float, help="when it has to be done")
    add("--largest-batch", type=whole, help="images of a step beyond which you would not train")
    add("--study", type=Path, help="a study of the machine, to which constants are fitted")
    add("--figure", type=Path, help="also draw time against node-hours, into this .svg")
    add("--json", action="store_true", help="one JSON object instead of the table")
    add_machine(parser, default=_MACHINE)


def plan(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    if bool(arguments.run) == bool(arguments.encoder):
        raise UserError("name either --run or --encoder")
    if arguments.figure and arguments.figure.suffix != ".svg":
        raise UserError(f"--figure {arguments.figure}: expected a name that ends in .svg")
    config = _config(arguments)
    recipe = recipes.forecast(config, _NAME)
    if arguments.study:
        recipe["study"] = arguments.study.stem
    study = arguments.study
    if recipe["study"] and not study:
        study = Jobs(config).study(recipe["study"]).result
    body = forecast(recipe, index=_index(config, recipe), study=study)
    found = {"recipe": recipe, **body}
    if arguments.figure:
        write_picture(found, arguments.figure)
    text = json.dumps(found, indent=2) if arguments.json else "\n".join(lines(found))
    sys.stdout.write(text + "\n")


def _config(arguments: argparse.Namespace) -> Config:
    """The configuration with one more plan, checked like any other."""
    raw = merged_config(*arguments.configfile)
    name, numbers = named_machine(arguments, check_config(raw), arguments.precision)
    asked: dict[str, Any] = {
        "run": arguments.run,
        "encoder": encoder_of(arguments) if arguments.encoder else None,
        "machine": name or _MACHINE,
        "label": arguments.run or str(arguments.encoder),
    }
    given = (
        "objective", "channels", "images", "epochs", "nodes", "strategies", "batch", "precision",
        "activation_checkpointing", "budget_node_hours", "deadline_days", "largest_batch",
    )  # fmt: skip
    asked |= {key: getattr(arguments, key) for key in given}
    entry = {key: value for key, value in asked.items() if value is not None}
    if arguments.run and arguments.image_size:
        raise UserError(f"--image-size is told by --run {arguments.run}; it goes with --encoder")
    if numbers is not None:
        raw["machines"] = {**raw.get("machines", {}), name: numbers}
    raw["plans"] = {**raw.get("plans", {}), _NAME: entry}
    return check_config(raw)


def _index(config: Config, recipe: dict[str, Any]) -> Path | None:
    """The corpus of a run, whose images are counted if nobody said how many there are."""
    if recipe["images"]:
        return None
    index = Jobs(config).pack(config.runs[recipe["run"]].corpus).result
    if not index.is_file():
        raise UserError(
            f"--run {recipe['run']}: its corpus is not packed yet ({index}), so say with --images "
            "how many images it will have"
        )
    return index
