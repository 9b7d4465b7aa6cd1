"""One rank's part of a segment: join the others, train, and (rank 0) write the record."""

from contextlib import suppress
from pathlib import Path

import torch

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import mark_failed
from workflow_scripts.pretrain.launch import Ranks, StopRequest, seconds_since_start, threads
from workflow_scripts.pretrain.record import Record
from workflow_scripts.pretrain.staging import Staging
from workflow_scripts.pretrain.trainer import Layout, Outcome, Trainer
from workflow_scripts.pretrain.watchdog import Watchdog
from workflow_scripts.shards.corpus import Corpus

_SHORTEST_TIMEOUT, _LONGEST_TIMEOUT = 1800.0, 86400.0
_LONGEST_MARGIN = 300.0


def train_segment(
    record: Record, *, index: Path, teacher: Path | None, layout: Layout, ranks: Ranks,
    walltime_s: float, start: Path | None = None, staging: Staging | None = None,
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
        staging: What copies shards to this node.

    Raises:
        UserError: What cannot be trained, or ranks that see different runs.
    """
    budget = walltime_s - min(0.1 * walltime_s, _LONGEST_MARGIN) - seconds_since_start()
    stop = StopRequest(budget)
    torch.set_num_threads(threads(ranks))
    stall = 60 * layout.stall_minutes
    # The watch names the stalled rank; an exchange that gave up before it would name none.
    timeout = max(_SHORTEST_TIMEOUT, min(walltime_s, _LONGEST_TIMEOUT), 2 * stall)
    device = parallel.join(ranks, timeout_s=timeout)
    _agree(record.identity.run_digest, ranks, device)
    done = ranks.is_first and record.write_if_done()
    if not parallel.from_first(int(done), device):
        folder = record.identity.folder(record.run)
        with Watchdog(ranks, limit_s=stall, on_stall=lambda: mark_failed(folder)) as watch:
            try:
                copies = staging.copies if staging else None
                corpus = Corpus(index, record.identity.recipe["split"], copies)
                trainer = Trainer(
                    record.identity.recipe, corpus, folder=folder, teacher=teacher, layout=layout,
                    ranks=ranks, device=device, start=start, watch=watch, staging=staging,
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


def _agree(run_digest: str, ranks: Ranks, device: torch.device) -> None:
    """All ranks mean the same run: their checkpoints would go to different folders."""
    mine = int(run_digest[:15], 16)
    if parallel.from_first(mine, device) != mine:
        raise UserError(
            f"rank {ranks.rank} has run digest {run_digest[:16]}, rank 0 another: code or data "
            "differ between nodes or changed just now; start again"
        )
