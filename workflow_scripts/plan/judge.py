"""How far the planner's model is to be trusted: published points that its constants have not seen.

Each published model is left out in turn: the constants are fitted to the others, and its points
are predicted. Points of full_shard at 32 nodes and more, which are not monotone, are apart.
"""

import argparse
import itertools
import json
import math
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.plan.cost import BUILT_IN, FILE, Constants, predicted_step
from workflow_scripts.plan.fit import fit
from workflow_scripts.plan.reference import observation
from workflow_scripts.pretrain.strategies import shard_count
from workflow_scripts.published.throughput import Point, points, settings

RANKED = (1, 8, 32, 128)  # nodes at which strategies are compared
APART = 32  # nodes from which full_shard is not monotone
DIFFERENT = 1.1  # times as fast, or more: a pair that a planner has to order rightly


@dataclass(frozen=True)
class Guess:
    """A published point and what was predicted of it."""

    point: Point
    images_per_s: float
    memory_bytes: float

    @property
    def apart(self) -> bool:
        """Whether it is one of the collapse of full_shard."""
        return self.point.strategy == "full_shard" and self.point.nodes >= APART


def guesses(
    some: Iterable[Point], constants: Constants, settings: Mapping[str, Any] | None = None
) -> list[Guess]:
    """Predictions of points.

    Args:
        some: Points.
        constants: Of the model.
        settings: Of the file that the points are of, if that is another.
    """
    found = []
    for point in some:
        one = observation(point, settings)
        step = predicted_step(one.workload, one.layout, one.machine, constants)
        found.append(Guess(point, step.images_per_s, step.memory_bytes))
    return found


def without(model: str, some: Sequence[Point]) -> Constants:
    """Constants fitted to every model but one."""
    return fit([observation(p) for p in some if p.model != model], start="known")


def speed_errors(some: Iterable[Guess], *, apart: bool) -> list[float]:
    """Predicted over measured images/s, less 1, of the points that are apart, or of the others."""
    return [
        g.images_per_s / g.point.images_per_s - 1
        for g in some
        if g.point.images_per_s is not None and g.apart is apart
    ]


def memory_errors(some: Iterable[Guess]) -> list[float]:
    """Predicted over measured memory, less 1."""
    return [
        g.memory_bytes / g.point.memory_bytes - 1 for g in some if g.point.memory_bytes is not None
    ]


def pairs(some: Iterable[Guess]) -> list[tuple[Guess, Guess, bool]]:
    """Strategies of a model at the same nodes that differ, and whether they are ordered rightly.

    A tie that is predicted of a pair that differs is not right.
    """
    timed = [g for g in some if g.point.images_per_s is not None and g.point.nodes in RANKED]
    found = []
    for a, b in itertools.combinations(timed, 2):
        if (a.point.model, a.point.nodes) != (b.point.model, b.point.nodes):
            continue
        measured = (a.point.images_per_s or 0) / (b.point.images_per_s or 1)
        if max(measured, 1 / measured) > DIFFERENT:
            right = math.log(measured) * math.log(a.images_per_s / b.images_per_s) > 0
            found.append((a, b, right))
    return found


def score(some: Sequence[Guess]) -> dict[str, Any]:
    """Errors as shares of what was measured; None where nothing was."""
    speed, apart, memory = (
        np.abs(errors)
        for errors in (
            speed_errors(some, apart=False), speed_errors(some, apart=True), memory_errors(some)
        )
    )  # fmt: skip
    ranked = pairs(some)
    return {
        "points": len(speed),
        "speed_median": _quantile(speed, 0.5),
        "speed_p90": _quantile(speed, 0.9),
        "memory_points": len(memory),
        "memory_median": _quantile(memory, 0.5),
        "apart_points": len(apart),
        "apart_median": _quantile(apart, 0.5),
        "pairs": len(ranked),
        "pairs_right": sum(right for *_, right in ranked),
    }


def _quantile(errors: Any, share: float) -> float | None:
    return float(np.quantile(errors, share)) if len(errors) else None


def judgement() -> tuple[dict[str, Any], list[Guess]]:
    """Leave one model out, for every published model; the scores, and every prediction."""
    every = points()
    found, pooled = {}, []
    for model in dict.fromkeys(p.model for p in every):
        constants = without(model, every)
        some = guesses([p for p in every if p.model == model], constants)
        found[model] = score(some) | {"constants": asdict(constants)}
        pooled += some
    return found | {"pooled": score(pooled)}, pooled


def add_options(parser: argparse.ArgumentParser) -> None:
    """The options of `python -m workflow_scripts.plan judge`."""
    add = parser.add_argument
    add("--points", type=Path,
        help="other points, in the shape of published/throughput.yaml: predicted by the built-in "
        "constants, which have not seen them")  # fmt: skip
    add("--verbose", action="store_true", help="every point, and every pair in the wrong order")
    add("--picture", type=Path, help="draw it into this file, .svg, with its data beside it")
    add("--write", action="store_true", help="fit the built-in constants anew and write them")
    add("--json", action="store_true", help="one JSON object instead of the table")


def plan(arguments: argparse.Namespace) -> None:
    """Print the judgement."""
    if arguments.write:
        write(fit([observation(p) for p in points()], start="known"))
        return
    if arguments.points:
        some = of_file(arguments.points)
        found: dict[str, Any] = {"pooled": score(some)}
    else:
        found, some = judgement()
    text = json.dumps(found, indent=2) if arguments.json else "\n".join(_lines(found))
    sys.stdout.write(text + "\n")
    if arguments.picture:
        # Only here: it loads all that draws.
        from workflow_scripts.plan.judge_picture import draw

        draw(some, arguments.picture.parent, arguments.picture.stem)
    if arguments.verbose:
        sys.stdout.write("\n".join(_details(some)) + "\n")


def of_file(file: Path) -> list[Guess]:
    """Predictions of the points of a file by the built-in constants.

    Raises:
        UserError: It cannot be read, an encoder is not known, or a point cannot be.
    """
    some, found = points(file), settings(file)
    for point in some:
        if not isinstance(point.encoder, str) or point.encoder not in LIBRARY:
            raise UserError(
                f"{file}: encoders has {point.encoder!r}; expected one of {', '.join(LIBRARY)}"
            )
        where = f"{file}: {point.model}, {point.strategy}, {point.nodes} nodes"
        if type(point.nodes) is not int or point.nodes < 1:
            raise UserError(f"{where}: expected a whole number of nodes from 1 on")
        try:
            shard_count(point.strategy, observation(point, found).layout.ranks)
        except UserError as error:
            raise UserError(f"{where}: {error}") from None
    return guesses(some, BUILT_IN, found)


def write(constants: Constants, file: Path = FILE) -> None:
    """Put constants into the file of the built-in ones; the rest of it stays."""
    text = file.read_text(encoding="utf-8")
    for name, value in asdict(constants).items():
        # The first line of that name: those of what is known come after it.
        text = re.sub(rf"^  {name}: .*$", f"  {name}: {value:.4e}", text, count=1, flags=re.M)
    with atomic(file) as part:
        part.write_text(text, encoding="utf-8")


def _lines(found: dict[str, Any]) -> list[str]:
    lines = [
        f"{'left out':<10}{'images/s':>9}{'median':>8}{'90 %':>7}{'memory':>8}{'median':>8}"
        f"{'pairs right':>14}{'full_shard, 32 nodes on':>26}"
    ]
    for model, s in found.items():
        lines.append(
            f"{model:<10}{s['points']:>9}{_share(s['speed_median']):>8}{_share(s['speed_p90']):>7}"
            f"{s['memory_points']:>8}{_share(s['memory_median']):>8}"
            f"{s['pairs_right']:>10}/{s['pairs']:<3}"
            f"{s['apart_points']:>15}, median {_share(s['apart_median'])}"
        )
    return lines


def _share(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def _details(some: Sequence[Guess]) -> list[str]:
    lines = []
    for g in some:
        p = g.point
        speed = memory = ""
        if p.images_per_s is not None:
            off = g.images_per_s / p.images_per_s - 1
            speed = f"{p.images_per_s:>10.0f}{g.images_per_s:>10.0f} images/s {100 * off:+6.1f} %"
        if p.memory_bytes is not None:
            off = g.memory_bytes / p.memory_bytes - 1
            gib = (p.memory_bytes / 2**30, g.memory_bytes / 2**30)
            memory = f"   {gib[0]:.2f} {gib[1]:.2f} GiB {100 * off:+.1f} %"
        lines.append(f"{p.model:<6}{p.strategy:<16}{p.nodes:>4} nodes{speed}{memory}")
    for a, b, right in pairs(some):
        if not right:
            at = f"{a.point.model}, {a.point.nodes} nodes"
            lines.append(f"in the wrong order: {at}: {a.point.strategy}, {b.point.strategy}")
    return lines
