"""One rank's part of a segment: join the others, train, and (rank 0) write the record."""

import sys
import time
from contextlib import suppress
from pathlib import Path

import torch

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.pretrain import attempts, parallel
from workflow_scripts.pretrain.history import mark_failed
from workflow_scripts.pretrain.launch import (
    Ranks,
    leave_words_to_first,
    seconds_since_start,
    threads,
)
from workflow_scripts.pretrain.meeting import PATIENCE_S
from workflow_scripts.pretrain.record import Record
from workflow_scripts.pretrain.spawn import STOPPED_STATUS
from workflow_scripts.pretrain.staging import Staging
from workflow_scripts.pretrain.stop import Outcome, StopRequest
from workflow_scripts.pretrain.trainer import Layout, Trainer
from workflow_scripts.pretrain.watchdog import Watchdog
from workflow_scripts.shards.corpus import Corpus

_SHORTEST_TIMEOUT, _LONGEST_TIMEOUT = 1800.0, 86400.0


def train_segment(
    record: Record, *, index: Path, teacher: Path | None, layout: Layout, ranks: Ranks,
    walltime_s: float, stop: StopRequest, start: Path | None = None,
    staging: Staging | None = None, patience_s: float = PATIENCE_S,
) -> None:  # fmt: skip
    """Train on this rank until the run is done, the time is up, or it is told to stop.

    Told to stop, it saves a checkpoint, writes no record and exits with `STOPPED_STATUS`: the
    segment is not over.

    Args:
        record: The segment to write.
        index: The corpus's index.
        teacher: Run folder of the frozen teacher, for `gfm`.
        layout: How it runs.
        ranks: This process's place.
        walltime_s: Time of the job.
        stop: What was and will be asked of this process.
        start: Model folder that the encoder begins with.
        staging: What copies shards to this node.
        patience_s: How long the ranks wait for each other at the start.

    Raises:
        UserError: What cannot be trained, ranks that do not come, or a time that was up before
            the first step.
    """
    torch.set_num_threads(threads(ranks))
    stall = 60 * layout.stall_minutes
    # The watch names the stalled rank; an exchange that gave up before it would name none.
    timeout = max(_SHORTEST_TIMEOUT, min(walltime_s, _LONGEST_TIMEOUT), 2 * stall)
    device = parallel.join(ranks, timeout_s=timeout, patience_s=patience_s)
    folder = record.folder
    with Watchdog(ranks, limit_s=stall, on_stall=lambda: mark_failed(folder)) as watch:
        try:
            if ranks.is_first:
                record.warn_of_loss()
            touched = time.time()
            copies = staging.copies if staging else None
            corpus = Corpus(index, record.identity.recipe["split"], copies)
            trainer = Trainer(
                record.identity.recipe, corpus, folder=folder, teacher=teacher, layout=layout,
                ranks=ranks, device=device, start=start, watch=watch, staging=staging,
                touched=touched,
            )  # fmt: skip
            outcome = trainer.run(stop)
        except BaseException:
            if ranks.is_first:
                with suppress(OSError):  # the disk may be full, which is what is to be told
                    mark_failed(folder)
            raise
        if ranks.is_first and outcome.how in (attempts.DONE, attempts.WALLTIME):
            record.write(end=outcome.end_step, total=outcome.total_steps, facts=outcome.facts)
    _leave(outcome, record, ranks, stop, device)


def _leave(
    outcome: Outcome, record: Record, ranks: Ranks, stop: StopRequest, device: torch.device
) -> None:
    """Leave the other ranks, and end as the segment ended.

    Raises:
        UserError: The time was up before the first step.
    """
    if outcome.how == attempts.STOPPED and ranks.is_first:
        log.error(
            "segment %d was told to stop and did, at step %d of %d, which is saved. It has no "
            "JSON, since it is not over: the same command goes on with it",
            record.number, outcome.end_step, outcome.total_steps,
        )  # fmt: skip
    spent, trained = seconds_since_start(), outcome.facts["seconds"]
    if outcome.how == attempts.WALLTIME and ranks.is_first and trained < spent / 2:
        log.warning(
            "of the %.0f s of this job only %.0f s went into training: raise "
            "runs.%s.launch.walltime_minutes, or find out what took so long",
            spent, trained, record.run.name,
        )  # fmt: skip
    parallel.from_first(0, device)  # a rank that fails has the others ended: rank 0 is ready now
    parallel.leave()
    if outcome.how == attempts.STOPPED:
        sys.exit(STOPPED_STATUS)
    if outcome.how == attempts.FAILED:
        if not ranks.is_first:
            leave_words_to_first()
        raise UserError(
            f"no time was left for the first step: until then it took {seconds_since_start():.0f} "
            f"s, of the {stop.allowed:.0f} s that this job has for training (its walltime less "
            f"what its end may take). Raise runs.{record.run.name}.launch.walltime_minutes, or "
            "find out what took so long"
        )
