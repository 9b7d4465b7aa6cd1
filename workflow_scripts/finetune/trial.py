"""What one training is made of: an encoder's weights, a benchmark's split, and a seed."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from workflow_scripts.errors import UserError
from workflow_scripts.split.samples import Benchmark, Sides

State = dict[str, Tensor]


@dataclass(frozen=True, kw_only=True)
class Trial:
    """What a trial is made of.

    Attributes:
        name: For files and messages, `<who>-<split>-<seed>`.
        model: The encoder's `model.json`.
        state: The weights it begins with.
        benchmark: The samples and their labels.
        sides: Which are learnt from and which are judged.
        settings: The recipe's `finetune`.
        size: Height and width of the input, pixels.
        seed: Of the head, the order, views, dropped paths and mixing.
    """

    name: str
    model: dict[str, Any]
    state: State
    benchmark: Benchmark
    sides: Sides
    settings: dict[str, Any]
    size: int
    seed: int

    def labels(self, rows: NDArray[np.int64]) -> NDArray[Any]:
        """(n,) int64 classes of some samples, or (n, classes) bool for several labels."""
        found = self.benchmark.labels[rows]
        return found if found.ndim == 2 else found.astype(np.int64)


def check(settings: dict[str, Any], sides: Sides) -> None:
    """Refuse to train for no epoch, by no batch, or by batches that cannot be mixed.

    Raises:
        UserError: Names what was asked for and what there is.
    """
    if settings["epochs"] < 1:
        raise UserError(f"finetune: epochs is {settings['epochs']}; give one or more")
    batch, count = settings["batch"], len(sides.train)
    if not 0 < batch <= count:
        raise UserError(
            f"finetune: batch is {batch}, but split {sides.name!r} has {count} training samples; "
            "lower finetune.batch"
        )
    if batch % 2 and (settings["mixup"] or settings["cutmix"]):
        raise UserError(
            f"finetune: batch is {batch}; mixup and cutmix pair its samples: use an even number, "
            "or set both to 0"
        )
