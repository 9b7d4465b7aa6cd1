"""What a service answered about a source, kept in the dataset's folder: asked once, not again.

The names, sizes and checksums of a hub's revision, or the items that a STAC search found. The same
source has the same answer until the file is removed, so that a dataset does not change because a
collection grew; and a second start needs no network.
"""

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from workflow_scripts.digests import digest
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log
from workflow_scripts.transfer.notes import read_note, write_note
from workflow_scripts.transfer.part import rejected_path

NAME = ".source.json"
ORIGINS = ".origins.json"
_HEX = {"sha256": re.compile(r"[0-9a-f]{64}"), "md5": re.compile(r"[0-9a-f]{32}")}


def remember(folder: Path, source: dict[str, Any], told: Any) -> None:
    """Keep an answer; no address with a query in it belongs there (it may be a secret)."""
    write_json(folder / NAME, {"source": digest(source), "told": told})


def recall(folder: Path, source: dict[str, Any]) -> Any:
    """The kept answer; None where this source has not been asked."""
    path = folder / NAME
    if not path.is_file():
        return None
    kept = read_json(path)
    return kept["told"] if isinstance(kept, dict) and kept.get("source") == digest(source) else None


def let_go(folder: Path, origins: Mapping[str, str]) -> None:
    """Set aside files that came from elsewhere, where no checksum would tell them apart.

    A file that bears the name of one that is wanted counts as that one. So it is kept here what the
    names stood for, and a file is not taken for another when its source changes. What somebody has
    put there himself has no origin, and stays.

    Args:
        folder: The dataset's.
        origins: By names of files without a checksum: what identifies them instead. It may hold
            secrets: only its digest is written.
    """
    path = folder / ORIGINS
    before = read_note(path)
    now = {name: digest(origin) for name, origin in origins.items()}
    for name, origin in now.items():
        there = folder / name
        if before.get(name, origin) != origin and there.is_file():
            aside = rejected_path(there)
            there.replace(aside)
            log.warning("%s is not of this source, but of an earlier one; set aside as %s",
                        there, aside.name)  # fmt: skip
    if before | now != before:
        write_note(path, before | now)


def size(value: Any, where: str) -> int | None:
    """A size that a service tells.

    Raises:
        UserError: It is no size.
    """
    if value is None or (isinstance(value, int) and not isinstance(value, bool) and value >= 0):
        return value
    raise UserError(f"{where}: the size is {value!r:.80}; expected a number of bytes")


def checksum(kind: str, value: Any, where: str) -> str:
    """A checksum (`sha256` or `md5`) that a service tells.

    Raises:
        UserError: It is none.
    """
    if isinstance(value, str) and _HEX[kind].fullmatch(value.lower()):
        return value.lower()
    raise UserError(f"{where}: {value!r:.80} is no {kind}")
