"""A study's table as it is read back: `results/scaling/<study>.json`."""

from collections.abc import Iterable
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json


def read_table(path: Path, needed: Iterable[str] = ()) -> dict[str, Any]:
    """Read the table of a study.

    Args:
        path: The file.
        needed: What every point has to say.

    Raises:
        UserError: It is no study, or a point of it is not whole.
    """
    study = read_json(path)
    if not isinstance(study, dict) or study.get("stage") != "study":
        raise UserError(f"{path}: no study; expected what `snakemake scaling` writes")
    rows, keys = study.get("points"), set(needed)
    if not isinstance(rows, list):
        raise damaged(path, "no list of points")
    for row in rows:
        if not isinstance(row, dict) or keys - set(row):
            raise damaged(path, f"a point is {row!r:.60}")
    return study


def damaged(path: Path, seen: object) -> UserError:
    """The error for a table that is not whole; it costs nothing to make it again.

    Args:
        path: The file.
        seen: What is wrong with it.
    """
    return UserError(
        f"{path}: damaged, its points are not as `snakemake scaling` writes them ({seen}); delete "
        "it and make it again: points that are there are not measured again"
    )
