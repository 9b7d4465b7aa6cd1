"""How a run is laid over ranks: the only home of torch.distributed.fsdp, DDP and torch.compile.

`groups`: joining the other ranks and what they tell each other. `blocks`: what is done to each
block, ranks or none. `layout`: the strategies, gradient exchange and the gradient's norm.
"""

from workflow_scripts.pretrain.parallel.groups import (
    Agreement,
    from_first,
    gathered,
    host_group,
    join,
    leave,
    own_store,
    summed,
)
from workflow_scripts.pretrain.parallel.layout import exchanging, gradient_norm, laid_out, plain

__all__ = [
    "Agreement",
    "exchanging",
    "from_first",
    "gathered",
    "gradient_norm",
    "host_group",
    "join",
    "laid_out",
    "leave",
    "own_store",
    "plain",
    "summed",
]
