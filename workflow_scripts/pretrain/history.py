"""What a run tells while it trains: its curve, its state, and a record of each segment."""

import json
import os
import socket
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json, write_text
from workflow_scripts.logs import log
from workflow_scripts.pretrain import attempts

CURVE = "history.jsonl"
STATE = "progress.json"
SEGMENTS = "segments.jsonl"

# Columns of the curve that are no term of the loss.
NOT_TERMS = frozenset(
    {"step", "epoch", "samples", "skipped", "bad_steps", "loss", "lr", "grad_norm", "images_per_s",
     "data_wait", "seconds", "tflops", "mfu", "peak_memory_bytes", "energy_j"}
)  # fmt: skip


def read_lines(path: Path) -> list[dict[str, Any]]:
    """The rows of a JSON-lines file; a last line that a kill cut off is left out.

    Raises:
        UserError: Another line is no row.
    """
    if not path.is_file():
        return []
    rows = []
    lines = path.read_bytes().splitlines()
    for number, line in enumerate(lines, 1):
        try:
            rows.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            if number < len(lines):
                raise UserError(
                    f"{path}: line {number} of {len(lines)} is no JSON object; delete this line "
                    "(of the run's record, no training is lost) and start again"
                ) from None
    return rows


def write_lines(path: Path, rows: list[dict[str, Any]]) -> None:
    """Write a JSON-lines file as a whole."""
    write_text(path, "".join(json.dumps(row) + "\n" for row in rows))


def rounded(value: float) -> float:
    """Seven significant digits: what float32 holds."""
    return float(f"{value:.7g}")


class History:
    """The curve of a run, one line a logged step, kept in the checkpoint folder.

    Args:
        folder: The run's checkpoint folder.
        step: Steps done; later lines, of a segment that was killed, are cut off, so that the
            curve of an interrupted run is the curve of an uninterrupted one.
    """

    def __init__(self, folder: Path, *, step: int) -> None:
        self.path = folder / CURVE
        kept = [row for row in read_lines(self.path) if row["step"] <= step]
        write_lines(self.path, kept)

    def add(self, row: dict[str, Any]) -> None:
        """Append a line, whole or (killed) cut off at the end of the file."""
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def add_segment(folder: Path, facts: dict[str, Any]) -> None:
    """Record how fast and on what a segment ran, for the provenance of the export."""
    # As a whole: a line that a dying node cut off would be joined with the next one.
    write_lines(folder / SEGMENTS, [*read_lines(folder / SEGMENTS), facts])


def known_save_seconds(folder: Path) -> float:
    """Seconds that a checkpoint took when the run was trained last; 0 if nobody knows.

    One rank that leaves time for the first checkpoint of a segment has all leave it.
    """
    rows = read_lines(folder / SEGMENTS)
    return float(rows[-1].get("checkpoint_seconds", 0.0)) if rows else 0.0


def write_state(folder: Path, now: str, **numbers: Any) -> None:
    """Write `progress.json`, what a status table shows of a run, and the attempt's sign of life.

    Args:
        folder: The run's checkpoint folder.
        now: `running`, or how the attempt ended: one of `attempts.OUTCOMES`.
        numbers: What the state is of.
    """
    attempt = attempts.seen(folder, now if now in attempts.OUTCOMES else None)
    place = {name: attempt.get(name) for name in ("job", "segment", "nodes")}
    write_json(
        folder / STATE,
        {**numbers, **place, "state": now, "updated": attempts.now(), "pid": os.getpid(),
         "host": socket.gethostname()},
    )  # fmt: skip


def mark_failed(folder: Path) -> None:
    """Set the state to `failed`, keeping the numbers of the last one."""
    if folder.is_dir():
        path = folder / STATE
        write_state(folder, attempts.FAILED, **(read_json(path) if path.is_file() else {}))


def time_left(seconds: float) -> str:
    """`3725` → `1 h 02 min`."""
    minutes = round(seconds / 60)
    if minutes < 1:
        return f"{seconds:.0f} s"
    return f"{minutes // 60} h {minutes % 60:02d} min" if minutes >= 60 else f"{minutes} min"


def log_row(row: dict[str, Any], *, total: int, seconds_left: float) -> None:
    """One line of the log for a line of the curve."""
    log.info(
        "step %d of %d (epoch %.2f): loss %.5f, %.0f images/s, %.0f %% waiting for data, %s left",
        row["step"], total, row["epoch"], row["loss"], row["images_per_s"],
        100 * row["data_wait"], time_left(seconds_left),
    )  # fmt: skip
