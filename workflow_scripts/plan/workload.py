"""What a recipe asks of a machine, counted on the meta device."""

import math
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.models.flops import training_flops
from workflow_scripts.objectives.base import Objective
from workflow_scripts.plan.holding import sizes
from workflow_scripts.plan.predict import Case
from workflow_scripts.plan.trace import ROOT


@dataclass(frozen=True, kw_only=True)
class Workload:
    """A model and its objective as numbers.

    Args:
        parameters: Numbers that are trained.
        encoder_parameters: Those of the encoder.
        blocks: Those of each block that a strategy cuts.
        root: Those in no block.
        flops_per_image: Of a forward and a backward pass, two a multiply-add.
        tokens: Patches of an image.
        width: Of the encoder's first stage.
        precision: `bf16` or `fp32`.
        activation_bytes_per_image: What the blocks' inputs take, which is what activation
            checkpointing keeps.
        moved_per_image: Over the blocks, tokens that enter times the side of a square of the
            block's numbers: a product with that square would do the block's operations, and it
            would read and write so many numbers.
        recipe: Of pretraining, from which the peak of memory is traced; its batch is not used.
        channels: Bands of the images.
        flat: Whether a unit's parameters are cut as one row of numbers, as the older
            FullyShardedDataParallel did, and not each along its first dimension.
    """

    parameters: int
    encoder_parameters: int
    blocks: tuple[int, ...]
    root: int
    flops_per_image: float
    tokens: int
    width: int
    precision: str
    activation_bytes_per_image: float
    moved_per_image: float
    recipe: dict[str, Any] = field(repr=False, compare=False)
    channels: int
    flat: bool = False


def workload_of(recipe: dict[str, Any], channels: int, *, flat: bool = False) -> Workload:
    """Count a recipe of pretraining.

    Args:
        recipe: Plain, as `recipes.pretrain` makes it.
        channels: Bands of the images.
        flat: As of `Workload`.

    Raises:
        UserError: A model that cannot be, or GFM, whose teacher would have to be at hand.
    """
    if recipe["objective"] == "gfm":
        raise UserError(
            "objective gfm: the planner counts mae, simmim and supervised; plan gfm's student as "
            "simmim, and add its teacher's forward pass"
        )
    objective = Case(recipe=recipe, channels=channels).build()
    model = sizes(objective, 1)
    encoder = recipe["encoder"]
    side = encoder["image_size"]
    entering = _entering(objective, side)
    blocks = tuple(count for unit, count in model.part.items() if unit != ROOT)
    width = 2 if recipe["precision"] == "bf16" else 4
    return Workload(
        parameters=model.kept,
        encoder_parameters=sum(p.numel() for p in objective.encoder.parameters()),
        blocks=blocks,
        root=model.part[ROOT],
        flops_per_image=training_flops(objective, size=side),
        tokens=(side // encoder["patch"]) ** 2,
        width=encoder["width"],
        precision=recipe["precision"],
        activation_bytes_per_image=float(width * sum(math.prod(shape) for shape in entering)),
        moved_per_image=sum(
            math.prod(shape[:-1]) * math.sqrt(count)
            for shape, count in zip(entering, blocks, strict=True)
        ),
        recipe=recipe,
        channels=channels,
        flat=flat,
    )


def _entering(objective: Objective, side: int) -> list[torch.Size]:
    """Shapes (…, width) of what enters each block for one image, in the order of the blocks."""
    seen: dict[int, torch.Size] = {}

    def note(unit: int, inputs: tuple[Tensor, ...]) -> None:
        seen[unit] = inputs[0].shape

    blocks = objective.wrap_blocks()
    hooks = [
        block.register_forward_pre_hook(lambda _, inputs, unit=unit: note(unit, inputs))
        for unit, block in enumerate(blocks)
    ]
    with torch.no_grad():
        objective(objective.blank_batch(1, side, "meta"))
    for hook in hooks:
        hook.remove()
    return [seen[unit] for unit in range(len(blocks))]
