"""A table of the runs: how far each is, how fast, and how long it has still to go.

python -m workflow_scripts.status [--results results]
"""

import argparse
import datetime
import socket
import sys
from pathlib import Path
from typing import Any

import psutil

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.pretrain.earlier import in_words, told

_COLUMNS = (
    "run", "state", "step", "images/s", "data wait", "MFU", "time left", "loss", "updated"
)  # fmt: skip


def row(folder: Path) -> tuple[str, ...]:
    """One run's line, from the latest checkpoint folder's `progress.json`."""
    identity = folder / "identity.json"
    if not identity.is_file():
        return (folder.name, "not started", *("–",) * 7)
    digest = read_json(identity)["run_digest"]
    progress = folder / "checkpoints" / digest[:16] / "progress.json"
    if not progress.is_file():
        return (folder.name, "starting", *("–",) * 7)
    found = read_json(progress)
    return (
        folder.name,
        _state(found),
        f"{found.get('step', 0)} of {found.get('total_steps', '?')}",
        _number(found.get("images_per_s"), ".0f"),
        _number(found.get("data_wait"), ".0%"),
        _number(found.get("mfu"), ".0%"),
        _duration(found.get("seconds_left")) if found["state"] == "running" else "–",
        _number(found.get("loss"), ".4f"),
        str(found["updated"]),
    )


def _state(progress: dict[str, Any]) -> str:
    state = str(progress["state"])
    if (
        state == "running"
        and progress["host"] == socket.gethostname()
        and not psutil.pid_exists(progress["pid"])
    ):
        return "died"
    return state


def _number(value: float | None, form: str) -> str:
    return "–" if value is None else format(value, form)


def _duration(seconds: float | None) -> str:
    return "–" if seconds is None else str(datetime.timedelta(seconds=round(seconds)))


def notes(folder: Path) -> list[str]:
    """What a run's line does not say: that it began anew beside checkpoints of other digests."""
    identity = folder / "identity.json"
    if not identity.is_file() or (folder / "summary.json").is_file():
        return []
    rows = told(folder / "checkpoints" / read_json(identity)["run_digest"][:16])
    return [f"{folder.name} began anew beside checkpoint {in_words(row)}" for row in rows]


def table(rows: list[tuple[str, ...]]) -> str:
    """Columns set under each other."""
    lines = [_COLUMNS, *rows]
    widths = [max(len(line[i]) for line in lines) for i in range(len(_COLUMNS))]
    return "\n".join(
        "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True)).rstrip()
        for line in lines
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m workflow_scripts.status", description=__doc__)
    parser.add_argument("--results", type=Path, default=Path("results"), help="paths.results")
    options = parser.parse_args()
    runs = options.results / "runs"
    folders = [folder for folder in sorted(runs.glob("*")) if folder.is_dir()]
    try:
        rows = [row(folder) for folder in folders]
        noted = [note for folder in folders for note in notes(folder)]
    except UserError as error:
        sys.exit(str(error))
    lines = [table(rows), *noted] if rows else [f"no run below {runs} yet"]
    sys.stdout.write("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
