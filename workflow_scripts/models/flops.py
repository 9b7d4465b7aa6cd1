"""Floating-point operations of training, counted by running an objective on the meta device.

What is counted are the matrix products and convolutions of one forward and backward pass, two
operations a multiply-add, as published figures count them. A frozen teacher counts with its
forward pass only. What activation checkpointing computes again is not counted: these are the
operations that the model needs, whatever the layout spends.
"""

import copy

from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from workflow_scripts.objectives.base import Objective


def training_flops(objective: Objective, *, size: int, images: int = 1) -> float:
    """Operations of one training step, for each image.

    Args:
        objective: As `construct.meta_objective` returns it, not laid out yet; it is not changed.
        size: Pixels on a side of an image.
        images: Images of a forward pass. What is computed once a pass, whatever its images (the
            position tables of SwinV2), is shared out among them.
    """
    # Without the weights it starts from; a teacher has real ones even on meta.
    bare = copy.deepcopy(objective, {id(objective.start): None}).to("meta")
    batch = bare.blank_batch(images, size, "meta")
    # Fused attention counts what its backward pass computes again; the plain products do not.
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        bare(batch)["loss"].backward()
    return counter.get_total_flops() / images
