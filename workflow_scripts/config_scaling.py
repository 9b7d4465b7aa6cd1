"""Studies and plans that point at nothing or cannot be, found in the configuration."""

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from pydantic import ValidationError

from workflow_scripts.config import Config
from workflow_scripts.config_masks import impossible_mask
from workflow_scripts.plan.machines import BUILT_IN
from workflow_scripts.studies import points, run_of_plan, run_of_point


def broken_studies(config: Config, unknown: Callable[..., Iterator[str]]) -> Iterator[str]:
    """What is wrong with studies, machines and plans, a line each.

    Args:
        config: The configuration, its types right.
        unknown: Tells of a name that points at nothing (key, name, names, what).
    """
    for key, study in config.studies.items():
        if study.corpus is not None:
            wrong = list(unknown(f"studies.{key}.corpus", study.corpus, config.corpora, "corpus"))
            yield from wrong
            if wrong:
                continue
        yield from _unbuildable(config, key)
    for key, machine in config.machines.items():
        if key in BUILT_IN:
            yield f"machines.{key}: a machine of that name is built in; take another"
        if machine.study is not None:
            yield from unknown(f"machines.{key}.study", machine.study, config.studies, "study")
    for key, plan in config.plans.items():
        if plan.run is not None:
            yield from unknown(f"plans.{key}.run", plan.run, config.runs, "run")
        else:
            yield from _told(f"plans.{key}", partial(run_of_plan, plan))
        machines = [*config.machines, *BUILT_IN]
        yield from unknown(f"plans.{key}.machine", plan.machine, machines, "machine")


def _unbuildable(config: Config, study: str) -> Iterator[str]:
    """Points that no training could be made of; none at all is a mistake too."""
    found = points(config, study)
    if not found:
        yield (
            f"studies.{study}: no combination of its lists can be measured; strategies need ranks "
            "that their shards divide, and no_communication more than one rank"
        )
    told: set[str] = set()
    for one in found:
        for line in _told(f"studies.{study}", partial(run_of_point, config, study, one)):
            if line not in told:
                told.add(line)
                yield line


def _told(key: str, make: Callable[[], Any]) -> Iterator[str]:
    try:
        yield from impossible_mask(key, make())
    except ValidationError as error:
        for problem in error.errors(include_url=False):
            where = ".".join(map(str, (key, *problem["loc"])))
            yield f"{where}: {problem['msg'].removeprefix('Value error, ')}"
