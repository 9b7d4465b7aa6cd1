"""A selection: which chips of the listed day files a labelled corpus has, with class and split.

It lies beside the index (`selection.h5`), so that a chip that is labelled is stored once.
"""

from dataclasses import dataclass
from pathlib import Path

import h5py
import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic
from workflow_scripts.shards import layout

FILE = "selection.h5"
FORMAT = "orbweaver-selection"
FORMAT_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class Selection:
    """The chosen chips.

    Attributes:
        rows: (n,) int64, numbers of chips through all shards of the index, rising.
        labels: (n,) int32, class indices.
        splits: (n,) int8, indices into `layout.SPLIT_NAMES`, −1 where none.
    """

    rows: NDArray[np.int64]
    labels: NDArray[np.int32]
    splits: NDArray[np.int8]

    def __len__(self) -> int:
        return len(self.rows)

    def of_split(self, split: int) -> "Selection":
        """The part that belongs to a split."""
        kept = self.splits == split
        return Selection(rows=self.rows[kept], labels=self.labels[kept], splits=self.splits[kept])


_COLUMNS = {"rows": np.int64, "labels": np.int32, "splits": np.int8}


def write_selection(path: Path, selection: Selection, *, classes: list[str]) -> None:
    """Write a selection; the same selection gives the same bytes.

    Args:
        path: The file, written beside and renamed.
        selection: Rows rising, columns of one length.
        classes: Class names; a label is an index into them.
    """
    with atomic(path) as temporary, h5py.File(temporary, "w", libver=("v110", "v110")) as file:
        file.attrs["format"] = FORMAT
        file.attrs["format_version"] = FORMAT_VERSION
        file.attrs.create("classes", classes, dtype=h5py.string_dtype())
        file.attrs.create("split_names", list(layout.SPLIT_NAMES), dtype=h5py.string_dtype())
        for name, dtype in _COLUMNS.items():
            file.create_dataset(name, data=np.asarray(getattr(selection, name), dtype))


def read_selection(path: Path) -> Selection:
    """Read what `write_selection` wrote.

    Raises:
        UserError: No such file, not a selection, or one of a newer format.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file, but the index beside it names it; pack again")
    try:
        with h5py.File(path, "r", locking=False) as file:
            found, version = file.attrs.get("format"), int(file.attrs.get("format_version", 0))
            if found != FORMAT:
                raise UserError(f"{path}: attribute format is {found!r}, not {FORMAT!r}")
            if version > FORMAT_VERSION:
                raise UserError(f"{path}: format version {version} is newer than this code")
            return Selection(**{name: file[name][:] for name in _COLUMNS})
    except OSError as error:
        raise UserError(f"{path}: not a readable HDF5 file ({error}); pack again") from None
