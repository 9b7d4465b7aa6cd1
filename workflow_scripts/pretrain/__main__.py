"""Pretrain one segment of a run, from its last checkpoint to the end or to the walltime."""

import argparse
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.logs import log
from workflow_scripts.models.shapes import odd_heads
from workflow_scripts.pretrain import attempts, earlier, launch, meeting, spawn
from workflow_scripts.pretrain.history import mark_failed
from workflow_scripts.pretrain.meeting import Meeting
from workflow_scripts.pretrain.record import Record
from workflow_scripts.pretrain.run_digest import (
    Identity,
    check_data,
    current_identity,
    stored_identity,
    warn_of_changes,
)
from workflow_scripts.pretrain.schedule import missed_peak
from workflow_scripts.pretrain.staging import Place, Staging, staged
from workflow_scripts.pretrain.stop import StopRequest, ignore_usr1, training_time
from workflow_scripts.pretrain.strategies import NAMES, check_layout
from workflow_scripts.stage import run_stage, stage_parser

MODULE = "workflow_scripts.pretrain"


def _steps(text: str) -> tuple[int, ...]:
    return tuple(sorted({int(word) for word in text.split(",")}))


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("pretrain", __doc__ or "")
    one.add_argument("--index", type=Path, required=True, help="the corpus's index.json")
    one.add_argument("--run", type=Path, required=True, help="the run's folder")
    one.add_argument("--segment", type=Path, required=True, help="the segment's JSON, written here")
    one.add_argument("--previous", type=Path, help="the segment before it")
    one.add_argument("--teacher", type=Path, help="run folder of the teacher (gfm)")
    one.add_argument("--start", type=Path, help="model folder that the encoder begins with")
    one.add_argument("--ranks", type=int, default=1, help="processes, one for each accelerator")
    one.add_argument("--walltime-s", type=float, default=float("inf"), help="time of this job")
    one.add_argument("--strategy", default="no_shard", help=NAMES)
    one.add_argument("--workers", type=int, default=0, help="loader processes of each rank")
    one.add_argument("--prefetch", type=int, default=2, help="batches that each of them is ahead")
    one.add_argument("--gather-ahead", type=int, default=0, help="blocks gathered ahead")
    one.add_argument("--retries", type=int, default=2, help="of reading a sample that failed")
    one.add_argument("--skip-bad", action="store_true", help="skip samples that cannot be read")
    one.add_argument("--accumulate", type=int, default=1, help="parts of a rank's batch")
    one.add_argument("--activation-checkpointing", action="store_true", help="less memory")
    one.add_argument("--compile", action="store_true", help="compile each block")
    one.add_argument("--checkpoint-every", type=int, default=200, metavar="STEPS")
    one.add_argument("--keep-checkpoints", type=int, default=2, help="the last so many")
    one.add_argument(
        "--snapshots", type=_steps, default=(), metavar="STEP,…", help="checkpoints that stay"
    )
    one.add_argument("--async-checkpoints", action="store_true", help="train while one is written")
    one.add_argument("--log-every", type=int, default=10, metavar="STEPS")
    one.add_argument("--stage-to", metavar="FOLDER", help="of each node: copy shards there")
    one.add_argument("--stage-gb", type=float, metavar="GB", help="most that copies take there")
    one.add_argument("--bad-steps", type=int, default=10, help="in a row, then end")
    one.add_argument("--stall-minutes", type=float, default=30.0, help="without a step, then end")
    one.add_argument("--pinned", metavar="DIGEST", help="use the stored run that begins so")
    one.add_argument(
        "--wait-s", type=float, default=60.0, help="time for another trainer of this run to end"
    )
    one.add_argument(
        "--meet-s", type=float, default=meeting.PATIENCE_S, help="time for all ranks to come"
    )
    return one


def _identity(arguments: argparse.Namespace, recipe: dict[str, Any]) -> Identity:
    if arguments.pinned:
        stored = stored_identity(arguments.run, arguments.pinned)
        warn_of_changes(stored, arguments.run, recipe)
        return stored
    return current_identity(recipe, read_json(arguments.index), arguments.teacher, arguments.start)


def _patience(arguments: argparse.Namespace) -> float:
    """Seconds that ranks wait for each other: the job should live to say who did not come."""
    return float(min(arguments.meet_s, arguments.walltime_s / 2))


def _train(arguments: argparse.Namespace, record: Record, ranks: launch.Ranks) -> None:
    spawn.follow_parent()
    stop = StopRequest(training_time(arguments.walltime_s))
    folder, recipe = record.identity.folder(arguments.run), record.identity.recipe
    place = Place(stage_to=arguments.stage_to, most_gb=arguments.stage_gb, ranks=ranks)
    with staged(place, index=arguments.index, recipe=recipe, checkpoints=folder) as staging:
        _train_from(arguments, record, ranks, stop, staging)


def _train_from(
    arguments: argparse.Namespace, record: Record, ranks: launch.Ranks, stop: StopRequest,
    staging: Staging | None,
) -> None:  # fmt: skip
    # Here, so that the parent of ranks and a segment after the end start without torch.
    from workflow_scripts.pretrain.segment import train_segment
    from workflow_scripts.pretrain.trainer import Layout

    given = vars(arguments)
    layout = Layout(**{field.name: given[field.name] for field in fields(Layout)})
    train_segment(
        record,
        index=arguments.index,
        teacher=arguments.teacher,
        start=arguments.start,
        layout=layout,
        ranks=ranks,
        walltime_s=arguments.walltime_s,
        stop=stop,
        patience_s=_patience(arguments),
        staging=staging,
    )


def _record(arguments: argparse.Namespace, identity: Identity) -> Record:
    return Record(
        path=arguments.segment, previous=arguments.previous, identity=identity, run=arguments.run
    )


def _guarded(arguments: argparse.Namespace, recipe: dict[str, Any], held: Meeting) -> None:
    """Under the run's lock: decide for all ranks, then train, start them, or leave."""
    held.clear()
    ranks = held.ranks
    launch.check_number(ranks, arguments.ranks)
    identity = _identity(arguments, recipe)
    record = _record(arguments, identity)
    if record.write_if_done():  # on however few ranks
        held.over()
        return
    check_layout(
        arguments.strategy, ranks=ranks.world, batch=identity.recipe["batch"],
        accumulate=arguments.accumulate,
    )  # fmt: skip
    if arguments.pinned:
        check_data(identity, read_json(arguments.index), arguments.teacher, arguments.start)
    identity.write(arguments.run)
    own = identity.recipe
    for odd in (odd_heads(own["encoder"]), missed_peak(own["optim"], epochs=own["epochs"])):
        if odd is not None:
            log.warning("%s", odd)
    earlier.tell(arguments.run, record.folder, asdict(identity))
    attempts.begin(record.folder, segment=record.number, ranks=ranks)
    try:
        if ranks.must_spawn:
            spawn.start(ranks, MODULE, decided=identity.run_digest)
        else:
            _train(arguments, record, held.opened(identity.run_digest))
    except UserError:
        mark_failed(record.folder)  # rank 0 may not have lived, or not have come, to do it
        raise


def _follow(arguments: argparse.Namespace, ranks: launch.Ranks) -> None:
    """As one of a launcher's other ranks: do what rank 0 tells."""
    patience = _patience(arguments) + arguments.wait_s  # rank 0 may wait for the lock
    word = meeting.word_of_first(ranks, arguments.run, patience_s=patience)
    if "refused" in word:
        launch.leave_words_to_first()
    if "over" not in word:
        identity = stored_identity(arguments.run, word["run_digest"])
        _train(arguments, _record(arguments, identity), meeting.called(ranks, word))


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: alone, as the parent of ranks, or as one rank."""
    ignore_usr1()
    ranks, decided = launch.place(arguments.ranks), spawn.decided()
    run: Path = arguments.run
    if decided is not None:  # the parent's identity, though code may have been edited since
        identity = stored_identity(run, decided)
        _train(arguments, _record(arguments, identity), ranks)
    elif ranks.is_first:
        with (
            meeting.held(ranks, run) as held,
            exclusive(run / "run.json", wait_s=arguments.wait_s, what=f"run {run.name}"),
        ):
            _guarded(arguments, recipe, held)
    else:
        _follow(arguments, ranks)


if __name__ == "__main__":
    run_stage(parser(), work, writes=launch.place(1).is_first)
