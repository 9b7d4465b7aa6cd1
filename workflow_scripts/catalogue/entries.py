"""The entries of the catalogue: their form, and the file that holds them."""

import functools
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError

from workflow_scripts.config_base import Model, Name, Positive
from workflow_scripts.config_sources import (
    Below,
    Expected,
    LaadsSource,
    Parquet,
    Source,
    UnionSource,
    Url,
)
from workflow_scripts.errors import UserError

# In a folder of its own: tables beside a package's modules are part of the digest of each stage
# that imports one of them, and `fetch` imports `expected`. A new entry makes no dataset stale.
FILE = Path(__file__).with_name("data") / "catalogue.yaml"


class Entry(Model):
    """A known dataset."""

    title: str = Field(description="its name in text")
    what: str = Field(description="what it holds, in a line")
    kind: Literal["image-folder", "image-list", "modis-l1b", "aicca", "files"] = Field(
        description="how it is read, as `kind` of a configured dataset; `files`: fetched, "
        "verified and unpacked, but nothing reads it yet"
    )
    platform: Literal["Terra", "Aqua"] | None = Field(
        None, description="the satellite (kind: modis-l1b)"
    )
    version: str = Field(description="of the data, such as a year or a collection")
    bytes: Positive | None = Field(None, description="size of all files; null: not known")
    size: str | None = Field(None, description="in words, where the bytes are not known")
    licence: str | None = Field(None, description="of the data; null: not stated, see notes")
    citation: str = Field(description="how to cite it")
    homepage: Url = Field(description="where it is described")
    source: Source = Field(description="where it comes from")
    root: Below | None = Field(
        None, description="folder inside its archives below which the classes begin; null: the top"
    )
    parquet: Parquet | None = Field(None, description="columns, where its files are parquet")
    expected: Expected | None = Field(None, description="what it should hold; null: not known")
    notes: str = Field("", description="what a user should know, also of what is not known")


# Every start of Snakemake reads the file: libyaml does so in an eighth of the time, where it is.
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by name.

    Raises:
        UserError: The file is wrong, which a test excludes.
    """
    return read_entries(FILE)


def read_entries(file: Path) -> dict[str, Entry]:
    """The entries that a file holds.

    Raises:
        UserError: It is no YAML, names an entry twice, or an entry is wrong; a line each.
    """
    text = file.read_text(encoding="utf-8")
    try:
        loader = _LOADER(text)
        root: Any = loader.get_single_node()
        loaded = loader.construct_document(root) if root else None
        # A mapping of YAML takes the last of two equal keys, and says nothing.
        names = [key.value for key, _ in root.value] if isinstance(loaded, dict) else []
    except yaml.YAMLError as error:
        raise UserError(f"{file}: not valid YAML: {error}") from None
    several = [(name, count) for name, count in Counter(names).items() if count > 1]
    wrong = [f"{name}: there are {count} entries of this name" for name, count in several]
    try:
        found = TypeAdapter(dict[Name, Entry]).validate_python(loaded)
    except ValidationError as error:
        wrong += [_explained(problem) for problem in error.errors(include_url=False)]
    else:
        wrong += _broken(found)
    if wrong:
        raise UserError(f"{file} cannot be used:\n  " + "\n  ".join(wrong))
    return found


def _explained(problem: Any) -> str:
    """A mistake that pydantic found, by the key in the file."""
    name, *keys = (str(step) for step in problem["loc"] or ("the file",))
    if problem["type"] == "string_pattern_mismatch" and keys == ["[key]"]:
        return f"{name}: no name of an entry; expected small letters, digits, - and _"
    # `source` is followed by the kind that pydantic took it for, which is no key of the file.
    if len(keys) > 1 and keys[0] == "source":
        del keys[1]
    text = problem["msg"].removeprefix("Value error, ")
    value = repr(problem["input"])
    seen = "" if problem["type"] == "missing" else f" (value {value[:60]})"
    return f"{'.'.join([name, *keys])}: {text}{seen}"


def _broken(found: dict[str, Entry]) -> Iterator[str]:
    """What no single key of an entry can tell."""
    holders: dict[str, str] = {}
    for name, entry in found.items():
        source = entry.source
        if (entry.kind == "modis-l1b") != (entry.platform is not None):
            yield f"{name}.platform: of kind modis-l1b, and of no other, expected"
        if isinstance(source, LaadsSource) and entry.kind != "modis-l1b":
            yield f"{name}.kind: {entry.kind}, but laads has granules; expected modis-l1b"
        if isinstance(source, UnionSource):
            for part in source.of:
                if part not in found or isinstance(found[part].source, UnionSource):
                    yield f"{name}.source.of: {part!r} is no entry with files of its own"
        for file in getattr(source, "files", ()):
            here = f"{name}.source.files: {file.name}"
            for mark in filter(None, (file.sha256, file.md5, *file.urls)):
                holder = holders.setdefault(mark, here)
                if holder != here:
                    yield f"{here} has the checksum or URL of {holder}: {mark}"
