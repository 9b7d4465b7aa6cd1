"""What a plan is about: a run of the configuration, or an encoder named on the command line."""

import argparse
import json
from typing import Any

import yaml

from workflow_scripts import recipes
from workflow_scripts.config import Config
from workflow_scripts.config_check import ROOT, check_config, load_config
from workflow_scripts.errors import UserError
from workflow_scripts.jobs import Jobs
from workflow_scripts.models.folder import CARD
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.plan.predict import Case
from workflow_scripts.studies import bands

_NAME = "planned"  # of a run that is only on the command line


def case_of(arguments: argparse.Namespace) -> Case:
    """The case that the options describe.

    Raises:
        UserError: Options that do not go together, or a run that cannot be.
    """
    if bool(arguments.run) == bool(arguments.encoder):
        raise UserError("name either --run or --encoder")
    if arguments.run:
        return _of_run(load_config(*arguments.configfile), arguments.run, arguments)
    config = _with_run(_run_of(arguments))
    ranks = arguments.ranks or 1
    recipe = recipes.pretrain(config, _NAME)
    return Case(
        recipe=recipe, channels=arguments.channels, teacher=arguments.teacher,
        strategy=arguments.strategy or "no_shard", ranks=ranks,
        accumulate=arguments.accumulate or 1, recompute=arguments.activation_checkpointing,
        gpu=not arguments.cpu,
    )  # fmt: skip


def _of_run(config: Config, name: str, arguments: argparse.Namespace) -> Case:
    if name not in config.runs:
        raise UserError(f"--run {name}: the configuration has {', '.join(config.runs)}")
    for option in ("objective", "image_size", "channels"):
        if getattr(arguments, option) is not None:
            flag = option.replace("_", "-")
            raise UserError(f"--{flag} is told by --run {name}; it goes with --encoder")
    launch = config.runs[name].launch
    teacher = arguments.teacher or Jobs(config).model_folder(name, "teacher")
    if teacher is not None and not (teacher / CARD).is_file():
        raise UserError(
            f"--run {name}: its teacher {teacher} is not made yet, and its memory counts; make it "
            "first, or name the folder of another of the same size with --teacher"
        )
    recipe = recipes.pretrain(config, name)
    recipe["batch"] = arguments.batch or recipe["batch"]
    recipe["precision"] = arguments.precision or recipe["precision"]
    return Case(
        recipe=recipe, channels=bands(config, config.runs[name].corpus),
        teacher=teacher,
        strategy=arguments.strategy or launch.strategy,
        ranks=arguments.ranks or launch.nodes * launch.ranks_per_node,
        accumulate=arguments.accumulate or launch.accumulate,
        recompute=arguments.activation_checkpointing or launch.activation_checkpointing,
        gpu=not arguments.cpu,
    )  # fmt: skip


def _run_of(arguments: argparse.Namespace) -> dict[str, Any]:
    encoder = encoder_of(arguments)
    arguments.objective = arguments.objective or usual_objective(encoder)
    arguments.channels = arguments.channels or 3
    run = {"objective": arguments.objective, "encoder": encoder}
    if arguments.objective == "gfm":
        if arguments.teacher is None:
            raise UserError("--objective gfm needs --teacher, the folder of a finished run")
        run["teacher"] = f"./{arguments.teacher}"
    named = {"batch": arguments.batch, "precision": arguments.precision}
    return run | {key: value for key, value in named.items() if value is not None}


def usual_objective(encoder: Any) -> str:
    """`simmim` for the Swin families, else `mae`."""
    given = encoder if isinstance(encoder, dict) else {"name": encoder}
    named = LIBRARY.get(str(given.get("name")))
    family = given.get("family", named.numbers["family"] if named else "vit")
    return "simmim" if family in ("swin", "swinv2") else "mae"


def encoder_of(arguments: argparse.Namespace) -> Any:
    """The encoder as the configuration would have it, with the size of the images if named.

    Raises:
        UserError: It begins like JSON and is none.
    """
    text = arguments.encoder
    found: Any = text
    if text.lstrip().startswith("{"):
        try:
            found = json.loads(text)
        except ValueError as error:
            raise UserError(f"--encoder is not valid JSON: {error}") from None
    if arguments.image_size is None:
        return found
    return {**(found if isinstance(found, dict) else {"name": found}),
            "image_size": arguments.image_size}  # fmt: skip


def _with_run(run: dict[str, Any]) -> Config:
    """The embedded configuration with one more run, checked like any other."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))
    corpus = next(iter(raw["corpora"]))
    return check_config({**raw, "runs": {**raw["runs"], _NAME: {"corpus": corpus, **run}}})
