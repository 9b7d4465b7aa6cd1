"""Models of the configuration and of the catalogue: where datasets come from."""

import re
from pathlib import PurePosixPath
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlsplit

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from workflow_scripts.config_base import DatasetBase, Date, Model, Name, Positive, each_once
from workflow_scripts.transfer.remote import without_secrets

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Md5 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{32}$")]
Variable = Annotated[str, StringConstraints(pattern=r"^[A-Z][A-Z0-9_]*$")]


def _below(name: str) -> str:
    path = PurePosixPath(name)
    if path.is_absolute() or ".." in path.parts or path == PurePosixPath("."):
        raise ValueError(f"{name!r} is no path below a folder; expected no leading / and no ..")
    return path.as_posix()


def _file(name: str) -> str:
    """Hidden names are for the marks of `fetch`, and `.rejected` files are never read."""
    hidden = any(part.startswith(".") for part in PurePosixPath(name).parts)
    if hidden or name.endswith(".rejected") or "\\" in name or not name.isprintable():
        raise ValueError(
            f"{name!r} cannot be the name of a file; expected a printable one, not hidden, with / "
            "between folders, and not ending in .rejected"
        )
    return name


def _web(url: str) -> str:
    if not re.match(r"https?://[^/@]+(/|$)", url):
        raise ValueError(
            f"{without_secrets(url)!r} is no URL that can be fetched; expected "
            "https://<host>/<path>, without user or password (tokens come from the environment: "
            "token_env)"
        )
    for name, _ in parse_qsl(urlsplit(url).query):
        if _SECRET.search(name):
            raise ValueError(
                f"{without_secrets(url)!r} has {name!r} in its query, a secret, which would be "
                "written into logs and results; take an address without it, with token_env or "
                "`sign`, or fetch the file by hand"
            )
    return url


# Of signed addresses (Azure, Amazon, Google) and of keys that stand in for a password.
_SECRET = re.compile(
    r"(^|[-_])(sig|signature|token|secret|password)$|[-_]key$|^apikey$", re.IGNORECASE
)


Below = Annotated[str, AfterValidator(_below)]
Url = Annotated[str, AfterValidator(_web)]


def _south_first(box: tuple[float, ...]) -> tuple[float, ...]:
    if box[1] > box[3]:
        raise ValueError(f"south {box[1]:g} is above north {box[3]:g}; expected west, south, east, "
                         "north")  # fmt: skip
    return box


# West, south, east, north; west may be larger than east: across the date line.
Box = Annotated[
    tuple[
        Annotated[float, Field(ge=-180, le=180)],
        Annotated[float, Field(ge=-90, le=90)],
        Annotated[float, Field(ge=-180, le=180)],
        Annotated[float, Field(ge=-90, le=90)],
    ],
    AfterValidator(_south_first),
]


class SourceFile(Model):
    """One file of a source."""

    name: Annotated[Below, AfterValidator(_file)] = Field(
        description="its name in the dataset's folder"
    )
    urls: list[Url] = Field([], description="where it lies; several are mirrors, tried in turn")
    bytes: Positive | None = Field(None, description="its size; null: not published")
    sha256: Sha256 | None = Field(None, description="its SHA-256; null: not published")
    md5: Md5 | None = Field(None, description="its MD5, where that is published instead")


def _apart(files: list[SourceFile]) -> list[SourceFile]:
    names = each_once([file.name for file in files])
    for name in names:
        above = {str(folder) for folder in PurePosixPath(name).parents}.intersection(names)
        if above:
            raise ValueError(f"{min(above)!r} is a file, and the folder of {name!r}; rename one")
    return files


Files = Annotated[list[SourceFile], AfterValidator(_apart)]


class HttpsSource(Model):
    """Files on web servers."""

    kind: Literal["https"]
    files: Files = Field(min_length=1, description="the files")
    token_env: Variable | None = Field(
        None,
        description="environment variable with a bearer token, sent to the hosts of `urls` alone",
    )

    @model_validator(mode="after")
    def _somewhere(self) -> "HttpsSource":
        for file in self.files:
            if not file.urls:
                raise ValueError(f"file {file.name!r} has no urls")
        return self


class HubSource(Model):
    """Files of a dataset on the Hugging Face hub; a token, if it wants one, is in HF_TOKEN."""

    kind: Literal["hub"]
    repo: str = Field(pattern=r"^[\w.-]+/[\w.-]+$", description="<owner>/<name>")
    revision: str = Field(
        pattern=r"^[0-9a-f]{40}$", description="commit, whole: what it names never changes"
    )
    files: Files = Field(
        min_length=1, description="files of it; `urls` of a file are further mirrors"
    )


class StacSource(Model):
    """Assets of the items that a STAC search finds."""

    kind: Literal["stac"]
    api: Url = Field(description="the STAC API")
    collection: str = Field(description="collection that is searched")
    asset: str = Field(description="asset of each item that is fetched")
    bbox: Box | None = Field(None, description="west, south, east, north, degrees; null: any")
    first: Date | None = Field(None, description="first day; null: any")
    last: Date | None = Field(None, description="last day; null: any")
    query: dict[str, Any] = Field({}, description="conditions on properties, as STAC's query has")
    most: Positive | None = Field(None, description="items at most, by name; null: all")
    sign: Url | None = Field(
        None,
        description="address that gives the signature ({token: …}) which assets are asked for with",
    )

    @model_validator(mode="after")
    def _order(self) -> "StacSource":
        if self.first and self.last and self.first > self.last:
            raise ValueError(f"first {self.first} is after last {self.last}")
        return self


class LaadsSource(Model):
    """MODIS granules of NASA's LAADS DAAC, by day; needs EARTHDATA_TOKEN in the environment."""

    kind: Literal["laads"]
    url: Url = Field(
        "https://ladsweb.modaps.eosdis.nasa.gov/archive", description="the archive's address"
    )
    collection: Positive = Field(61, description="collection of the granules")
    companions: list[Literal["03", "35_L2", "06_L2"]] = Field(
        ["03", "35_L2"], description="products fetched with 021KM, as in the names of their files"
    )
    times: Literal["day", "night", "any"] = Field(
        "any", description="`day`: granules with daylight in them; `night`: with night"
    )
    bbox: Box | None = Field(
        None, description="only granules that touch it: west, south, east, north, degrees"
    )
    keep: bool = Field(
        False, description="keep the granules; else those of a day go when its chips are made"
    )


class ManualSource(Model):
    """Files that a person has to get."""

    kind: Literal["manual"]
    instructions: str = Field(description="where to get it, what to do; told when it is missing")
    files: Files = Field([], description="what is looked for in the dataset's folder")


class UnionSource(Model):
    """Other entries of the catalogue together; a corpus names them one by one."""

    kind: Literal["union"]
    of: list[str] = Field(min_length=1, description="names of entries")


Source = Annotated[
    HttpsSource | HubSource | StacSource | LaadsSource | ManualSource | UnionSource,
    Field(discriminator="kind"),
]


class Sourced(DatasetBase):
    """What datasets have that lie on disk or are fetched."""

    catalogue: Name | None = Field(
        None,
        description="entry of the catalogue (docs/datasets.md) that tells source, licence, "
        "citation and what to expect; null: none",
    )
    source: Source | None = Field(
        None, description="where it is fetched from; null: as the catalogue says, or `path` alone"
    )


class Expected(Model):
    """What a dataset should hold."""

    items: Positive | None = Field(None, description="items; null: not stated")
    classes: Positive | None = Field(None, description="classes; null: none, or not stated")
    per_class: Positive | dict[str, Positive] | None = Field(
        None, description="items of every class, or of each by its name; null: not stated"
    )

    @model_validator(mode="after")
    def _adds_up(self) -> "Expected":
        each = self.per_class
        if isinstance(each, dict):
            classes, items = len(each), sum(each.values())
        elif each is not None and self.classes is not None:
            classes, items = self.classes, self.classes * each
        else:
            return self
        if self.classes not in (None, classes):
            raise ValueError(f"per_class names {classes} classes, classes is {self.classes}")
        if self.items not in (None, items):
            raise ValueError(f"per_class adds up to {items} items, items is {self.items}")
        return self


class Parquet(Model):
    """Columns of parquet files that hold images."""

    image: str = Field("image", description="column of the encoded images")
    label: str | None = Field("label", description="column of the class; null: none")


class Transfer(Model):
    """How files are downloaded; nothing of it changes what is downloaded, or makes it stale."""

    parallel: Positive = Field(4, description="files of a dataset at a time")
    retries: Annotated[int, Field(ge=0)] = Field(
        8, description="attempts after the first, of each URL of a file, that bring nothing new"
    )
    timeout_s: float = Field(
        60.0, gt=0, description="seconds without a byte after which an attempt ends"
    )
    longest_wait_s: float = Field(
        600.0, gt=0, description="most seconds between attempts, whatever a server asks for"
    )
    budget_gb: float = Field(
        500.0,
        gt=0,
        description="disk for granules that are fetched, tiled and deleted day by day, GB",
    )
