"""Names of the strategies and which layouts are possible; `parallel` carries them out.

Without its libraries: the configuration is checked with it, too.
"""

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


def stays_whole(strategy: str, world: int) -> bool:
    """Whether parameters stay whole from a block's forward pass to its backward pass.

    Raises:
        UserError: As of `shard_count`.
    """
    return shard_count(strategy, world) == 1 or strategy == "shard_grad_op"


def share_of(batch: int, ranks: int) -> int:
    """Samples of a batch that each rank gets.

    Raises:
        UserError: The batch cannot be cut into equal shares.
    """
    if batch % ranks:
        below = batch // ranks * ranks
        fitting = f"{below} or {below + ranks}" if below else str(ranks)
        raise UserError(
            f"a batch of {batch} samples cannot be shared evenly by {ranks} ranks; use {fitting}"
        )
    return batch // ranks


def parts_of(share: int, parts: int) -> int:
    """Samples of each part of a rank's share of a batch.

    Raises:
        UserError: It cannot be cut into so many equal parts.
    """
    if parts < 1 or share % parts:
        fitting = ", ".join(str(n) for n in range(1, share + 1) if share % n == 0)
        raise UserError(
            f"accumulate {parts} does not divide the {share} samples of each rank; "
            f"it may be {fitting}"
        )
    return share // parts


def check_layout(strategy: str, *, ranks: int, batch: int, accumulate: int) -> None:
    """Refuse a layout that cannot be, with its numbers.

    Args:
        strategy: One of `NAMES`.
        ranks: Processes of the whole job.
        batch: Samples a step, over all ranks.
        accumulate: Parts into which a rank's share of them is cut.

    Raises:
        UserError: k does not divide the ranks, the ranks do not divide the batch, or the parts do
            not divide a rank's share of it.
    """
    shard_count(strategy, ranks)
    parts_of(share_of(batch, ranks), accumulate)
