"""The plan of a run's memory: what a device needs, whether it has it, and what else would do."""

import argparse
import json
import re
import sys
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.plan.cases import case_of
from workflow_scripts.plan.holding import ORDER, Moment
from workflow_scripts.plan.machines import USABLE
from workflow_scripts.plan.predict import Case, every_strategy, predicted, remedy

GIB = 2**30
# Memory of one device, as its maker states it. A GCD is half of an MI250X.
DEVICES = {"frontier": 64 * GIB, "a100-40": 40 * GIB, "a100-80": 80 * GIB, "h100": 80 * GIB}
_UNITS = {"GIB": GIB, "GB": 10**9, "MIB": 2**20, "MB": 10**6}


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m workflow_scripts.plan memory`."""
    add = parser.add_argument
    add("--run", help="a run of the configuration")
    add("--configfile", type=Path, nargs="*", default=[], help="over the embedded default")
    add("--encoder", help="instead of --run: an encoder as in the configuration, a name or JSON")
    add("--objective", choices=["mae", "simmim", "gfm", "supervised"],
        help="default: mae for a ViT, simmim for a Swin")  # fmt: skip
    add("--channels", type=int, help="bands of the images (default: 3)")
    add("--image-size", type=int, help="pixels; default: the encoder's own")
    add("--teacher", type=Path, help="run folder of the teacher (gfm); default: the run's own")
    add("--strategy", help="default: the run's, or no_shard")
    add("--ranks", type=int, help="devices; default: the run's, or 1")
    add("--batch", type=int, help="samples a step over all ranks; default: the run's, or 256")
    add("--accumulate", type=int, help="parts of a rank's samples; default: the run's, or 1")
    add("--precision", choices=["fp32", "bf16"], help="default: the run's, or fp32")
    add("--activation-checkpointing", action="store_true", help="blocks keep their inputs only")
    add("--device-memory", default="frontier",
        help=f"such as 64GiB, or {', '.join(DEVICES)} (default: frontier, 64 GiB)")  # fmt: skip
    add("--cpu", action="store_true", help="for a run on CPUs, whose autocast differs")
    add("--json", action="store_true", help="one JSON object instead of the table")


def device_bytes(text: str) -> int:
    """Bytes of a device from its name or its size.

    Raises:
        UserError: It is neither.
    """
    if text.lower() in DEVICES:
        return DEVICES[text.lower()]
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([GM]i?B)", text.strip(), re.IGNORECASE)
    if not match:
        raise UserError(
            f"--device-memory {text!r}: expected a size such as 64GiB or one of "
            f"{', '.join(DEVICES)}"
        )
    return round(float(match[1]) * _UNITS[match[2].upper()])


def plan(arguments: argparse.Namespace) -> None:
    """Print the plan."""
    for option in ("ranks", "batch", "accumulate", "channels", "image_size"):
        value = getattr(arguments, option)
        if value is not None and value < 1:
            raise UserError(f"--{option.replace('_', '-')} is {value}; expected 1 or more")
    device = device_bytes(arguments.device_memory)
    case = case_of(arguments)
    found = answer(case, device)
    text = json.dumps(found, indent=2) if arguments.json else "\n".join(_lines(found))
    sys.stdout.write(text + "\n")


def answer(case: Case, device: int) -> dict[str, Any]:
    """The plan as plain values; sizes in bytes.

    Args:
        case: What is to be run.
        device: Bytes of a device.

    Raises:
        UserError: What cannot be run at all.
    """
    room, moment = USABLE * device, predicted(case)
    fits = moment.total <= room
    other = None if fits else remedy(case, room)
    return {
        "asked": _settings(case),
        "device_bytes": device,
        "usable_bytes": round(room),
        "terms": {name: moment.terms[name] for name in ORDER if moment.terms.get(name)},
        "total": moment.total,
        "when": moment.when,
        "fits": fits,
        "strategies": {n: _judged(m, room) for n, m in every_strategy(case).items()},
        "would_fit": None if other is None else _settings(other) | _judged(predicted(other), room),
    }


def _judged(moment: Moment, room: float) -> dict[str, Any]:
    return {"total": moment.total, "fits": moment.total <= room}


def _settings(case: Case) -> dict[str, Any]:
    return {
        "strategy": case.strategy,
        "ranks": case.ranks,
        "batch": case.recipe["batch"],
        "local_batch": case.local_batch,
        "accumulate": case.accumulate,
        "precision": case.recipe["precision"],
        "activation_checkpointing": case.recompute,
    }


def _words(settings: dict[str, Any]) -> str:
    parts = f" in {settings['accumulate']} parts" if settings["accumulate"] > 1 else ""
    again = ", activation checkpointing" if settings["activation_checkpointing"] else ""
    return (
        f"{settings['strategy']} on {settings['ranks']} ranks, batch {settings['batch']}{parts} "
        f"({settings['local_batch']} at a time on a device), {settings['precision']}{again}"
    )


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [_words(found["asked"]), ""]
    lines += [f"  {name:<34}{size / GIB:10.3f} GiB" for name, size in found["terms"].items()]
    lines += [
        f"  {'sum, at its peak':<34}{found['total'] / GIB:10.3f} GiB   ({found['when']})",
        f"  {'usable of the device':<34}{found['usable_bytes'] / GIB:10.3f} GiB   "
        f"({USABLE:.0%} of {found['device_bytes'] / GIB:.1f} GiB)",
        "",
    ]
    for name, row in found["strategies"].items():
        verdict = "fits" if row["fits"] else "does not fit"
        lines.append(f"  {name:<34}{row['total'] / GIB:10.3f} GiB   {verdict}")
    return [*lines, "", _verdict(found)]


def _verdict(found: dict[str, Any]) -> str:
    if found["fits"]:
        return "It fits."
    if found["would_fit"] is None:
        return (
            "It does not fit, and neither does any strategy with activation checkpointing and one "
            "sample at a time: take more ranks, smaller images or a smaller encoder."
        )
    size = found["would_fit"]["total"] / GIB
    return f"It does not fit. This would: {_words(found['would_fit'])}: {size:.3f} GiB."
