"""Recipes of `fetch`: what determines a manifest, and, apart, how it is downloaded."""

import functools
from pathlib import Path
from typing import Any

from workflow_scripts.catalogue.known import Known, known
from workflow_scripts.config import Config
from workflow_scripts.config_data import Aicca, Dataset, Files, ImageFolder, ImageList
from workflow_scripts.config_modis import Granules, ModisL1b
from workflow_scripts.config_sources import LaadsSource, ManualSource, Source, StacSource
from workflow_scripts.corpora import day_digests
from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.fetch.folder import ARCHIVE_SUFFIXES, LISTING, listing_digest
from workflow_scripts.fetch.generated import placed_by_hand
from workflow_scripts.fetch.labels import labels_digest

Recipe = dict[str, Any]


def fetch(config: Config, dataset: str, date: str | None = None) -> Recipe:
    """Recipe of a dataset's manifest (of one day's for MODIS)."""
    entry = config.datasets[dataset]
    recipe: Recipe = {"dataset": dataset, "kind": entry.kind}
    if isinstance(entry, ModisL1b):
        return recipe | _of_granules(entry, str(date))
    if isinstance(entry, ImageFolder | ImageList | Files | Aicca):
        return recipe | _of_files(entry, raw_folder(config, dataset))
    left_out = {"label", "licence", "citation", "tile", "dates"}
    recipe |= entry.model_dump(mode="json", exclude=left_out)
    return recipe | ({"date": date} if isinstance(entry, Granules) else {})


def raw_folder(config: Config, dataset: str) -> Path:
    """Where a dataset is fetched to, and where files put by hand are found."""
    return Path(config.paths.data, "raw", dataset)


def _of_granules(entry: ModisL1b, day: str) -> Recipe:
    source = known(entry).by_day
    if source:
        return {"platform": entry.platform, "date": day, "source": _content(source)}
    told = {"path": entry.path, "platform": entry.platform, "date": day}
    return told | {LISTING: day_digests(entry).get(day)}


def _of_files(entry: ImageFolder | ImageList | Files | Aicca, raw: Path) -> Recipe:
    """Of images, labels or other files, which lie on disk or are fetched."""
    told = known(entry)
    place = Path(entry.path) if entry.path else raw if placed_by_hand(raw) else None
    recipe: Recipe = {
        "path": entry.path,
        "source": _content(told.source) if told.source and not entry.path else None,
        "obtain": told.obtain.replace("<dataset>", raw.name),
        LISTING: _digest(entry, place) if place else None,
    }
    if isinstance(entry, Aicca):  # how rows are matched and split is of packing
        return recipe
    recipe |= {
        "published": _published(told) if entry.path else None,
        "root": told.root if entry.root or not place or _is_laid_out(place, told.root) else None,
        "parquet": told.parquet.model_dump() if told.parquet else None,
        "expected": told.expected.model_dump() if told.expected else None,
        "rescan": entry.rescan,
    }
    if isinstance(entry, ImageFolder):
        return recipe | {"split": entry.split.model_dump()}
    if isinstance(entry, Files):
        return recipe
    table = Path(entry.list)
    recipe[LISTING] = digest([file_sha256(table), recipe[LISTING]]) if table.is_file() else None
    return recipe | {"list": entry.list}


def _digest(entry: Dataset, place: Path) -> str | None:
    if isinstance(entry, Aicca):
        return labels_digest(place)
    return _listing(place, everything=isinstance(entry, Files))


@functools.cache
def _is_laid_out(place: Path, root: str | None) -> bool:
    """Whether the catalogue's root is one of these files: it is told of the publisher's archives.

    Who has unpacked them in another way has the classes at the top, unless he says where.
    """
    if root is None or not place.is_dir() or (place / root).is_dir():
        return True
    return any(path.name.lower().endswith(ARCHIVE_SUFFIXES) for path in place.iterdir())


@functools.cache
def _listing(place: Path, *, everything: bool) -> str | None:
    return listing_digest(place, everything=everything) if place.exists() else None


def _published(told: Known) -> list[Recipe] | None:
    """Checksums of the publisher's files, which an archive on disk is compared with."""
    return _content(told.source).get("files") if told.source else None


def _content(source: Source) -> Recipe:
    """What of a source determines the files that come from it.

    Addresses do so only where no checksum does.
    """
    if isinstance(source, LaadsSource):
        return source.model_dump(mode="json", exclude={"url", "keep"})
    if isinstance(source, StacSource):
        return source.model_dump(mode="json", exclude={"sign"})
    content = source.model_dump(mode="json", exclude={"token_env", "instructions"})
    for file in content.get("files", ()):
        urls = file.pop("urls")
        if urls and not (file["sha256"] or file["md5"]):
            file["url"] = urls[0]
    return content


def transfer(config: Config, dataset: str) -> Recipe:
    """How a dataset is downloaded: what changes nothing of its content. Empty if it is not."""
    told = known(config.datasets[dataset])
    source = told.source
    if source is None or told.path or isinstance(source, ManualSource):
        return {}
    limits = config.transfer.model_dump()
    if isinstance(source, LaadsSource):
        return limits | {"url": source.url, "keep": source.keep}
    del limits["budget_gb"]
    if isinstance(source, StacSource):
        return limits | {"sign": source.sign}
    files = {file.name: file.urls for file in getattr(source, "files", ())}
    return limits | {"files": files, "token_env": getattr(source, "token_env", None)}
