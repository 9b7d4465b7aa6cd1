"""What is wrong with where the datasets of a configuration come from."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

from workflow_scripts.catalogue.entries import entries
from workflow_scripts.catalogue.known import Known, known
from workflow_scripts.config import Config
from workflow_scripts.config_data import Files
from workflow_scripts.config_modis import ModisL1b
from workflow_scripts.config_sources import LaadsSource, ManualSource, Sourced, UnionSource
from workflow_scripts.transfer.remote import without_secrets

Nearest = Callable[[Any, Iterable[str]], str]


def broken_origins(config: Config, nearest: Nearest) -> Iterator[str]:
    """Datasets that come from nowhere, or from where they cannot be read, a line each."""
    for name, entry in config.datasets.items():
        if isinstance(entry, Sourced):
            yield from _broken(f"datasets.{name}", entry, nearest)
    unread = {name for name, entry in config.datasets.items() if isinstance(entry, Files)}
    used = {f"corpora.{key}.datasets": set(one.datasets) for key, one in config.corpora.items()}
    used |= {f"benchmarks.{key}.dataset": {one.dataset} for key, one in config.benchmarks.items()}
    for key, names in used.items():
        for name in sorted(names & unread):
            yield f"{key}: nothing reads {name!r} yet, a dataset of kind files"


def in_catalogue(name: str) -> str:
    """What to do about the name of an entry where that of a dataset is expected; else empty."""
    entry = entries().get(name)
    if entry is None:
        return ""
    if isinstance(entry.source, UnionSource):
        return f"; the catalogue has it as a union: add {', '.join(entry.source.of)} to `datasets`"
    lines = f"{name}: {{kind: {entry.kind}, catalogue: {name}}}"
    return f"; the catalogue has it: add `{lines}` to `datasets`"


def _broken(key: str, entry: Any, nearest: Nearest) -> Iterator[str]:
    if entry.catalogue is not None:
        if entry.catalogue not in entries():
            hint = nearest(entry.catalogue, entries())
            yield (
                f"{key}.catalogue: no entry is called {entry.catalogue!r}{hint}; "
                "`python -m workflow_scripts.fetch --list` prints them"
            )
            return
        platform = entries()[entry.catalogue].platform
        if platform not in (None, getattr(entry, "platform", platform)):
            yield f"{key}.platform: {entry.platform}, but {entry.catalogue} is of {platform}"
        kind = entries()[entry.catalogue].kind
        if kind != entry.kind:
            yield f"{key}.kind: {entry.kind}, but {entry.catalogue} of the catalogue is {kind}"
    told = known(entry)
    if entry.path is not None and (not entry.path or "://" in entry.path):
        seen = without_secrets(entry.path) or "empty"
        yield f"{key}.path: {seen}; a path is on disk, and what is fetched has a `source`"
        return
    if entry.path is not None:
        if entry.source is not None:
            yield f"{key}.source: path is set too; give where it lies or where to fetch it from"
        return
    if isinstance(told.source, UnionSource):
        parts = ", ".join(told.source.of)
        yield f"{key}: a union of {parts}; name these in the corpus"
    elif isinstance(entry, ModisL1b):
        yield from _broken_days(key, entry, told)
    elif isinstance(told.source, LaadsSource):
        yield f"{key}.source: laads has granules; take kind: modis-l1b"
    elif told.source is None:
        yield f"{key}.path: missing; say where it lies, or name a source, or a catalogue entry"


def _broken_days(key: str, entry: ModisL1b, told: Known) -> Iterator[str]:
    if not isinstance(told.source, LaadsSource):
        what = "is by hand" if isinstance(told.source, ManualSource) else "has no granules by day"
        what = what if told.source else "is not told"
        yield f"{key}.path: missing, and the source {what}; set it, or take a source of kind laads"
        return
    if entry.listing is not None:
        yield f"{key}.listing: names files below path, which is not set"
    for end in ("first", "last"):
        if getattr(entry, end) is None:
            yield f"{key}.{end}: missing; what is fetched day by day has a first and a last day"
