"""Fit the planner's constants to a scaling study of your own machine.

The machine that is written goes over the configuration like any other file:
`snakemake plan --configfile mine.yaml`, `python -m workflow_scripts.plan run --configfile mine.yaml
--machine <name>`.
"""

import argparse
import statistics
import sys
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import yaml

from workflow_scripts.config import Config
from workflow_scripts.config_check import check_config, merged_config
from workflow_scripts.errors import UserError
from workflow_scripts.files import write_text
from workflow_scripts.forecast.measured import (
    against,
    errors,
    read_study,
    seen_by,
    study_precision,
    to_fit,
)
from workflow_scripts.forecast.planned import constants_of, machine_of, numbers_of
from workflow_scripts.forecast.show import text_table
from workflow_scripts.forecast.words import count as number
from workflow_scripts.plan.cost import BUILT_IN, Constants
from workflow_scripts.plan.fit import at_limits, fit
from workflow_scripts.plan.machine_options import add_machine, named_machine

Json = dict[str, Any]

_HEAD = """# Made by `python -m workflow_scripts.plan refit` from {study}: {count}, median
# error of images/s {after:.0%} ({before:.0%} with the constants before). Goes over the
# configuration.
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m workflow_scripts.plan refit`."""
    add = parser.add_argument
    add("--study", type=Path, required=True, help="results/scaling/<study>.json")
    add("--configfile", type=Path, nargs="*", default=[], help="over the embedded default")
    add("--output", type=Path, help="the machine with its constants (default: <machine>.yaml)")
    add("--name", help="of the machine that is written (default: <machine>-<study>)")
    add_machine(parser, default=None)


def plan(arguments: argparse.Namespace) -> None:
    """Fit, print how much better it is, and write the machine."""
    name, numbers = _machine(arguments)
    machine = machine_of(numbers)
    points = read_study(arguments.study, machine)
    machine = seen_by(points, machine)
    used = to_fit(points)
    before = constants_of(numbers["constants"])
    after = fit([one.observation(machine) for one in used])
    rows = [against(used, machine, constants) for constants in (before, after)]
    own = arguments.name or f"{name}-{arguments.study.stem}"
    path = arguments.output or Path(f"{own}.yaml")
    write_text(path, _overlay(own, numbers, after, arguments.study, rows))
    limits = [
        f"{constant} ended at its limit of {end:g}: is a number of the machine that it multiplies "
        "(peak, bandwidth) far off?"
        for constant, end in at_limits(after).items()
    ]
    text = [*_constants(before, after), *limits, "", *_rates(rows), "", *_next(own, path, rows)]
    sys.stdout.write("\n".join(text) + "\n")


def _machine(arguments: argparse.Namespace) -> tuple[str, Json]:
    """The machine on which the study was made.

    Raises:
        UserError: It is not named, and no machine of the configuration names this study.
    """
    raw = merged_config(*arguments.configfile)
    config = check_config(raw)
    if not arguments.machine:
        arguments.machine = _that_names(config, arguments.study.stem)
    if not arguments.machine and not arguments.devices_per_node:
        raise UserError(
            f"no machine of the configuration names study {arguments.study.stem}; say on which it "
            "was made with --machine, or with the numbers of the machine"
        )
    precision = study_precision(arguments.study)  # built-in machines have a peak for each
    name, numbers = named_machine(arguments, config, precision)
    if numbers is not None:
        checked = check_config({**raw, "machines": {**raw.get("machines", {}), name: numbers}})
        return name, numbers_of(name, _plain(checked, name))
    own = _plain(config, name) if name in config.machines else None
    return name, numbers_of(name, own, precision)


def _plain(config: Config, machine: str) -> Json:
    return config.machines[machine].model_dump(mode="json", exclude={"study"})


def _that_names(config: Config, study: str) -> str | None:
    found = [name for name, one in config.machines.items() if one.study == study]
    return found[0] if found else None


def _overlay(
    name: str, numbers: Json, constants: Constants, study: Path, rows: Sequence[Sequence[Json]]
) -> str:
    """The machine as a file of the configuration."""
    before, after = (statistics.median(errors(one)) for one in rows)
    entry = {key: value for key, value in numbers.items() if value not in (None, [], {})}
    entry["label"] = f"{numbers['label']}, fitted to {study.stem}"
    entry["constants"] = {key: float(f"{value:.6g}") for key, value in vars(constants).items()}
    head = _HEAD.format(
        study=study.name, count=number(len(rows[0]), "point"), before=before, after=after
    )
    return head + yaml.safe_dump({"machines": {name: entry}}, sort_keys=False, allow_unicode=True)


def _constants(before: Constants, after: Constants) -> list[str]:
    rows = [
        (one.name, f"{getattr(before, one.name):.4g}", f"{getattr(after, one.name):.4g}")
        for one in fields(BUILT_IN)
    ]
    return text_table(("constant", "before", "fitted"), rows)


def _rates(rows: Sequence[Sequence[Json]]) -> list[str]:
    cells = [
        (old["point"], f"{old['images_per_s']:,.1f}", f"{old['predicted_images_per_s']:,.1f}",
         f"{new['predicted_images_per_s']:,.1f}")
        for old, new in zip(*rows, strict=True)
    ]  # fmt: skip
    return text_table(("point", "images/s", "planned before", "planned now"), cells)


def _next(name: str, path: Path, rows: Sequence[Sequence[Json]]) -> list[str]:
    before, after = (errors(one) for one in rows)
    return [
        f"median error of images/s: {statistics.median(before):.0%} before, "
        f"{statistics.median(after):.0%} fitted; largest {max(before):.0%} and {max(after):.0%}. "
        "These points were fitted: others will be missed by more.",
        f"{path} is machine {name}: python -m workflow_scripts.plan run --configfile {path} "
        f"--machine {name} …",
    ]
