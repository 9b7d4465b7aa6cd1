"""Names of the strategies, without the libraries that carry them out (those are in `parallel`)."""

import re

from workflow_scripts.errors import UserError

NAMES = "ddp, no_shard, hybrid_shard_<k>, shard_grad_op, full_shard"


def shard_count(strategy: str, world: int) -> int:
    """Over how many ranks one copy of the model is cut.

    Raises:
        UserError: No such strategy, or k does not divide the ranks.
    """
    if strategy in ("ddp", "no_shard"):
        return 1
    if strategy in ("shard_grad_op", "full_shard"):
        return world
    match = re.fullmatch(r"hybrid_shard_(\d+)", strategy)
    if not match:
        raise UserError(f"strategy {strategy!r} is none of: {NAMES}")
    shards = int(match[1])
    if shards < 1 or world % shards:
        fitting = ", ".join(str(k) for k in range(1, world + 1) if world % k == 0)
        raise UserError(
            f"strategy {strategy} cuts the model over {shards} ranks, which does not divide "
            f"{world} ranks; k may be {fitting}"
        )
    return shards
