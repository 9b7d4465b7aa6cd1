"""Published throughput and memory of pretraining: `throughput.yaml`."""

import functools
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from workflow_scripts.errors import UserError

FILE = Path(__file__).parent / "throughput.yaml"


class Point(NamedTuple):
    """A published point.

    Attributes:
        model: As the source calls it.
        encoder: Of `models/library.py`.
        strategy: One of `strategies.NAMES`.
        nodes: How many.
        images_per_s: Of the whole job, or None.
        memory_bytes: Peak of a device, or None.
    """

    model: str
    encoder: str
    strategy: str
    nodes: int
    images_per_s: float | None
    memory_bytes: float | None


@functools.cache
def table() -> dict[str, Any]:
    """The file as it is."""
    found: dict[str, Any] = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return found


def points(file: Path = FILE) -> list[Point]:
    """Every published point, in the order of the file; the prefetch study is not in them.

    Args:
        file: In the shape of `throughput.yaml`: `encoders`, and `nodes` with `images_per_s` or
            `memory` with `memory_unit`. A speed of null is of a point that was not measured.

    Raises:
        UserError: The file cannot be read so.
    """
    try:
        return _points(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{file}: {type(error).__name__}: {error}; expected points in the shape of {FILE.name}"
        ) from None


def _points(found: dict[str, Any]) -> list[Point]:
    speeds = {
        (model, strategy, nodes): float(speed)
        for model, rows in found.get("images_per_s", {}).items()
        for strategy, row in rows.items()
        for nodes, speed in zip(found["nodes"], row, strict=True)
        if speed is not None
    }
    memory = {
        (model, strategy, nodes): figure * float(found["memory_unit"])
        for model, rows in found.get("memory", {}).items()
        for strategy, row in rows.items()
        for nodes, figure in row.items()
    }
    return [
        Point(model, found["encoders"][model], strategy, nodes, speeds.get(key), memory.get(key))
        for key in dict.fromkeys([*speeds, *memory])
        for model, strategy, nodes in [key]
    ]
