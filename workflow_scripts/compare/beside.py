"""The folder of figures and tables beside the page: what the last comparison made, and no older."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json

MADE = ".made.json"  # names of what was made here; all else in the folder is somebody's own


@contextmanager
def made_anew(folder: Path) -> Iterator[Path]:
    """Yield an empty folder; when the block ends well, its files replace those made before.

    Files that no comparison wrote stay.

    Args:
        folder: Where the files go.

    Raises:
        UserError: There is a file of that name, or the list of what was made is damaged.
    """
    if folder.exists() and not folder.is_dir():
        raise UserError(f"{folder}: a file, where the folder of figures and tables goes; move it")
    before = _made(folder)
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of one that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        made = sorted(temporary.iterdir())
        names = {path.name for path in made}
        folder.mkdir(exist_ok=True)
        write_json(folder / MADE, sorted(before | names))  # should this be killed before it is done
        for path in made:
            path.replace(folder / path.name)
        for name in before - names:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / MADE, sorted(names))
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _made(folder: Path) -> set[str]:
    """Names of what the last comparison left there."""
    path = folder / MADE
    names = read_json(path) if path.is_file() else []
    # Nothing outside the folder is ever deleted, whatever the list says.
    whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not whole or any(Path(name).name != name for name in names):
        raise UserError(
            f"{path}: not the list of files that a comparison leaves; delete it, and what is not "
            "yours of the files beside it"
        )
    return set(names)
