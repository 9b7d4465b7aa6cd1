"""The JSON of a segment: where it began and ended, and why."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
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

    def write(self, *, end: int, total: int, facts: dict[str, Any]) -> None:
        """Write it: the start is where the segment before it ended, however often killed."""
        reason = "done" if end >= total else "walltime"
        start = self.before()["end_step"]
        if start == 0 and (others := earlier.told(self.identity.folder(self.run))):
            facts = {**facts, "other_checkpoints": others}
        body = {
            "run_digest": self.identity.run_digest,
            "start_step": start,
            "end_step": end,
            "total_steps": total,
            "reason": reason,
            **noted_start(self.identity.folder(self.run)),
        }
        write_result(self.path, stamp=self.identity.stamp(), body=body, facts=facts)
        log.info("segment ended at step %d of %d (%s)", end, total, reason)

    def write_if_done(self) -> bool:
        """Write it and return True if the run needs no more steps."""
        before = self.before()
        total = before["total_steps"] if before["reason"] == "done" else self._last_step()
        if total is None:
            return False
        log.info("run %s is done; nothing to train", self.identity.run_digest[:16])
        self.write(end=total, total=total, facts={})
        return True

    def _last_step(self) -> int | None:
        """The run's number of steps, if its last checkpoint is the final one."""
        folder = self.identity.folder(self.run)
        step = saved.latest(folder)
        if step is None or saved.read_meta(folder, step)["total_steps"] != step:
            return None
        return step
