"""What the JSON of a point says: what was asked for, what it is of, and what was measured."""

import statistics
from collections.abc import Sequence
from typing import Any

from workflow_scripts.models.flops import training_flops
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain.history import rounded
from workflow_scripts.scaling.words import DONE

Row = dict[str, Any]
_ASKED = (
    "study", "point", "encoder", "patch", "mode", "strategy", "nodes", "ranks_per_node", "batch",
    "workers", "prefetch", "gather_ahead",
)  # fmt: skip
MEASURED = (
    "images_per_s", "step_s", "data_wait", "peak_memory_bytes", "tflops", "mfu", "energy_j",
    "watts", "energy_counter", "device", "cores", "loss",
)  # fmt: skip


def ranks_of(recipe: Row) -> int:
    """Ranks of the whole job."""
    return int(recipe["nodes"] * recipe["ranks_per_node"])


def known(recipe: Row, objective: Objective) -> Row:
    """What is known of a point before it is measured.

    Args:
        recipe: The point's.
        objective: On the meta device, not laid out yet.
    """
    of_run, size = recipe["pretrain"], recipe["pretrain"]["encoder"]["image_size"]
    tokens = (size // of_run["encoder"]["patch"]) ** 2
    encoder = objective.export_encoder_state(objective.state_dict())
    return {
        **{name: recipe[name] for name in _ASKED},
        "ranks": ranks_of(recipe),
        "precision": of_run["precision"],
        "objective": of_run["objective"],
        "image_size": size,
        "channels": recipe["channels"],
        "tokens": tokens,
        "tokens_by_channel": tokens * recipe["channels"],
        "parameters": sum(p.numel() for p in objective.parameters() if p.requires_grad),
        "encoder_parameters": sum(value.numel() for value in encoder.values()),
        "flops_per_image": training_flops(objective, size=size, images=recipe["batch"]),
    }


def done(row: Row, **measured: Any) -> Row:
    """A point that was measured."""
    assert set(measured) == set(MEASURED)
    return {**row, "status": DONE, "error": None, **measured}


def ended(row: Row, status: str, error: str) -> Row:
    """A point that could not be measured, which is a result too."""
    return {**row, "status": status, "error": error, **dict.fromkeys(MEASURED)}


def spread(values: Sequence[float]) -> dict[str, Any]:
    """Median, extremes and all values, in the order of the repetitions."""
    repeats = [rounded(value) for value in values]
    return {
        "median": rounded(statistics.median(repeats)),
        "least": min(repeats),
        "most": max(repeats),
        "repeats": repeats,
    }
