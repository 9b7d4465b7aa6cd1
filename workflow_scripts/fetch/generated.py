"""Folders whose files this pipeline makes: claimed by a mark, and cleared of what is not theirs."""

import shutil
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

_MARK = ".generated"
_TEXT = "The fetch stage makes the files of this folder and removes those that are not its own.\n"


def claim(folder: Path) -> None:
    """Mark a new or empty folder as one of generated files.

    Raises:
        UserError: It holds files and no mark: they are somebody's, and would be removed.
    """
    folder.mkdir(parents=True, exist_ok=True)
    mark = folder / _MARK
    if mark.exists():
        return
    if placed_by_hand(folder):
        raise UserError(
            f"{folder} holds files that fetch did not make, and generated data would go there; "
            "move them away, or give the dataset another folder"
        )
    mark.write_text(_TEXT, encoding="utf-8")


def release(folder: Path) -> None:
    """Take the mark off a folder that holds nothing but hidden files.

    What a person puts there after a download failed is his, and not hidden by the mark.
    """
    if not holds_something(folder):
        (folder / _MARK).unlink(missing_ok=True)


def remove_others(folder: Path, kept: Iterable[Path]) -> None:
    """Remove what earlier recipes or a killed process left in a claimed folder."""
    wanted = {path.absolute() for path in kept} | {(folder / _MARK).absolute()}
    for path in sorted(folder.rglob("*"), reverse=True):  # files before their folders
        if path.is_dir() and not path.is_symlink():
            if not any(path.iterdir()):
                path.rmdir()
        elif path.absolute() not in wanted:
            log.info("removing %s, which does not belong to the recipe", path)
            path.unlink()


def remove(folder: Path) -> None:
    """Remove a claimed folder, its mark last.

    Killed midway, what is left still bears the mark, and is not taken for files put there by hand.
    Whatever cannot be removed stays, with the mark.
    """
    for path in folder.iterdir() if folder.is_dir() else ():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        elif path.name != _MARK:
            with suppress(OSError):
                path.unlink()
    if folder.is_dir() and all(path.name == _MARK for path in folder.iterdir()):
        (folder / _MARK).unlink(missing_ok=True)
        with suppress(OSError):
            folder.rmdir()


def placed_by_hand(folder: Path) -> bool:
    """Whether a folder holds files that fetch did not make."""
    return not claimed(folder) and holds_something(folder)


def holds_something(folder: Path) -> bool:
    """Whether there is anything in a folder but hidden files, which are notes of ours."""
    return folder.is_dir() and any(not path.name.startswith(".") for path in folder.iterdir())


def claimed(folder: Path) -> bool:
    """Whether a folder bears the mark: its files may be made again, and removed."""
    return (folder / _MARK).exists()
