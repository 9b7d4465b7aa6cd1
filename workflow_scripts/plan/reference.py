"""The published points as observations of the planner's model.

What the source does not say is chosen here and in `published/throughput.yaml`: that the encoders
saw whole images of 224 pixels, that blocks were computed again, and that `ddp` was in fp32.
"""

import functools
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from pydantic import ValidationError

from workflow_scripts.config_encoders import named_encoder
from workflow_scripts.errors import UserError
from workflow_scripts.models.library import LIBRARY
from workflow_scripts.plan.cost import Layout, Machine
from workflow_scripts.plan.fit import Observation
from workflow_scripts.plan.machines import BUILT_IN
from workflow_scripts.plan.workload import Workload, workload_of
from workflow_scripts.published.throughput import Point, points, table

GIGA = 1e9
_FP32_FLOPS = 47.9e12  # of a GCD's matrix units: AMD's data sheet of the MI250X, half of a card


def frontier(precision: str) -> Machine:
    """Frontier by its built-in numbers; in fp32 by the matrix units' peak."""
    numbers = BUILT_IN["frontier"]
    machine = Machine(
        devices_per_node=numbers["devices_per_node"],
        memory_bytes=GIGA * numbers["memory_gb"],
        peak_flops=1e12 * numbers["peak_tflops"],
        memory_bytes_s=GIGA * numbers["memory_gb_s"],
        node_bytes_s=GIGA * numbers["node_gb_s"],
        network_bytes_s=GIGA * numbers["network_gb_s"],
    )
    return machine if precision == "bf16" else replace(machine, peak_flops=_FP32_FLOPS)


@functools.cache
def workload(encoder: str, precision: str, image_size: int) -> Workload:
    """An encoder of `models/library.py` on whole images, as the published runs are read.

    Raises:
        UserError: An image that its patches or windows do not divide.
    """
    if precision == "fp32":  # as many numbers and operations, twice as wide: not counted again
        half = workload(encoder, "bf16", image_size)
        return replace(
            half, precision=precision, recipe={**half.recipe, "precision": precision},
            activation_bytes_per_image=2 * half.activation_bytes_per_image,
        )  # fmt: skip
    try:
        plain = named_encoder(encoder, image_size=image_size).plain()
    except ValidationError as error:
        raise UserError(error.errors()[0]["msg"].removeprefix("Value error, ")) from None
    recipe = {"objective": "supervised", "encoder": plain, "precision": precision, "decoder": None}
    return workload_of(recipe, LIBRARY[encoder].channels, flat=True)


def observation(point: Point, settings: Mapping[str, Any] | None = None) -> Observation:
    """A published point as the model sees it.

    Args:
        point: Of `throughput.yaml`, or of another file.
        settings: Of that file, as `throughput.settings` reads them.
    """
    found = settings or table()
    precision = found["precision"].get(point.strategy, found["precision"]["others"])
    layout = Layout(
        strategy=point.strategy, nodes=point.nodes, devices=found["devices_per_node"],
        batch=found["batch"], recompute=found["recompute"],
    )  # fmt: skip
    return Observation(
        workload=workload(point.encoder, precision, found["image_size"]), layout=layout,
        machine=frontier(precision), images_per_s=point.images_per_s,
        memory_bytes=point.memory_bytes,
    )  # fmt: skip


def observations(*models: str) -> list[Observation]:
    """Published points of those models; of all if none is named."""
    return [observation(p) for p in points() if not models or p.model in models]
