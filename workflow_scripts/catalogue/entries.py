"""The entries of the catalogue: their form, and the file that holds them."""

import functools
from pathlib import Path
from typing import Literal

import yaml
from pydantic import Field, TypeAdapter

from workflow_scripts.config_base import Model, Name, Positive
from workflow_scripts.config_sources import Below, Expected, Parquet, Source, Url

FILE = Path(__file__).with_name("catalogue.yaml")


class Entry(Model):
    """A known dataset."""

    title: str = Field(description="its name in text")
    kind: Literal["image-folder", "image-list", "modis-l1b", "aicca", "files"] = Field(
        description="how it is read, as `kind` of a configured dataset; `files`: fetched, "
        "verified and unpacked, but nothing reads it yet"
    )
    version: str = Field(description="of the data, such as a year or a collection")
    bytes: Positive | None = Field(None, description="size of all files; null: not known")
    licence: str | None = Field(None, description="of the data; null: not stated")
    citation: str = Field(description="how to cite it")
    homepage: Url | None = Field(None, description="where it is described")
    source: Source = Field(description="where it comes from")
    root: Below | None = Field(
        None, description="folder inside its archives below which the classes begin; null: the top"
    )
    parquet: Parquet | None = Field(None, description="columns, where its files are parquet")
    expected: Expected | None = Field(None, description="what it should hold; null: not known")
    notes: str = Field("", description="what a user should know")


@functools.cache
def entries() -> dict[str, Entry]:
    """All entries by name.

    Raises:
        ValidationError: The file is wrong, which a test excludes.
    """
    loaded = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    return TypeAdapter(dict[Name, Entry]).validate_python(loaded)
