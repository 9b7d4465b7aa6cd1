"""What is said of steps that were skipped because their loss or gradient was not finite."""

from workflow_scripts.errors import UserError
from workflow_scripts.loader.order import Order
from workflow_scripts.logs import log
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.launch import leave_words_to_first
from workflow_scripts.pretrain.meter import Bad
from workflow_scripts.shards.corpus import Corpus

_NAMED_SAMPLES = 8


def tell(bad: Bad, step: int, *, limit: int, corpus: Corpus, order: Order, is_first: bool) -> None:
    """Warn of a skipped step, or end the run; every rank calls it.

    Args:
        bad: The skipped step.
        step: Its number, from 0.
        limit: Skipped steps in a row that end the run.
        corpus: What is trained on.
        order: Which samples each step saw.
        is_first: Whether this rank is the one that speaks.

    Raises:
        UserError: On rank 0, it is one too many; names the samples of the ranks whose loss it was.
            The others end with it.
    """
    if bad.in_a_row < limit:
        if is_first:
            log.warning(
                "loss or gradient of step %d is not finite: skipped (%d in a row)",
                step + 1, bad.in_a_row,
            )  # fmt: skip
        return
    suspects = _suspects(bad, step, corpus, order)
    if not is_first:
        leave_words_to_first()
    raise UserError(
        f"loss or gradient of {bad.in_a_row} steps in a row is not finite, the last of them step "
        f"{step + 1}: {suspects}. Lower optim.base_lr, set optim.clip, "
        "or look at these samples; none of these steps changed the weights, and the last "
        "checkpoint is kept"
    )


def _suspects(bad: Bad, step: int, corpus: Corpus, order: Order) -> str:
    """The samples of the ranks whose own loss was not finite; of all if only gradients were."""
    finite = parallel.gathered(bad.finite_here).tolist()
    ranks = [rank for rank, good in enumerate(finite) if not good] or list(range(len(finite)))
    samples = [
        corpus.name(int(sample))
        for rank in ranks
        for sample in order.batch_at(step, rank=rank, ranks=len(finite))
    ]
    more = f" and {len(samples) - _NAMED_SAMPLES} more" if len(samples) > _NAMED_SAMPLES else ""
    ours = f"rank {', '.join(map(str, ranks))}" if len(ranks) < len(finite) else "all ranks"
    return f"samples of {ours}: {'; '.join(samples[:_NAMED_SAMPLES])}{more}"
