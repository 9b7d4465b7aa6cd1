"""Measure a point of a scaling study, or write down how it ended without having been measured."""

import argparse
import os
import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import exclusive, read_json
from workflow_scripts.logs import log
from workflow_scripts.pretrain import launch, meeting, spawn
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.stop import training_time
from workflow_scripts.pretrain.strategies import shard_count
from workflow_scripts.results import stamp, write_result
from workflow_scripts.scaling import endings
from workflow_scripts.scaling.words import IO, TIMEOUT
from workflow_scripts.stage import run_stage, stage_parser

MODULE = "workflow_scripts.scaling"
_DECIDED = "point"  # there is nothing that a parent decides for its ranks
_WAIT_S = 10.0  # for another process that measures the same: its time is not this job's


def parser() -> argparse.ArgumentParser:
    """The command line of the stage."""
    one = stage_parser("scaling", __doc__ or "")
    one.add_argument("--index", type=Path, help="the corpus's index.json, if the point reads one")
    one.add_argument("--output", type=Path, required=True, help="the point's JSON, written here")
    one.add_argument("--ranks", type=int, default=1, help="processes, one for each accelerator")
    one.add_argument("--walltime-s", type=float, default=float("inf"), help="time of this job")
    one.add_argument(
        "--meet-s", type=float, default=meeting.PATIENCE_S, help="time for all ranks to come"
    )
    one.add_argument(
        "--ended", type=int, metavar="STATUS",
        help="measure nothing: the job ended with this exit status and --log; write the point that "
        "says so, or fail if it is no result",
    )  # fmt: skip
    return one


def _mllog(output: Path) -> Path:
    return output.with_suffix(".mllog")


def _place(output: Path) -> Path:
    """The folder in which the ranks of this point meet, and those of no other."""
    return output.parent / f".{output.stem}"


@contextmanager
def _made(folder: Path) -> Iterator[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _limited(walltime_s: float, progress: Any) -> Iterator[None]:
    """End this process when its job has to end, wherever in torch it is by then."""

    def end() -> None:
        minutes = walltime_s / 60
        said = f"the time limit of {minutes:g} minutes came {progress}"
        endings.say(endings.Ending(status=TIMEOUT, error=said))
        os._exit(endings.TIMEOUT_STATUS)

    left = training_time(walltime_s) - launch.seconds_since_start()
    if left > threading.TIMEOUT_MAX:
        yield
        return
    timer = threading.Timer(max(0.0, left), end)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


@contextmanager
def _alone(output: Path) -> Iterator[None]:
    """While this holds nobody else measures this point, and what was measured before is gone."""
    with exclusive(output, wait_s=_WAIT_S, clear=True):
        output.unlink(missing_ok=True)
        yield


def _measure(arguments: argparse.Namespace, recipe: dict[str, Any], ranks: Ranks) -> None:
    spawn.follow_parent()
    # Here, so that the parent of ranks starts without torch.
    from workflow_scripts.scaling.measure import Progress, measured

    progress = Progress()
    with _limited(arguments.walltime_s, progress):
        found = measured(
            recipe, index=arguments.index, ranks=ranks, progress=progress,
            mllog=_mllog(arguments.output), patience_s=_patience(arguments),
        )  # fmt: skip
    if found is not None:
        row, facts = found
        _write(arguments, recipe, row, facts)
        log.info("%s: %g images/s", recipe["point"], row["images_per_s"]["median"])


def _patience(arguments: argparse.Namespace) -> float:
    """Seconds that ranks wait for each other: the job should live to say who did not come."""
    return float(min(arguments.meet_s, arguments.walltime_s / 2))


def _write(
    arguments: argparse.Namespace, recipe: dict[str, Any], row: dict[str, Any],
    facts: dict[str, Any],
) -> None:  # fmt: skip
    inputs = {"corpus": read_json(arguments.index)["content"]} if arguments.index else {}
    # What the stamp holds already, the recipe, is not said again but by the names of its keys.
    write_result(arguments.output, stamp=stamp("scaling", recipe, inputs), body=row, facts=facts)


def _as_rank(arguments: argparse.Namespace, recipe: dict[str, Any], ranks: Ranks) -> None:
    """Measure as one rank; how this ends is told in the log."""
    try:
        if not ranks.step and not ranks.by_torchrun:
            _measure(arguments, recipe, ranks)
        elif ranks.is_first:
            with _made(_place(arguments.output)) as place, meeting.held(ranks, place) as held:
                held.clear()
                _measure(arguments, recipe, held.opened(_DECIDED))
        else:
            place = _place(arguments.output)
            word = meeting.word_of_first(ranks, place, patience_s=_patience(arguments))
            if "refused" in word:
                launch.leave_words_to_first()
            _measure(arguments, recipe, meeting.called(ranks, word))
    except Exception as error:
        endings.say_exception(error)
        raise SystemExit(1) from None


def _check(recipe: dict[str, Any], ranks: Ranks, wanted: int) -> None:
    """Refuse what no rank can measure.

    Raises:
        UserError: Another number of ranks than the point's, or a strategy that they cannot have.
    """
    expected = recipe["nodes"] * recipe["ranks_per_node"]
    launch.check_number(ranks, wanted)
    if wanted != expected:
        raise UserError(
            f"point {recipe['point']} is of {expected} ranks but --ranks says {wanted}; make them "
            "the same"
        )
    if recipe["mode"] != IO:
        shard_count(recipe["strategy"], expected)


def _ended(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Write down how the point ended.

    Raises:
        UserError: That is no result.
    """
    # What a first rank that was killed has left: it says on which host the ranks met.
    shutil.rmtree(_place(arguments.output), ignore_errors=True)
    if arguments.output.is_file():  # of this attempt: the first rank deletes what is older
        log.warning(
            "%s was measured; something failed after that (exit status %d)",
            recipe["point"], arguments.ended,
        )  # fmt: skip
        return
    text = endings.end_of(arguments.log) if arguments.log else ""
    ending = endings.of_log(arguments.ended, text)
    if ending.status == endings.NO_RESULT:
        raise UserError(
            f"point {recipe['point']} was not measured, and that is no result of the study: "
            f"{ending.error}"
        )
    from workflow_scripts.mllog import end_aborted
    from workflow_scripts.pretrain.construct import meta_objective
    from workflow_scripts.scaling.rows import ended, known
    from workflow_scripts.scaling.sources import described

    objective = meta_objective(recipe["pretrain"], described(recipe, arguments.index), None)
    row = ended(known(recipe, objective), ending.status, ending.error)
    end_aborted(_mllog(arguments.output))  # before the point: where that is there, all of it is
    _write(arguments, recipe, row, {"exit_status": arguments.ended})
    log.warning("%s: %s: %s", recipe["point"], ending.status, ending.error)


def work(arguments: argparse.Namespace, recipe: dict[str, Any]) -> None:
    """Run the stage: alone, as the parent of ranks, or as one rank."""
    if arguments.ended is not None:
        _ended(arguments, recipe)
        return
    ranks = launch.place(arguments.ranks)
    decides = spawn.decided() is None and ranks.is_first
    if decides:
        _check(recipe, ranks, arguments.ranks)
    with _alone(arguments.output) if decides else nullcontext():
        if ranks.must_spawn:
            spawn.start(ranks, MODULE, decided=_DECIDED)
        else:
            _as_rank(arguments, recipe, ranks)


if __name__ == "__main__":
    run_stage(parser(), work, writes=launch.place(1).is_first)
