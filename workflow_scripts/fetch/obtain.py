"""Where a dataset's files lie: on disk, put into its folder by hand, or downloaded into it.

In this order: the configured `path`, read where it lies; what a person put into
`data/raw/<dataset>`, found by the names that the source gives, else as a folder; the source,
downloaded there. What has been downloaded and verified once is not asked for again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch import generated, labels
from workflow_scripts.fetch.contents import Part, Reading, contents, keys, looks_like_archive
from workflow_scripts.fetch.folder import IMAGE_SUFFIXES, FoundFile, files_below
from workflow_scripts.fetch.sources.find import find
from workflow_scripts.fetch.sources.manual import instructions
from workflow_scripts.logs import log
from workflow_scripts.transfer.download import download, verified
from workflow_scripts.transfer.remote import Received, Remote

UNPACKED = ".unpacked"  # below the dataset's folder; hidden, so that no listing takes it for data
_URLS = 100  # kept in the provenance
_SUFFIXES = {
    "image-folder": IMAGE_SUFFIXES,
    "image-list": ("",),  # whatever the table names
    "aicca": labels.SUFFIXES,
}


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A dataset's files.

    Attributes:
        parts: Folders, archives and single files.
        reading: How they are read.
        facts: For the summary: `source` in words, `files` (archives of a source, with checksums),
            and what else identifies what came from it.
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


def obtain(
    recipe: dict[str, Any],
    transfer: dict[str, Any],
    raw: Path | None,
    *,
    manifest: Path | None = None,
) -> Obtained:
    """Find a dataset's files, and download them if that has not been done.

    Args:
        recipe: `dataset`, `kind`, `path`, `source`, `obtain`, `root`, `parquet`, `rescan`.
        transfer: How files are downloaded, of the option `--transfer`.
        raw: `data/raw/<dataset>`; None: neither downloads nor files put there by hand.
        manifest: What this job makes, to name the command to go on with.

    Raises:
        UserError: They are not there; tells where to get them, where to put them and how to go on.
            Or they are not what was expected.
    """
    reading = Reading(
        dataset=recipe["dataset"],
        suffixes=_SUFFIXES[recipe["kind"]],
        root=recipe.get("root") or "",
        unpacked=raw / UNPACKED if raw else None,
        parquet=recipe.get("parquet"),
    )
    if recipe.get("path"):
        return _on_disk(recipe, Path(recipe["path"]), reading)
    if raw is None:
        raise UserError(
            f"dataset {recipe['dataset']}: neither path nor --raw is given; expected the folder "
            "that holds it, or the one to fetch it into"
        )
    by_hand_only = (recipe.get("source") or {"kind": "manual"})["kind"] == "manual"
    # The mark of an earlier download does not hide what a person has put there since.
    if generated.placed_by_hand(raw) or (by_hand_only and _holds_something(raw)):
        return _by_hand(recipe, raw, reading)
    if by_hand_only:
        raise UserError(_instructions(recipe, raw, manifest))
    return _downloaded(recipe, transfer, raw, reading)


def _holds_something(folder: Path) -> bool:
    return folder.is_dir() and any(not one.name.startswith(".") for one in folder.iterdir())


def _has_tables(recipe: dict[str, Any]) -> bool:
    """Whether its parquet files are tables of labels, and no archives of images."""
    return bool(recipe["kind"] == "aicca")


def _on_disk(recipe: dict[str, Any], path: Path, reading: Reading) -> Obtained:
    """The configured path: a folder, or one file."""
    dataset = recipe["dataset"]
    if path.is_dir():
        return _folder(recipe, path, reading, way="path")
    if not path.exists():
        raise UserError(
            f"dataset {dataset}: {path} does not exist ({_expected(reading)}).\n"
            f"{recipe.get('obtain') or ''}\n"
            f"Put it there, or set datasets.{dataset}.path to where it is."
        )
    archive = not (_has_tables(recipe) and path.name.lower().endswith(labels.SUFFIXES))
    part = Part(name=path.name, path=path, is_archive=archive)
    facts = {"source": f"{'archive' if archive else 'labels'} {path}"}
    return Obtained(parts=[part], reading=reading, facts=facts, made={"way": "path"})


def _folder(recipe: dict[str, Any], path: Path, reading: Reading, *, way: str) -> Obtained:
    """A folder of files; one that holds archives alone stands for what is in them."""
    parts, tables = [Part(name=str(path), path=path)], _has_tables(recipe)
    if next(files_below(path, reading.wanted), None) is None:
        parts = [
            Part(name=file.key, path=Path(file.path), is_archive=True)
            for file in files_below(path, lambda name: looks_like_archive(name, tables=tables))
        ]
        _check_archives(recipe, path, parts, reading)
        log.info("%s holds no file of its own: reading its %d archives", path, len(parts))
    facts = {"source": f"{'labels' if tables else 'folder'} {path}"}
    return Obtained(parts=parts, reading=reading, facts=facts, made={"way": way})


def _check_archives(
    recipe: dict[str, Any], path: Path, archives: list[Part], reading: Reading
) -> None:
    """Whether archives may stand for a folder: there are some, and no source names others.

    Raises:
        UserError: They may not.
    """
    dataset = recipe["dataset"]
    if not archives:
        raise UserError(
            f"dataset {dataset}: {path} holds nothing of the dataset ({_expected(reading)}).\n"
            f"{recipe.get('obtain') or ''}\n"
            f"Put it there, or set datasets.{dataset}.path to where it is."
        )
    named = [file["name"] for file in (recipe.get("source") or {}).get("files") or []]
    if named and not recipe.get("path"):
        raise UserError(
            f"dataset {dataset}: {path} holds {', '.join(one.name for one in archives)}, and its "
            f"source has {', '.join(named)}; rename what is the same, or set "
            f"datasets.{dataset}.path to the archive that you mean"
        )


def _expected(reading: Reading) -> str:
    kinds = ", ".join(filter(None, reading.suffixes)) or "files"
    return f"expected {kinds}, in folders or archives"


def _by_hand(recipe: dict[str, Any], raw: Path, reading: Reading) -> Obtained:
    """What a person put into the dataset's folder."""
    source = recipe.get("source") or {}
    named = [Remote(urls=(), **_known(file)) for file in source.get("files") or []]
    places = {one.name: _place(raw, one.name) for one in named}
    absent = [name for name, place in places.items() if place is None]
    if len(absent) == len(named):
        return _folder(recipe, raw, reading, way="by hand")
    if absent:
        there = ", ".join(name for name in places if name not in absent)
        other = "" if source["kind"] == "manual" else ". Or move them away: all is downloaded then"
        raise UserError(
            f"dataset {recipe['dataset']}: {raw} holds {there}, but not {', '.join(absent)}; put "
            f"these there too, under these names{other}"
        )
    received = [verified(places[one.name] or raw, one) for one in named]
    return _of_files(recipe, received, reading, text=_text(source), made={"way": "by hand"})


def _place(raw: Path, name: str) -> Path | None:
    """Where a file of a source lies, without the source's folders too, as browsers save it."""
    places = (raw / name, raw / Path(name).name)
    return next((place for place in places if place.is_file()), None)


def _known(file: dict[str, Any]) -> dict[str, Any]:
    return {key: file.get(key) for key in ("name", "bytes", "sha256", "md5")}


def _text(source: dict[str, Any]) -> str:
    """What is verified is the same whichever way it came, and is called the same."""
    if source["kind"] == "hub":
        return f"Hugging Face hub, dataset {source['repo']} at {source['revision']}"
    return f"{len(source['files'])} files" + (" by HTTPS" if source["kind"] == "https" else "")


def _downloaded(
    recipe: dict[str, Any], transfer: dict[str, Any], raw: Path, reading: Reading
) -> Obtained:
    """The source's files, downloaded unless they are there."""
    generated.claim(raw)
    dataset = recipe["dataset"]
    try:
        wanted = find(recipe["source"], transfer, raw, rescan=recipe.get("rescan") or 0)
        received = download(wanted.remotes, raw, client=wanted.client, what=dataset)
    except UserError as error:
        raise UserError(
            f"dataset {dataset}: {error}\nOr set datasets.{dataset}.path to a folder or archive "
            "that holds it."
        ) from None
    urls = [one.url for one in received if one.url]
    made = {"way": "downloaded", "fetched": len(urls), "urls": urls[:_URLS]}
    found = _of_files(recipe, received, reading, text=wanted.text, made=made)
    return replace(found, facts=found.facts | wanted.facts, downloaded=True)


def _of_files(
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
        archive = looks_like_archive(one.name, tables=_has_tables(recipe))
        parts.append(Part(name=one.name, path=one.path, is_archive=archive, sha256=one.sha256))
        if archive:
            archives.append({"name": one.name, "bytes": one.bytes, "sha256": one.sha256})
    facts = {"source": text, "files": archives}
    return Obtained(parts=parts, reading=reading, facts=facts, made=made)


def _instructions(recipe: dict[str, Any], raw: Path, manifest: Path | None) -> str:
    return instructions(
        recipe["dataset"],
        raw,
        how=recipe.get("obtain") or "",
        files=(recipe.get("source") or {}).get("files") or [],
        manifest=manifest,
    )
