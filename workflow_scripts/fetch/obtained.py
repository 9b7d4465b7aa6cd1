"""A dataset's files as they were obtained: which parts they are in, and what is told of them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workflow_scripts.fetch.contents import Part, Reading, contents, keys, looks_like_archive
from workflow_scripts.fetch.folder import FoundFile
from workflow_scripts.transfer.remote import Received


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A dataset's files.

    Attributes:
        parts: Folders, archives and single files.
        reading: How they are read.
        facts: For the summary: `source` in words, `files` (archives of a source, with checksums),
            `differences` (of an archive from the published one), and what else identifies what
            came from it.
        made: For the provenance: which way they came, and from where.
        downloaded: Whether a source gave them, so that what they should hold can be demanded.
    """

    parts: list[Part]
    reading: Reading
    facts: dict[str, Any]
    made: dict[str, Any]
    downloaded: bool = False

    @property
    def folder(self) -> Path | None:
        """Where keys begin if the dataset is one folder, else None."""
        one = self.parts[0].path
        return one / self.reading.root if len(self.parts) == 1 and one.is_dir() else None

    @property
    def set_aside(self) -> list[dict[str, str]]:
        """Members of archives that cannot be used; complete when `files` has ended."""
        return self.reading.set_aside

    def files(self) -> Iterator[FoundFile]:
        """The files, found while they are asked for.

        Raises:
            UserError: There is none, an archive cannot be used, or a key is in two of them.
        """
        self.reading.set_aside.clear()
        return contents(self.parts, self.reading)

    def keys(self) -> Iterator[str]:
        """The keys of the files."""
        return keys(self.parts, self.reading)


def has_tables(recipe: dict[str, Any]) -> bool:
    """Whether its parquet files are tables of labels, and no archives of images."""
    return bool(recipe["kind"] == "aicca")


def of_files(
    recipe: dict[str, Any],
    received: Sequence[Received],
    reading: Reading,
    *,
    text: str,
    made: dict[str, Any],
) -> Obtained:
    """Verified files; archives among them are named in the summary, others are items."""
    parts, archives = [], []
    for one in received:
        archive = looks_like_archive(one.name, tables=has_tables(recipe))
        parts.append(Part(name=one.name, path=one.path, is_archive=archive, sha256=one.sha256))
        if archive:
            archives.append({"name": one.name, "bytes": one.bytes, "sha256": one.sha256})
    facts = {"source": text, "files": archives}
    return Obtained(parts=parts, reading=reading, facts=facts, made=made)
