"""What is done to each block of a model, whatever the ranks: activation checkpointing, compile.

Both replace a block's `forward` and leave its class, its children and so all names of parameters
as they are. Hooks of `fully_shard` run around `forward`: whole parameters are there when it is
computed, and when it is computed again.
"""

import functools
from collections.abc import Iterable

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

BACKEND = "inductor"
# Graphs of one function before torch gives up: four stages of a Swin, each with and without
# shifted windows, are eight of the same class already.
_GRAPHS = 64


def checkpointed(blocks: Iterable[nn.Module]) -> None:
    """Keep the input of each block only; what is within is computed again in the backward pass.

    Without dropout there is no state of random numbers to keep.
    """
    for block in blocks:
        block.forward = functools.partial(
            checkpoint, block.forward, use_reentrant=False, preserve_rng_state=False
        )


def compiled(blocks: Iterable[nn.Module]) -> None:
    """Compile each block by itself, for the shapes it sees; equal blocks share a graph.

    A block that is no single graph is an error: it would run, and gain nothing.
    """
    config = torch._dynamo.config
    config.recompile_limit = max(config.recompile_limit, _GRAPHS)
    # It cuts graphs where DDP's buckets end; blocks are small, and it refuses checkpointed ones.
    config.optimize_ddp = False
    for block in blocks:
        block.forward = torch.compile(block.forward, backend=BACKEND, fullgraph=True, dynamic=False)
