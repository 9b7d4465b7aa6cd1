"""The JSON of a segment: where it began and ended, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log
from workflow_scripts.pretrain import earlier, saved
from workflow_scripts.pretrain.run_digest import Identity
from workflow_scripts.pretrain.started import noted_start
from workflow_scripts.results import write_result


@dataclass(frozen=True, kw_only=True)
class Record:
    """The segment to be written, in its chain.

    Args:
        path: The segment's JSON.
        previous: The JSON of the segment before it; None for the first.
        identity: The run it belongs to.
        run: The run's folder.
    """

    path: Path
    previous: Path | None
    identity: Identity
    run: Path

    def before(self) -> dict[str, Any]:
        """The body of the segment before this one.

        Raises:
            UserError: It belongs to another run.
        """
        if self.previous is None:
            return {"end_step": 0, "total_steps": None, "reason": "walltime"}
        body: dict[str, Any] = read_json(self.previous)
        if body["run_digest"] != self.identity.run_digest:
            raise UserError(
                f"{self.previous}: belongs to run {body['run_digest'][:16]}, expected "
                f"{self.identity.run_digest[:16]} (recipe, data or code changed since); make it "
                "again"
            )
        return body

    @property
    def number(self) -> int:
        """Which segment of the chain this is.

        Raises:
            UserError: The JSON is not named by a number.
        """
        if not self.path.stem.isdecimal():
            raise UserError(
                f"{self.path}: a segment's JSON is named by its number, such as 1.json; so are the "
                "records that tell where each segment of a run ended"
            )
        return int(self.path.stem)

    @property
    def folder(self) -> Path:
        """The run's checkpoint folder."""
        return self.identity.folder(self.run)

    @property
    def _ended(self) -> Path:
        return self.folder / f"ended-{self.number}.json"

    def write(self, *, end: int, total: int, facts: dict[str, Any]) -> None:
        """Write it: the start is where the segment before it ended, however often killed.

        What it says is first kept beside the checkpoints, from where `write_if_done` takes it.
        """
        part = {
            "start_step": self.before()["end_step"],
            "end_step": end,
            "total_steps": total,
            "reason": "done" if end >= total else "walltime",
        }
        write_json(self._ended, {**part, "facts": facts})
        self._publish(part, facts)

    def _publish(self, part: dict[str, Any], facts: dict[str, Any]) -> None:
        if part["start_step"] == 0 and (others := earlier.told(self.folder)):
            facts = {**facts, "other_checkpoints": others}
        body = {"run_digest": self.identity.run_digest, **part, **noted_start(self.folder)}
        write_result(self.path, stamp=self.identity.stamp(), body=body, facts=facts)
        log.info("segment ended at step %d of %d (%s)", part["end_step"], part["total_steps"],
                 part["reason"])  # fmt: skip

    def write_if_done(self) -> bool:
        """Write it and return True if nothing is left to train for it.

        Either this segment ended before and its JSON is wanted again (the driver died meanwhile,
        or the rule is run again), whether or not later segments went on from there; or the run
        needs no more steps.
        """
        if (recorded := self._recorded()) is not None:
            log.info("segment %d ended before; its JSON is written again", self.number)
            facts = recorded.pop("facts")
            self._publish(recorded, facts)
            return True
        before = self.before()
        total = before["total_steps"] if before["reason"] == "done" else self._last_step()
        if total is None:
            return False
        log.info("run %s is done; nothing to train", self.identity.run_digest[:16])
        self._publish(
            {"start_step": before["end_step"], "end_step": total, "total_steps": total,
             "reason": "done"}, {},
        )  # fmt: skip
        return True

    def _recorded(self) -> dict[str, Any] | None:
        """How this segment ended, if it did in this chain and no checkpoint was lost since.

        A record that begins elsewhere than the segment before it ended is of a chain that was
        trained anew; one that ends behind the last checkpoint tells of steps that are gone.
        """
        if not self._ended.is_file():
            return None
        recorded: dict[str, Any] = read_json(self._ended)
        last = saved.latest(self.folder)
        if last is None or last < recorded["end_step"]:
            return None
        return recorded if recorded["start_step"] == self.before()["end_step"] else None

    def warn_of_loss(self) -> None:
        """Warn if the checkpoint that the segment before this one ended with is gone."""
        end, last = self.before()["end_step"], saved.latest(self.folder) or 0
        if last < end:
            log.warning(
                "%s: segment %d ended at step %d, but the last checkpoint is of step %d; the steps "
                "between are trained again, so that the run may need more segments",
                self.folder, self.number - 1, end, last,
            )  # fmt: skip

    def _last_step(self) -> int | None:
        """The run's number of steps, if its last checkpoint is the final one."""
        step = saved.latest(self.folder)
        if step is None or saved.read_meta(self.folder, step)["total_steps"] != step:
            return None
        return step
