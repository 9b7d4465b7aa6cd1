"""The folder of figures and tables beside the page: what the last comparison made, and no older."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

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
    folder.parent.mkdir(parents=True, exist_ok=True)
    with TemporaryDirectory(prefix=f".{folder.name}.", dir=folder.parent) as temporary:
        yield Path(temporary)
        made = sorted(Path(temporary).iterdir())
        names = {path.name for path in made}
        folder.mkdir(exist_ok=True)
        write_json(folder / MADE, sorted(before | names))  # should this be killed before it is done
        for path in made:
            path.replace(folder / path.name)
        for name in before - names:
            (folder / name).unlink(missing_ok=True)
        write_json(folder / MADE, sorted(names))


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
