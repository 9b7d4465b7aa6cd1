"""What a run took from its start, kept beside its checkpoints and told in its results."""

import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log

if TYPE_CHECKING:  # segments that only write their record do without torch
    from workflow_scripts.models.start import Start

STARTED = "start.json"


def note_start(folder: Path, start: "Start") -> None:
    """Log which parameters come from a start and keep it for the results (rank 0).

    Args:
        folder: The run's checkpoint folder.
        start: The start, compared with the encoder.
    """
    for fit, forms in start.report.items():
        text = f"start {start.folder}: {sum(forms.values())} {fit}"
        if fit == "loaded" or not forms:
            log.info("%s", text)
            continue
        named = ", ".join(f"{form} ({count})" for form, count in forms.items())
        log.log(logging.INFO if fit == "resized" else logging.WARNING, "%s: %s", text, named)
    write_json(folder / STARTED, {"from": start.origin, **start.report})


def noted_start(folder: Path) -> dict[str, Any]:
    """`{"start": …}` of a run that had one, for its results; empty without."""
    path = folder / STARTED
    return {"start": read_json(path)} if path.is_file() else {}
