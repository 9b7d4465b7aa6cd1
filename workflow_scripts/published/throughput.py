"""Published throughput and memory of pretraining: `throughput.yaml`."""

import functools
import math
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from workflow_scripts.errors import UserError

FILE = Path(__file__).parent / "throughput.yaml"
_SIZES = ("batch", "devices_per_node", "image_size")
_FIXED = ("machine", "precision")


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
            `memory` with `memory_unit`. A figure of null is of a point that was not measured.

    Raises:
        UserError: The file cannot be read so, has no point, or a figure is not above zero.
    """
    try:
        found = _points(yaml.safe_load(file.read_text(encoding="utf-8")))
    except (OSError, KeyError, TypeError, ValueError, AttributeError, yaml.YAMLError) as error:
        raise UserError(
            f"{file}: {type(error).__name__}: {error}; expected points in the shape of {FILE.name}"
        ) from None
    if not found:
        raise UserError(f"{file}: no point; expected images_per_s or memory, as in {FILE.name}")
    for one in found:
        for figure in (one.images_per_s, one.memory_bytes):
            if figure is not None and not 0 < figure < math.inf:
                raise UserError(
                    f"{file}: {one.model}, {one.strategy}, {one.nodes} nodes: a figure is "
                    f"{figure:g}; expected more than 0, or null where nothing was measured"
                )
    return found


def settings(file: Path) -> dict[str, Any]:
    """What holds for every point of a file that `points` reads: what it leaves out is as here.

    Args:
        file: Its `batch`, `devices_per_node`, `image_size` and `recompute` are taken.

    Raises:
        UserError: One of these cannot be, or `machine` or `precision` is another.
    """
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    found = table() | {key: given[key] for key in (*_SIZES, "recompute", *_FIXED) if key in given}
    wrong = [key for key in _SIZES if type(found[key]) is not int or found[key] < 1]
    wrong += [] if isinstance(found["recompute"], bool) else ["recompute"]
    wrong += [key for key in _FIXED if found[key] != table()[key]]
    for key in wrong:
        raise UserError(
            f"{file}: {key} is {found[key]!r}, of which nothing can be predicted; {FILE.name} has "
            f"{table()[key]!r}"
        )
    return found


def _points(found: dict[str, Any]) -> list[Point]:
    speeds = {
        (model, strategy, nodes): float(speed)
        for model, rows in found.get("images_per_s", {}).items()
        for strategy, row in rows.items()
        for nodes, speed in zip(found["nodes"], row, strict=True)
        if speed is not None
    }
    memory = {
        (model, strategy, nodes): float(figure) * float(found["memory_unit"])
        for model, rows in found.get("memory", {}).items()
        for strategy, row in rows.items()
        for nodes, figure in row.items()
        if figure is not None
    }
    return [
        Point(model, found["encoders"][model], strategy, nodes, speeds.get(key), memory.get(key))
        for key in dict.fromkeys([*speeds, *memory])
        for model, strategy, nodes in [key]
    ]
