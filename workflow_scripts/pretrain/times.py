"""When a run trained: MLPerf HPC's log lines over all its segments, kept beside its checkpoints.

One `run_start` and one `run_stop`, however often the run was cut off. The clock goes on between
segments; `segment_start` and `segment_stop`, keys of our own, tell how much of the time one ran.
Rank 0 writes, and nothing waits for a device: an epoch's line is written as its last step is
launched, the last one after the final checkpoint was written.
"""

import datetime
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mlperf_logging.mllog import constants as keys

from workflow_scripts.loader.order import Order
from workflow_scripts.mllog import MlLog, read, settings_of, write
from workflow_scripts.pretrain import attempts
from workflow_scripts.pretrain.launch import Ranks, seconds_since_start
from workflow_scripts.pretrain.staging import Staging

TIMES = "mllog.txt"
BENCHMARK = "orbweaver_pretrain"
SEGMENT_START, SEGMENT_STOP = "segment_start", "segment_stop"
_OF_STEPS = (keys.EPOCH_START, keys.EPOCH_STOP)
_Lines = list[dict[str, Any]]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """The training whose times are kept.

    Args:
        recipe: The run's recipe.
        order: Its order of samples.
        ranks: This process's place.
        accumulate: Parts of a rank's batch.
        platform: Name of a device.
        accelerated: Whether that is an accelerator.
        touched: When this segment first read the corpus, in seconds since 1970.
        staging: What copies shards to this node.
    """

    recipe: dict[str, Any]
    order: Order
    ranks: Ranks
    accumulate: int
    platform: str
    accelerated: bool
    touched: float
    staging: Staging | None

    @property
    def began(self) -> float:
        """When the segment's clock starts: copying to the node is inside the timed run."""
        return min(self.staging.began, self.touched) if self.staging else self.touched

    def settings(self) -> dict[str, Any]:
        """The settings that the log begins with."""
        local = self.ranks.local_world
        return settings_of(
            self.recipe, nodes=-(-self.ranks.world // local), ranks_per_node=local,
            train_samples=int(self.order.sizes.sum()), accumulate=self.accumulate,
            accelerated=self.accelerated,
        )  # fmt: skip


class Times:
    """The log of a run while one of its segments runs.

    Lines of steps that are trained again are cut off, as those of the curve are; when segments
    began and ended stays, for that time was spent.

    Args:
        folder: The run's checkpoint folder.
        timed: What is timed.
        step: Steps done before this segment.
    """

    def __init__(self, folder: Path, timed: Timed, *, step: int) -> None:
        path, self._order = folder / TIMES, timed.order
        found = read(path) if timed.ranks.is_first else []
        is_over = step == self._order.total_steps and _has(found, keys.RUN_STOP)
        self._writes = timed.ranks.is_first and not is_over
        if not self._writes:
            return
        lines = _ended(_kept(found, step), folder)
        write(path, lines)
        self._log = MlLog(
            path, benchmark=BENCHMARK, platform=timed.platform, settings=timed.settings(),
            began=min(time.time() - seconds_since_start(), timed.began), append=True,
        )  # fmt: skip
        if not lines:
            self._log.run_start(at=timed.began)
        self._log.start(
            SEGMENT_START, at=timed.began, step_num=step, ranks=timed.ranks.world,
            platform=timed.platform,
        )  # fmt: skip
        if timed.staging:
            self._log.start(keys.STAGING_START, at=timed.staging.began)
        begun = [line for line in lines if line["key"] == keys.BLOCK_START]
        # Of a run whose first lines are lost the block begins here.
        self._first = begun[-1]["metadata"]["first_epoch_num"] if begun else self._epoch(step)
        if not begun:
            self._start_block(step)
        if step < self._order.total_steps and not _open_epoch(lines):
            self._start_epoch(step)

    def _start_block(self, step: int) -> None:
        """The training as a whole."""
        self._log.start(
            keys.BLOCK_START, first_epoch_num=self._first,
            epoch_count=self._order.epochs - self._first + 1, step_num=step,
        )  # fmt: skip

    def _epoch(self, step: int) -> int:
        """Number of a step's epoch, from 1."""
        return self._order.epoch_of(step) + 1

    def _start_epoch(self, step: int) -> None:
        self._log.start(keys.EPOCH_START, epoch_num=self._epoch(step), step_num=step)

    def stepped(self, step: int) -> None:
        """Note an epoch that is over after so many steps (on every rank, after each step)."""
        last = step == self._order.total_steps
        if not self._writes or (step % self._order.steps_per_epoch and not last):
            return
        self._log.stop(keys.EPOCH_STOP, epoch_num=self._epoch(step - 1), step_num=step)
        if not last:
            self._start_epoch(step)

    def end(self, how: str, *, step: int, staged: dict[str, Any] | None) -> None:
        """Note how the segment ended, and the run's end if it is done.

        Args:
            how: One of `attempts.OUTCOMES`.
            step: Steps done.
            staged: What copying to this node told.
        """
        if not self._writes:
            return
        if staged and staged.get("ended"):
            self._log.stop(keys.STAGING_STOP, at=staged["ended"])
        elif staged:  # told to end before it had all
            self._log.stop(keys.STAGING_STOP, status=keys.ABORTED)
        self._log.stop(SEGMENT_STOP, step_num=step, status=how)
        if how == attempts.DONE:
            self._log.stop(keys.BLOCK_STOP, first_epoch_num=self._first, step_num=step)
            self._log.run_stop(True)


def _has(lines: _Lines, key: str) -> bool:
    return any(line["key"] == key for line in lines)


def _kept(lines: _Lines, step: int) -> _Lines:
    """The lines that hold for a run at a step; none if it is trained anew after its end."""
    if not _has(lines, keys.RUN_START) or (_has(lines, keys.RUN_STOP) and step == 0):
        return []
    ends = (keys.RUN_STOP, keys.BLOCK_STOP)
    return [
        line
        for line in lines
        if line["key"] not in ends
        and not (line["key"] in _OF_STEPS and line["metadata"]["step_num"] > step)
    ]


def _ended(lines: _Lines, folder: Path) -> _Lines:
    """Lines with the end of the segment that died, if one did: its last sign of life."""
    segments = [line for line in lines if line["key"] in (SEGMENT_START, SEGMENT_STOP)]
    if not segments or segments[-1]["key"] == SEGMENT_STOP:
        return lines
    # Its attempt is the last that began before it; the last of all is this one.
    began = [
        one for one in attempts.read(folder)[:-1] if _ms(one["began"]) <= segments[-1]["time_ms"]
    ]
    moment = max([lines[-1]["time_ms"], *(_ms(one["seen"]) for one in began[-1:])])
    stop = {"event_type": keys.INTERVAL_END, "key": SEGMENT_STOP, "time_ms": moment}
    return [*lines, {**segments[-1], **stop, "metadata": {"status": attempts.FAILED}}]


def _ms(moment: str) -> int:
    return int(datetime.datetime.fromisoformat(moment).timestamp() * 1e3)


def _open_epoch(lines: _Lines) -> bool:
    """Whether an epoch began and did not end."""
    of_epochs = [line["key"] for line in lines if line["key"] in _OF_STEPS]
    return bool(of_epochs) and of_epochs[-1] == keys.EPOCH_START


def times_of(folder: Path) -> str:
    """The log of a finished run, as it is exported; a line says so of a run that kept none."""
    path = folder / TIMES
    if not path.is_file():
        return "# No MLLOG lines: this run was trained before its times were kept.\n"
    return path.read_text(encoding="utf-8")
