"""What a recipe builds: its order, its objective and its optimizer."""

from pathlib import Path
from typing import Any, Protocol

import torch

from workflow_scripts.loader.order import Order
from workflow_scripts.models.folder import check_scale
from workflow_scripts.models.scaling import STANDARDIZE, normalisation
from workflow_scripts.objectives import build_objective
from workflow_scripts.objectives.base import Objective
from workflow_scripts.shards.corpus import Corpus


class Described(Protocol):
    """What an objective has to know of a corpus."""

    index: dict[str, Any]
    classes: list[str]

    @property
    def channels(self) -> int:
        """Bands of its images."""


def order_of(recipe: dict[str, Any], corpus: Corpus) -> Order:
    """The sample order of a recipe; recipes stored before there were windows mix all."""
    return Order(
        corpus.shard_sizes, batch=recipe["batch"], epochs=recipe["epochs"], seed=recipe["seed"],
        window=recipe.get("shuffle_window"),
    )  # fmt: skip


def scaling_of(recipe: dict[str, Any]) -> str:
    """How a run's pixels are scaled; recipes stored before there was a choice name none."""
    scaling: str = recipe.get("scaling", STANDARDIZE)
    return scaling


def meta_objective(
    recipe: dict[str, Any], corpus: Described, teacher: Path | None, start: Path | None = None
) -> Objective:
    """The objective without memory; `parallel.laid_out` gives it some.

    Args:
        recipe: The run's recipe.
        corpus: What it is trained on.
        teacher: Model folder of the frozen teacher, for `gfm`.
        start: Model folder that the encoder begins with; None draws it from the seed.

    Raises:
        UserError: Numbers, a teacher or a start that do not fit.
    """
    how = normalisation(corpus.index, scaling_of(recipe))
    if teacher is not None:
        check_scale(teacher, how["scale"], corpus.index["corpus"])
    with torch.device("meta"):
        objective = build_objective(
            recipe,
            channels=corpus.channels,
            mean=how["mean"],
            std=how["std"],
            classes=corpus.classes,
            teacher=teacher,
        )
    if start is not None:
        objective.start_from(start, recipe["encoder"])
    return objective


def adamw(objective: Objective, optim: dict[str, Any]) -> torch.optim.AdamW:
    """AdamW with decay on the parameters the objective names; the rate is set in each step."""
    decayed = objective.decay_names()
    with_decay: list[Any] = []
    without: list[Any] = []
    for name, parameter in objective.named_parameters():
        (with_decay if name in decayed else without).append(parameter)
    groups = [
        {"params": with_decay, "weight_decay": optim["weight_decay"]},
        {"params": without, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(
        [group for group in groups if group["params"]],
        lr=0.0, betas=tuple(optim["betas"]), fused=True,
    )  # fmt: skip
