"""A plan from its recipe: all layouts, the recommended one, and the planner against a study."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.forecast.measured import Measured, against, read_study, seen_by, to_fit
from workflow_scripts.forecast.options import Option, options, reference
from workflow_scripts.forecast.planned import Planned, constants_of, machine_of, numbers_of
from workflow_scripts.forecast.recommend import Asked, recommended, why, why_none
from workflow_scripts.forecast.remedies import remedies
from workflow_scripts.plan.cost import BUILT_IN, Constants, Machine
from workflow_scripts.plan.fit import fit
from workflow_scripts.plan.workload import workload_of

Json = dict[str, Any]

BUILT_IN_WORDS, GIVEN = "built in", "configuration"  # where constants are from, or the study's name
_ASKED = ("budget_node_hours", "deadline_days", "largest_batch")


def forecast(recipe: Json, *, index: Path | None, study: Path | None) -> Json:
    """The body of a plan.

    Args:
        recipe: The plan's.
        index: `index.json` of the corpus, if the recipe does not say how many images there are.
        study: A study of the machine, to which constants are fitted.

    Raises:
        UserError: Numbers that cannot be, an encoder or a machine that is not known, no index or
            study where one is needed, a strategy that no number of nodes can have.
    """
    check(recipe)
    pretrain = recipe["pretrain"]
    numbers = numbers_of(recipe["machine"], recipe["numbers"], pretrain["precision"])
    machine = machine_of(numbers)
    points = read_study(_needed(study, recipe), machine) if recipe["study"] else []
    machine = seen_by(points, machine)
    constants, source = _constants(numbers, machine, points, recipe["study"])
    planned = Planned(
        workload=workload_of(pretrain, recipe["channels"]), machine=machine, numbers=numbers,
        constants=constants, images=recipe["images"] or _images(index, recipe),
        epochs=recipe["epochs"], batch=recipe["batch"],
        recompute=recipe["activation_checkpointing"], save_every=recipe["checkpoint_every"],
    )  # fmt: skip
    found = options(
        planned, nodes=recipe["nodes"], strategies=recipe["strategies"], energy=recipe["energy"]
    )
    best = reference(planned, recipe["nodes"], recipe["strategies"])
    return {
        "plan": recipe["plan"],
        "label": recipe["label"],
        "machine": {"name": recipe["machine"], "memory_bytes": machine.memory_bytes, **numbers},
        "constants": {**vars(constants), "source": source},
        "parameters": planned.workload.parameters,
        "images": planned.images,
        "epochs": planned.epochs,
        "usable_bytes": round(planned.usable_bytes),
        "reference": None if best is None else vars(best),
        "options": [one.plain() for one in found],
        "recommended": _recommended(recipe, planned, found),
        "measured": against(to_fit(points), machine, constants),
    }


def check(recipe: Json) -> None:
    """Refuse numbers that cannot be.

    Raises:
        UserError: One of them is.
    """
    for key in ("epochs", "batch", "channels", "checkpoint_every"):
        if recipe[key] < 1:
            raise UserError(f"{key} is {recipe[key]}; expected 1 or more")
    if recipe["images"] is not None and recipe["images"] < 1:
        raise UserError(f"images is {recipe['images']}; expected 1 or more")
    nodes = recipe["nodes"]
    if not nodes or min(nodes) < 1 or len(set(nodes)) < len(nodes):
        raise UserError(f"nodes is {nodes}; expected whole numbers from 1 on, each once")
    for key in _ASKED:
        if recipe[key] is not None and recipe[key] <= 0:
            raise UserError(f"{key} is {recipe[key]}; expected more than 0")


def _needed(study: Path | None, recipe: Json) -> Path:
    if study is None:
        raise UserError(
            f"the machine {recipe['machine']} is measured by the study {recipe['study']}; name its "
            "file with --study"
        )
    return study


def _images(index: Path | None, recipe: Json) -> int:
    if index is None:
        raise UserError(
            f"plan {recipe['plan']}: images is not given, so the corpus says how many there are; "
            "name its index.json with --index, or give images"
        )
    count = read_json(index).get("count")
    if not isinstance(count, int) or count < 1:
        raise UserError(f"{index}: count is {count!r}; expected the number of images of a corpus")
    return count


def _constants(
    numbers: Json, machine: Machine, points: Sequence[Measured], study: str | None
) -> tuple[Constants, str]:
    """The constants of the model, and where they are from."""
    if points:
        return fit([one.observation(machine) for one in to_fit(points)]), str(study)
    if numbers["constants"]:
        return constants_of(numbers["constants"]), GIVEN
    return BUILT_IN, BUILT_IN_WORDS


def _recommended(recipe: Json, planned: Planned, found: Sequence[Option]) -> Json:
    asked = Asked(**{key: recipe[key] for key in _ASKED})
    one = recommended(found, asked)
    room = planned.usable_bytes
    if one is not None:
        return {**one.plain(), "why": why(one, found, asked, usable_bytes=room)}
    helping: list[str] = []
    if not any(option.fits for option in found):
        helping = remedies(planned, nodes=recipe["nodes"], strategies=recipe["strategies"])
    text = why_none(found, asked, usable_bytes=room, remedies=helping)
    return {"strategy": None, "why": text}
