"""Datasets that lie on disk: at the configured path, or put into their folder by hand."""

from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch import labels
from workflow_scripts.fetch.contents import Part, Reading, looks_like_archive
from workflow_scripts.fetch.folder import files_below
from workflow_scripts.fetch.obtained import Obtained, has_tables, of_files
from workflow_scripts.fetch.sources.https import remote
from workflow_scripts.fetch.sources.words import words
from workflow_scripts.logs import log
from workflow_scripts.transfer.present import Mismatch, compared, verified


def on_disk(recipe: dict[str, Any], path: Path, reading: Reading) -> Obtained:
    """What lies at the configured path: a folder, or one file.

    Raises:
        UserError: Nothing, or nothing of the dataset.
    """
    dataset = recipe["dataset"]
    if path.is_dir():
        return _folder(recipe, path, reading, way="path")
    if not path.exists():
        raise UserError(
            f"dataset {dataset}: {path} does not exist ({_expected(reading)}).\n"
            f"{_obtain(recipe)}Put it there, or set datasets.{dataset}.path to where it is."
        )
    archive = not (has_tables(recipe) and path.name.lower().endswith(labels.SUFFIXES))
    part = Part(name=path.name, path=path, is_archive=archive)
    facts: dict[str, Any] = {"source": f"{'archive' if archive else 'labels'} {path}"}
    if archive and recipe.get("published"):
        facts |= _as_published(dataset, path, recipe["published"])
    return Obtained(parts=[part], reading=reading, facts=facts, made={"way": "path"})


def _as_published(dataset: str, path: Path, files: list[dict[str, Any]]) -> dict[str, Any]:
    """Whether an archive is one of those that are published: facts for the summary."""
    named = [remote(file, []) for file in files]
    why = ""
    for one in [one for one in named if Path(one.name).name == path.name] or named:
        try:
            found = compared(path, one)
        except Mismatch as mismatch:
            why = str(mismatch)
        else:
            return {"files": [{"name": path.name, "bytes": found.bytes, "sha256": found.sha256}]}
    told = f"{path.name} is not the published archive: {why}"
    log.warning("dataset %s: %s; it is used as it is", dataset, told)
    return {"differences": [told]}


def _folder(recipe: dict[str, Any], path: Path, reading: Reading, *, way: str) -> Obtained:
    """A folder of files; one that holds archives alone stands for what is in them."""
    parts, tables = [Part(name=str(path), path=path)], has_tables(recipe)
    if next(files_below(path, reading.wanted), None) is None:
        parts = [
            Part(name=file.key, path=Path(file.path), is_archive=True)
            for file in files_below(path, lambda name: looks_like_archive(name, tables=tables))
        ]
        _check_archives(recipe, path, parts, reading)
        log.info("%s holds no file of its own: reading its %d archives", path, len(parts))
    else:
        _tell_unread(path, reading, tables=tables)
    facts = {"source": f"{'labels' if tables else 'folder'} {path}"}
    return Obtained(parts=parts, reading=reading, facts=facts, made={"way": way})


def _tell_unread(path: Path, reading: Reading, *, tables: bool) -> None:
    """Warn of archives beside files of a dataset: one picture of a paper would hide all of them."""
    beside = sorted(
        one.name for one in path.iterdir() if looks_like_archive(one.name, tables=tables)
    )
    if beside and "" not in reading.suffixes:
        log.warning(
            "%s holds files of dataset %s (%s): these are read, and not %s beside them; set "
            "datasets.%s.path to the archive if that is meant",
            path, reading.dataset, ", ".join(reading.suffixes), ", ".join(beside), reading.dataset,
        )  # fmt: skip


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
            f"{_obtain(recipe)}Put it there, or set datasets.{dataset}.path to where it is."
        )
    named = [file["name"] for file in (recipe.get("source") or {}).get("files") or []]
    if named and not recipe.get("path"):
        raise UserError(
            f"dataset {dataset}: {path} holds {', '.join(one.name for one in archives)}, and its "
            f"source has {', '.join(named)}; rename what is the same, or set "
            f"datasets.{dataset}.path to the archive that you mean"
        )


def _obtain(recipe: dict[str, Any]) -> str:
    how = (recipe.get("obtain") or "").strip()
    return f"{how}\n" if how else ""


def _expected(reading: Reading) -> str:
    kinds = ", ".join(filter(None, reading.suffixes)) or "files"
    return f"expected {kinds}, in folders or archives"


def by_hand(recipe: dict[str, Any], raw: Path, reading: Reading) -> Obtained:
    """What a person put into the dataset's folder: the files that its source names, or a folder.

    Raises:
        UserError: A part of the files, wrong ones, or nothing of the dataset.
    """
    source = recipe.get("source") or {}
    named = [remote(file, []) for file in source.get("files") or []]
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
    try:
        received = [verified(places[one.name] or raw, one) for one in named]
    except UserError as error:
        raise UserError(
            f"dataset {recipe['dataset']}: {error}. If you mean another edition of the dataset, "
            f"move it elsewhere and set datasets.{recipe['dataset']}.path to it"
        ) from None
    return of_files(recipe, received, reading, text=words(source), made={"way": "by hand"})


def _place(raw: Path, name: str) -> Path | None:
    """Where a file of a source lies, without the source's folders too, as browsers save it."""
    places = (raw / name, raw / Path(name).name)
    return next((place for place in places if place.is_file()), None)
