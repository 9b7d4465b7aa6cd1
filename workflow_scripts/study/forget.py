"""Points that failed, forgotten, so that the next start of the workflow measures them again."""

from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json
from workflow_scripts.scaling.words import DONE

_ENDINGS = (".json", ".provenance.json", ".mllog")


def forget_failed(study: Path) -> list[str]:
    """Delete what is there of the points of a study that are not `done`.

    Points whose table was not made yet (the study was interrupted) count as well.

    Args:
        study: The study's JSON, `results/scaling/<study>.json`; its points lie in the folder of
            that name.

    Returns:
        The names of the points, sorted.

    Raises:
        UserError: There is no such folder, or a file in it is no point.
    """
    folder = study.with_suffix("")
    if not folder.is_dir():
        raise UserError(f"{study}: there is no folder {folder} with points; name a study's table")
    found = []
    for file in sorted(folder.glob("*.json")):
        if file.name.endswith(".provenance.json"):
            continue
        point = read_json(file)
        if not isinstance(point, dict) or "status" not in point:
            raise UserError(f"{file}: no point of a study; delete it and make it again")
        if point["status"] == DONE:
            continue
        for ending in _ENDINGS:
            file.with_name(f"{file.stem}{ending}").unlink(missing_ok=True)
        found.append(file.stem)
    if found:
        # Snakemake does not look for points behind a table that is there.
        study.unlink(missing_ok=True)
    return found
