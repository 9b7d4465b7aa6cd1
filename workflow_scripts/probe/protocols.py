"""The protocols that judge features, by name, each on its own settings."""

from collections.abc import Callable
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.probe import few_shot, knn, lars, linear, ridge
from workflow_scripts.probe.trial import Outcome, Trial

PROTOCOLS: dict[str, Callable[[Trial], Outcome]] = {
    "linear": linear.judge,
    "lars": lars.judge,
    "knn": knn.judge,
    "ridge": ridge.judge,
    "few_shot": few_shot.judge,
}

# What can be refused before anything is fitted.
CHECKS: dict[str, Callable[[Trial], None]] = {"few_shot": few_shot.check}


def entries(recipe: dict[str, Any]) -> dict[str, tuple[str, dict[str, Any]]]:
    """What is judged by: the name in the result → protocol and settings.

    `few_shot` is judged once for each of its numbers of shots, as `few_shot_1` and so on.

    Args:
        recipe: The probe's, with `protocols`: a list of settings, each with its `protocol`.

    Raises:
        UserError: None, or one that nobody knows.
    """
    found: dict[str, tuple[str, dict[str, Any]]] = {}
    for given in recipe["protocols"]:
        name = given["protocol"]
        settings = {key: value for key, value in given.items() if key != "protocol"}
        if name not in PROTOCOLS:
            raise UserError(f"probe: protocol {name!r} is none of {', '.join(PROTOCOLS)}")
        if name == "few_shot":
            for shots in settings["shots"]:
                found[f"{name}_{shots}"] = name, {**settings, "shots": shots}
        else:
            found[name] = name, settings
    if not found:
        raise UserError("probe: protocols is empty; name one or more")
    return found
