"""The machine on the command line: a name, JSON as in the configuration, or a number each."""

import argparse
import json
from typing import Any

from workflow_scripts.config import Config
from workflow_scripts.errors import UserError
from workflow_scripts.forecast.planned import numbers_of

# Option, key of the configuration, what it is.
_NUMBERS = (
    ("devices-per-node", "devices_per_node", "devices (GPUs, GCDs) of a node"),
    ("memory-gb", "memory_gb", "of a device, GB"),
    ("peak-tflops", "peak_tflops", "of a device, dense, at the precision, 10^12 a second"),
    ("memory-gb-s", "memory_gb_s", "bandwidth of a device's own memory, GB/s"),
    ("node-gb-s", "node_gb_s", "from a device to others of its node, GB/s"),
    ("network-gb-s", "network_gb_s", "from a node to others, GB/s"),
    ("node-watts", "node_watts", "power of a node that trains"),
    ("idle-watts", "idle_watts", "power of a node that waits"),
    ("start-minutes", "start_minutes", "from the start of a job to its first step"),
    ("storage-gb-s", "storage_gb_s", "what a node writes to the checkpoints' file system, GB/s"),
)


def add_machine(parser: argparse.ArgumentParser, *, default: str | None) -> None:
    """The options that say what the machine is.

    Args:
        parser: A command's.
        default: The machine if none is named.
    """
    said = f" (default: {default})" if default else ""
    parser.add_argument(
        "--machine",
        help=f"built in, or of the configuration, or JSON as its `machines` have it{said}",
    )
    group = parser.add_argument_group(
        "numbers of the machine", "in place of those of --machine, or all of the first six without"
    )
    for option, key, what in _NUMBERS:
        kind = int if key == "devices_per_node" else float
        group.add_argument(f"--{option}", dest=key, type=kind, help=what)


def named_machine(
    arguments: argparse.Namespace, config: Config, precision: str
) -> tuple[str, dict[str, Any] | None]:
    """The name of the machine, and its numbers where they are not the configuration's.

    Args:
        arguments: With the options of `add_machine`.
        config: Has machines of its own.
        precision: Of the plan; built-in machines have a peak for each.

    Raises:
        UserError: No such machine, or JSON that is none.
    """
    numbers = {key: getattr(arguments, key) for _, key, _ in _NUMBERS}
    changed = {key: value for key, value in numbers.items() if value is not None}
    text = arguments.machine
    if text and text.lstrip().startswith("{"):
        return "given", {**_parsed(text), **changed}
    if not changed:
        return text, None
    if not text:
        return "given", changed
    return f"{text}-changed", {**_known(text, config, precision), **changed}


def _known(name: str, config: Config, precision: str) -> dict[str, Any]:
    if name in config.machines:
        return config.machines[name].model_dump(mode="json")
    return numbers_of(name, None, precision)


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError as error:
        raise UserError(f"--machine is not valid JSON: {error}") from None
    assert isinstance(found, dict)  # it begins with a brace
    return found
