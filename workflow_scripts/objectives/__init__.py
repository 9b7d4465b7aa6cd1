"""Pretraining objectives, one file each: `mae`, `simmim`, `gfm`, and `supervised` for teachers."""

from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.models.linear import use_linear
from workflow_scripts.models.swin_attention import use_window_attention
from workflow_scripts.objectives.base import Objective
from workflow_scripts.objectives.gfm import Gfm
from workflow_scripts.objectives.mae import Mae
from workflow_scripts.objectives.simmim import Simmim
from workflow_scripts.objectives.supervised import Supervised


def build_objective(
    recipe: dict[str, Any],
    *,
    channels: int,
    mean: list[float],
    std: list[float],
    classes: list[str],
    teacher: Path | None,
) -> Objective:
    """The objective of a pretraining recipe; `initialise` has to fill it before its first step.

    Args:
        recipe: The run's recipe (`objective`, `encoder`, `decoder`, `mask`, `gfm`).
        channels: Bands of the corpus.
        mean: The corpus's mean of each band.
        std: The corpus's deviation of each band.
        classes: The corpus's classes, for `supervised`.
        teacher: The run folder of the frozen teacher, for `gfm`.

    Raises:
        UserError: An unknown objective, numbers that do not fit together, or no usable teacher.
    """
    if len(mean) != channels or len(std) != channels:
        raise UserError(f"{channels} channels but {len(mean)} means and {len(std)} deviations")
    built = _of_its_class(
        recipe, classes, teacher, {"channels": channels, "mean": mean, "std": std}
    )
    for part in [built, built.teacher] if isinstance(built, Gfm) else [built]:
        use_window_attention(part)
        use_linear(part)
    return built


def _of_its_class(
    recipe: dict[str, Any], classes: list[str], teacher: Path | None, data: dict[str, Any]
) -> Objective:
    objective = recipe["objective"]
    if objective == "mae":
        return Mae(recipe, **data)
    if objective == "simmim":
        return Simmim(recipe, **data)
    if objective == "gfm":
        if teacher is None:
            raise UserError("objective gfm needs a teacher: name a finished run to distil from")
        return Gfm(recipe, **data, teacher=teacher)
    if objective == "supervised":
        return Supervised(recipe, **data, classes=classes)
    raise UserError(f"objective: {objective!r} is not one of mae, simmim, gfm, supervised")
