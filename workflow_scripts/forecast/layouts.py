"""Which strategies so many devices can have, and which of them are worth a look."""

from collections.abc import Sequence

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.strategies import shard_count


def usual_strategies(ranks: int, devices: int) -> list[str]:
    """Strategies worth comparing on so many devices, those that send least first.

    Hybrids cut the model over each divisor of a node's devices, and over two nodes; one that would
    cut it over all of them is `full_shard`.

    Args:
        ranks: Devices in all.
        devices: Of a node.
    """
    if ranks == 1:
        return ["no_shard"]
    cuts = [k for k in range(2, devices + 1) if devices % k == 0] + [2 * devices]
    hybrids = [f"hybrid_shard_{k}" for k in cuts if k < ranks and ranks % k == 0]
    return ["ddp", "no_shard", *hybrids, "shard_grad_op", "full_shard"]


def strategies_on(asked: Sequence[str], ranks: int, devices: int) -> list[str]:
    """Of the strategies asked for those that so many devices can have; the usual ones if none is.

    One device has the plain model, whatever is asked for.

    Args:
        asked: Names; empty: the usual ones.
        ranks: Devices in all.
        devices: Of a node.
    """
    if not asked or ranks == 1:
        return usual_strategies(ranks, devices)
    return [name for name in asked if divides(name, ranks)]


def divides(strategy: str, ranks: int) -> bool:
    """Whether so many ranks can have a strategy."""
    try:
        shard_count(strategy, ranks)
    except UserError:
        return False
    return True
