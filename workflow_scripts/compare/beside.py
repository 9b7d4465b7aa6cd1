"""The folder of figures and tables beside the page: what the last comparison made, and no older."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.made_files import made_in, noted


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
    made_in(folder)  # before there is work that would be lost
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)  # of one that was killed
    temporary.mkdir(parents=True)
    try:
        yield temporary
        made = sorted(temporary.iterdir())
        with noted(folder, [path.name for path in made]):
            for path in made:
                path.replace(folder / path.name)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
