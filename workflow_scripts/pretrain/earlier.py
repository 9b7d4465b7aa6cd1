"""Checkpoints of a run under other digests: what differs, and how to go on with them instead.

A run whose recipe, data or code changed starts from step 0 in a folder of its own. That may be a
surprise after hours of training, so it is told: in the log, in the segment's provenance, in
`status` and in `stale`.
"""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow_scripts.differences import differences
from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log
from workflow_scripts.pretrain.saved import latest

EARLIER = "earlier.json"
_IDENTITY = "identity.json"
_DIGEST, _FEWER = 64, 12  # hexadecimal digits of a digest, and as many as are shown of it
_NAMES = {"content": "corpus"}
_MOST_NAMED = 8


def others(run: Path, current: dict[str, Any]) -> list[dict[str, Any]]:
    """The run's checkpoints, the newest first, if none of them is the current identity's own.

    Args:
        run: The run's folder.
        current: An identity as it is stored, or its recipe and some of its digests: only
            these are compared.

    Returns:
        `run_digest`, `step` (of the last checkpoint) and `differs` (in words) of each.
    """
    rows = []
    stored = sorted((run / "checkpoints").glob(f"*/{_IDENTITY}"), key=lambda p: -p.stat().st_mtime)
    for path in stored:
        identity, step = read_json(path), latest(path.parent)
        digest = identity["run_digest"]
        differs = differences(identity["recipe"], current["recipe"])
        differs += differences(_digests(identity, current), _digests(current, current))
        if step is None:
            continue
        if not differs and current.get("run_digest", digest) == digest:
            return []
        differs = differs or ["an older way to make the digest"]
        rows.append({"run_digest": digest, "step": step, "differs": differs})
    return rows


def _digests(identity: dict[str, Any], fields: Iterable[str]) -> dict[str, Any]:
    """The given fields of an identity, less the recipe, as a message names them."""
    shown = {}
    for name in set(fields) - {"recipe", "run_digest"}:
        value = identity.get(name)
        if isinstance(value, str) and len(value) == _DIGEST:
            value = value[:_FEWER]
        if value is not None:
            shown[_NAMES.get(name, name)] = value
    return shown


def in_words(row: dict[str, Any]) -> str:
    """`1a2b3c4d5e6f7a8b at step 400: optim.base_lr 0.001 → 0.002`."""
    named = row["differs"][:_MOST_NAMED]
    more = len(row["differs"]) - len(named)
    text = ", ".join(named) + (f" and {more} more" if more else "")
    return f"{row['run_digest'][:16]} at step {row['step']}: {text}"


def pin(run: str, row: dict[str, Any]) -> str:
    """The line of the configuration that goes on with such a checkpoint."""
    return f'runs.{run}.pinned: "{row["run_digest"][:16]}"'


def tell(run: Path, folder: Path, identity: dict[str, Any]) -> None:
    """Warn if a run starts from step 0 while it has checkpoints under other digests.

    Args:
        run: The run's folder.
        folder: Its checkpoint folder now; what was told is kept there.
        identity: Its identity now.
    """
    if latest(folder) is not None:
        return
    rows = others(run, identity)
    if rows:
        write_json(folder / EARLIER, rows)
        log.warning(
            "run %s starts from step 0: it has checkpoints under other digests only\n%s\n"
            "To go on with one of them, stop this job and set %s: its stored recipe, code and data "
            "are then used",
            run.name, "\n".join(f"  {in_words(row)}" for row in rows), pin(run.name, rows[0]),
        )  # fmt: skip


def told(folder: Path) -> list[dict[str, Any]]:
    """What `tell` told when the run of a checkpoint folder began; empty if nothing."""
    path = folder / EARLIER
    return list(read_json(path)) if path.is_file() else []
