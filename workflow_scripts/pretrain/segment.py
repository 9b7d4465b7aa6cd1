"""One rank's part of a segment: join the others, train, and (rank 0) write the record."""

from contextlib import suppress
from pathlib import Path

import torch

from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import mark_failed
from workflow_scripts.pretrain.launch import Ranks, StopRequest, seconds_since_start, threads
from workflow_scripts.pretrain.meeting import PATIENCE_S
from workflow_scripts.pretrain.record import Record
from workflow_scripts.pretrain.trainer import Layout, Outcome, Trainer
from workflow_scripts.pretrain.watchdog import Watchdog
from workflow_scripts.shards.corpus import Corpus

_SHORTEST_TIMEOUT, _LONGEST_TIMEOUT = 1800.0, 86400.0
_LONGEST_MARGIN = 300.0


def train_segment(
    record: Record, *, index: Path, teacher: Path | None, layout: Layout, ranks: Ranks,
    walltime_s: float, start: Path | None = None, patience_s: float = PATIENCE_S,
) -> None:  # fmt: skip
    """Train on this rank until the run is done or the time is up.

    Args:
        record: The segment to write.
        index: The corpus's index.
        teacher: Run folder of the frozen teacher, for `gfm`.
        layout: How it runs.
        ranks: This process's place.
        walltime_s: Time of the job. A tenth of it, five minutes at most, is left for its end.
        start: Model folder that the encoder begins with.
        patience_s: How long the ranks wait for each other at the start.

    Raises:
        UserError: What cannot be trained, or ranks that do not come.
    """
    budget = walltime_s - min(0.1 * walltime_s, _LONGEST_MARGIN) - seconds_since_start()
    stop = StopRequest(budget)
    torch.set_num_threads(threads(ranks))
    stall = 60 * layout.stall_minutes
    # The watch names the stalled rank; an exchange that gave up before it would name none.
    timeout = max(_SHORTEST_TIMEOUT, min(walltime_s, _LONGEST_TIMEOUT), 2 * stall)
    device = parallel.join(ranks, timeout_s=timeout, patience_s=patience_s)
    folder = record.identity.folder(record.run)
    with Watchdog(ranks, limit_s=stall, on_stall=lambda: mark_failed(folder)) as watch:
        try:
            corpus = Corpus(index, record.identity.recipe["split"])
            trainer = Trainer(
                record.identity.recipe, corpus, folder=folder, teacher=teacher, layout=layout,
                ranks=ranks, device=device, start=start, watch=watch,
            )  # fmt: skip
            outcome: Outcome = trainer.run(stop)
        except BaseException:
            if ranks.is_first:
                with suppress(OSError):  # the disk may be full, which is what is to be told
                    mark_failed(folder)
            raise
        if ranks.is_first:
            record.write(end=outcome.end_step, total=outcome.total_steps, facts=outcome.facts)
    parallel.leave()
