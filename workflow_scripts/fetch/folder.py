"""Folders of files: which count as images, their class and split, and when they changed.

The Snakefile asks for the listing of every folder each time it is read: nothing heavy here.
"""

import hashlib
import os
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from workflow_scripts.errors import UserError

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".tif", ".tiff", ".bmp")
ARCHIVE_SUFFIXES = (".zip", ".tar", ".gz", ".tgz", ".bz2", ".xz", ".zst", ".parquet", ".rar")
SPLITS = ("train", "val", "test")
LISTING = "listing_digest"  # the recipe's key for what `listing_digest` returns


class FoundFile(NamedTuple):
    """A file below a dataset's folder, or a member of an archive.

    Attributes:
        key: Its path inside the dataset, with `/`.
        path: Where it lies, as `workflow_scripts.stored` understands it.
        bytes: Its size.
        mtime_ns: When it changed; of a member, when its archive did.
        crc32: Of a member's bytes, where its archive tells it.
    """

    key: str
    path: str
    bytes: int
    mtime_ns: int
    crc32: int | None = None


def files_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[FoundFile]:
    """Yield files below a folder in the order of their keys, hidden ones left out.

    Links are followed, a folder that was met before (a link back up) is not entered again. A
    folder that does not exist has no files.

    Args:
        folder: Where to look.
        wanted: Whether a file of that name is one.

    Raises:
        UserError: A folder may not be read.
    """
    for key, path in names_below(folder, wanted):
        yield FoundFile(key, path, *_size_and_time(path))


def _size_and_time(path: str) -> tuple[int, int]:
    """Of a file; a link to nowhere, and what vanished meanwhile, show themselves when read."""
    try:
        seen = os.stat(path)
    except OSError:
        try:
            seen = os.lstat(path)
        except OSError:
            return 0, 0
    return seen.st_size, seen.st_mtime_ns


def names_below(folder: Path, wanted: Callable[[str], bool]) -> Iterator[tuple[str, str]]:
    """Yield (key, path) of the files that `files_below` yields, without asking for their state.

    Only the names in one folder, and in those above it, are in memory at a time.
    """
    met: set[tuple[int, int]] = set()
    # Names of folders end in `/`, so that the order in each folder is the order of the keys.
    top = os.path.join(folder, "")
    stack = [("", top, iter(_names(top, wanted, met)))]
    while stack:
        prefix, place, names = stack[-1]
        for name in names:
            if name[-1] == "/":
                below = place + name
                stack.append((prefix + name, below, iter(_names(below, wanted, met))))
                break
            yield prefix + name, place + name
        else:
            stack.pop()


def _names(place: str, wanted: Callable[[str], bool], met: set[tuple[int, int]]) -> list[str]:
    """Names of a folder's folders (with `/`) and wanted files, sorted; none if it was met before.

    A plain list of texts: a folder may hold a million files.
    """
    if not os.path.isdir(place):
        return []
    state = os.stat(place)
    if (state.st_dev, state.st_ino) in met:
        return []
    met.add((state.st_dev, state.st_ino))
    names = []
    try:
        entries = os.scandir(place)
    except PermissionError:
        raise UserError(f"{Path(place)}: this folder may not be read; change its mode") from None
    with entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            if _is_folder(entry):
                names.append(f"{name}/")
            elif wanted(name):
                names.append(name)
    names.sort()
    return names


def _is_folder(entry: "os.DirEntry[str]") -> bool:
    try:
        return entry.is_dir()
    except OSError:  # a link in a circle, or into a closed folder: shows itself when it is read
        return False


def files_at(folder: Path, keys: Iterable[str]) -> Iterator[FoundFile]:
    """Yield files by their keys below a folder, as `files_below` would list them."""
    for key in keys:
        path = os.path.join(folder, key)
        yield FoundFile(key, path, *_size_and_time(path))


def found_file(path: Path) -> FoundFile:
    """A single file as `files_below` would list it."""
    seen = path.stat()
    return FoundFile(path.name, str(path), seen.st_size, seen.st_mtime_ns)


def listing_digest(path: Path, limit: int = 100_000, *, everything: bool = False) -> str | None:
    """Digest of the names, sizes and times of images and archives: a replaced one changes it.

    Args:
        path: The dataset's folder, or its archive; a missing one counts as empty.
        limit: Most files to look at.
        everything: Whether other files count too.

    Returns:
        Hexadecimal sha256, or None where there are more files than `limit`: changes in such a
        folder are noticed only by running fetch again on purpose.
    """
    if path.is_file():
        return digest_of([found_file(path)])
    suffixes = ("",) if everything else IMAGE_SUFFIXES + ARCHIVE_SUFFIXES
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


def class_of(key: str) -> str | None:
    """The class of an image is the folder it is in, `a/b` for nested ones; None at the top."""
    return key.rpartition("/")[0] or None


def class_alone(key: str) -> tuple[str | None, str | None]:
    """No split, and the class of an image."""
    return None, class_of(key)


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
