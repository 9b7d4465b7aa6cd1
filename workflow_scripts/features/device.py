"""Where encoders run: on cores or on a GPU."""

import torch

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.launch import Ranks, device_number


def device_of(asked: str, ranks: Ranks) -> str:
    """`cpu` or `cuda`, for `auto` what this host has; a rank on GPUs takes its own.

    Raises:
        UserError: No GPU, or more ranks on a node than GPUs.
    """
    there = torch.cuda.is_available()
    if asked == "cpu" or (asked == "auto" and not there):
        return "cpu"
    if not there:
        raise UserError("--device is cuda, but torch sees no GPU here; use cpu or auto")
    torch.cuda.set_device(device_number(ranks, torch.cuda.device_count()))
    return "cuda"
