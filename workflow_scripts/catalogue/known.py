"""What is known of a dataset of the configuration: its own keys, and else its catalogue entry's."""

from dataclasses import dataclass, fields
from typing import Any

from workflow_scripts.catalogue.entries import Entry, entries
from workflow_scripts.config_base import DatasetBase
from workflow_scripts.config_sources import (
    Expected,
    LaadsSource,
    ManualSource,
    Parquet,
    Source,
    UnionSource,
)


@dataclass(frozen=True, kw_only=True)
class Known:
    """What is known of a dataset; keys as in the configuration and the catalogue."""

    path: str | None = None
    source: Source | None = None
    root: str | None = None
    parquet: Parquet | None = None
    expected: Expected | None = None
    version: str | None = None
    licence: str | None = None
    citation: str | None = None
    homepage: str | None = None
    obtain: str = ""

    @property
    def by_day(self) -> LaadsSource | None:
        """The source of granules that are fetched day by day; None where files lie on disk."""
        return self.source if isinstance(self.source, LaadsSource) and not self.path else None

    @property
    def is_downloaded(self) -> bool:
        """Whether it is fetched over the network, unless files were put in its place by hand."""
        by_hand = isinstance(self.source, ManualSource | UnionSource)
        return self.source is not None and self.path is None and not by_hand


def known(dataset: DatasetBase) -> Known:
    """What is known of a dataset; keys of its own come before those of its catalogue entry."""
    name = getattr(dataset, "catalogue", None)
    entry = entries().get(name) if name else None
    found: dict[str, Any] = {}
    for field in fields(Known):
        for one in (dataset, entry):
            value = getattr(one, field.name, None)
            if value not in (None, ""):
                found.setdefault(field.name, value)
    if isinstance(source := found.get("source"), ManualSource):
        found.setdefault("obtain", source.instructions)
    elif entry:
        found.setdefault("obtain", _obtain(entry))
    return Known(**found)


def _obtain(entry: Entry) -> str:
    """Where an entry's data can be had, for who has not got it."""
    return f"{entry.title}: {entry.homepage or 'see docs/datasets.md'}"
