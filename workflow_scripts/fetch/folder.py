"""Folders of files: which count as images, their class and split, and when they changed.

The Snakefile asks for the listing of every folder each time it is read: nothing heavy here.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from workflow_scripts.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".parquet", ".rar")
SPLITS = ("train", "val", "test")
LISTING = "listing_digest"  # the recipe's key for what `listing_digest` returns


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file below a dataset's folder: its key there, and its size and time."""

    key: str
    path: Path
    bytes: int
    mtime_ns: int


def image_files(folder: Path) -> Iterator[FoundFile]:
    """Yield the image files below a folder in no order; other types are no images.

    Raises:
        UserError: A folder may not be read.
    """
    return files_below(folder, lambda name: name.lower().endswith(IMAGE_SUFFIXES))


def files_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[FoundFile]:
    """Yield files below a folder in no order, hidden ones left out.

    Links are followed, a folder that was met before (a link back up) is not entered again. A
    folder that does not exist has no files.

    Args:
        folder: Where to look.
        wanted: Whether a file of that name is one.

    Raises:
        UserError: A folder may not be read.
    """
    waiting = [(folder, "")]
    met: set[tuple[int, int]] = set()
    while waiting:
        place, prefix = waiting.pop()
        if not place.is_dir():
            continue
        state = place.stat()
        if (state.st_dev, state.st_ino) in met:
            continue
        met.add((state.st_dev, state.st_ino))
        try:
            entries = os.scandir(place)
        except PermissionError:
            raise UserError(f"{place}: this folder may not be read; change its mode") from None
        with entries:
            for entry in entries:
                key = prefix + entry.name
                if entry.name.startswith("."):
                    continue
                if entry.is_dir():
                    waiting.append((Path(entry.path), f"{key}/"))
                elif wanted(entry.name):
                    # A link to nowhere is listed too: reading it tells what is wrong.
                    seen = entry.stat(follow_symlinks=entry.is_file())
                    yield FoundFile(key, Path(entry.path), seen.st_size, seen.st_mtime_ns)


def found_file(path: Path) -> FoundFile:
    """A single file as `files_below` would list it."""
    seen = path.stat()
    return FoundFile(path.name, path, seen.st_size, seen.st_mtime_ns)


def listing_digest(path: Path, limit: int = 100_000) -> str | None:
    """Digest of the names, sizes and times of images and archives: a replaced one changes it.

    Args:
        path: The dataset's folder, or its archive; a missing one counts as empty.
        limit: Most files to look at.

    Returns:
        Hexadecimal sha256, or None where there are more files than `limit`: changes in such a
        folder are noticed only by running fetch again on purpose.
    """
    if path.is_file():
        return digest_of([found_file(path)])
    suffixes = IMAGE_SUFFIXES + ARCHIVE_SUFFIXES
    return digest_of(files_below(path, lambda name: name.lower().endswith(suffixes)), limit)


def digest_of(files: Iterable[FoundFile], limit: int | None = None) -> str | None:
    """Digest of files' names, sizes and times, whatever their order; None for more than `limit`."""
    rows = []
    for file in files:
        rows.append((os.fsencode(file.key), file.bytes, file.mtime_ns))
        if limit is not None and len(rows) > limit:
            return None
    total = hashlib.sha256()
    for name, size, mtime_ns in sorted(rows):
        total.update(b"%s\0%d\0%d\n" % (name, size, mtime_ns))
    return total.hexdigest()


def find_images(folder: Path, *, dataset: str, obtain: str) -> list[FoundFile]:
    """All images below a folder, sorted by key.

    Raises:
        UserError: The folder is missing or holds no image; tells where to get the data, where to
            put it and which key of the config names the folder.
    """
    advice = (
        f"{obtain}\n"
        f"Put it at {folder} (as <class>/<image>), or set datasets.{dataset}.path to where it is."
    ).lstrip()
    if not folder.is_dir():
        seen = "is a file" if folder.exists() else "does not exist"
        raise UserError(f"dataset {dataset}: the folder {folder} {seen}.\n{advice}")
    found = sorted(image_files(folder), key=lambda file: file.key)
    if not found:
        raise UserError(
            f"dataset {dataset}: the folder {folder} holds no image "
            f"({', '.join(IMAGE_SUFFIXES)}).\n{advice}"
        )
    return found


def class_of(key: str) -> str | None:
    """The class of an image is the folder it is in, `a/b` for nested ones; None at the top."""
    parent = PurePosixPath(key).parent.as_posix()
    return None if parent == "." else parent


def split_and_class_of(key: str) -> tuple[str, str | None]:
    """Split and class of an image that lies in `<split>/<class>/`.

    Raises:
        UserError: Its first folder is no split.
    """
    first, _, rest = key.partition("/")
    if not rest or first not in SPLITS:
        raise UserError(
            f"{key}: with `split: {{by: folder}}` the first folder must be one of "
            f"{', '.join(SPLITS)}; rename it, or split by fraction"
        )
    return first, class_of(rest)
