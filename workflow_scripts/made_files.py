"""Which files of a folder a program made: it removes those that it makes no more, and no others."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json

MADE = ".made.json"  # names of what was made here; all else in the folder is somebody's own


@contextmanager
def noted(folder: Path, names: Iterable[str]) -> Iterator[None]:
    """Note what is made in a folder; when the block ends well, what only was made before goes.

    Args:
        folder: The folder.
        names: Names of all files that are made there.

    Raises:
        UserError: The list of what was made is damaged.
    """
    before, now = made_in(folder), set(names)
    write_json(folder / MADE, sorted(before | now))  # should this be killed before it is done
    yield
    for name in before - now:
        (folder / name).unlink(missing_ok=True)
    write_json(folder / MADE, sorted(now))


def made_in(folder: Path) -> set[str]:
    """Names of what was made in a folder by those who note it.

    Raises:
        UserError: The list is damaged.
    """
    path = folder / MADE
    names = read_json(path) if path.is_file() else []
    # Nothing outside the folder is ever deleted, whatever the list says.
    whole = isinstance(names, list) and all(isinstance(name, str) for name in names)
    if not whole or any(Path(name).name != name for name in names):
        raise UserError(
            f"{path}: not the list of files that were made here; delete it, and what is not yours "
            "of the files beside it"
        )
    return set(names)
