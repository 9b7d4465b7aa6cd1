"""Files of labels for chips: a file, or a folder of them.

The Snakefile asks for their digest each time it is read: nothing heavy here.
"""

from collections.abc import Iterator
from pathlib import Path

from workflow_scripts.fetch.folder import FoundFile, digest_of, files_below, found_file

SUFFIXES = (".nc", ".parquet", ".csv")


def label_files(path: Path) -> Iterator[FoundFile]:
    """Yield the label files of a dataset by rising key; none where the path does not exist.

    Raises:
        UserError: A folder may not be read.
    """
    if path.is_file():
        yield found_file(path)
    else:
        yield from files_below(path, lambda name: name.lower().endswith(SUFFIXES))


def labels_digest(path: Path) -> str | None:
    """Digest of the files' names, sizes and times: it changes when one of them is replaced."""
    return digest_of(label_files(path))
