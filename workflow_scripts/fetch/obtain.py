"""Where a dataset's files lie: on disk, put into its folder by hand, or downloaded into it.

In this order: the configured `path`, read where it lies; what a person put into
`data/raw/<dataset>`, found by the names that the source gives, else as a folder; the source,
downloaded there. What has been downloaded and verified once is not asked for again.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch import generated, labels
from workflow_scripts.fetch.contents import Part, Reading, contents, looks_like_archive
from workflow_scripts.fetch.folder import IMAGE_SUFFIXES, FoundFile, files_below
from workflow_scripts.fetch.sources.find import find
from workflow_scripts.fetch.sources.manual import instructions
from workflow_scripts.logs import log
from workflow_scripts.transfer.download import download, verified
from workflow_scripts.transfer.remote import Received, Remote

UNPACKED = ".unpacked"  # below the dataset's folder; hidden, so that no listing takes it for data
_URLS = 100  # kept in the provenance


@dataclass(frozen=True, kw_only=True)
class Obtained:
    """A dataset's files.

    Attributes:
        files: In the order of their keys, found while they are asked for.
        facts: For the summary: `source` in words, `files` (the archives, with checksums), and what
            else identifies what came from the source.
        made: For the provenance: which way they came, and from where.
        set_aside: Members of archives that cannot be used; complete when `files` has ended.
        downloaded: Whether a source gave them, so that what they should hold can be demanded.
    """

    files: Iterator[FoundFile]
    facts: dict[str, Any]
    made: dict[str, Any]
    set_aside: list[dict[str, str]] = field(default_factory=list)
    downloaded: bool = False


@dataclass(frozen=True, kw_only=True)
class _Found:
    """The parts of a dataset, and what is told of them."""

    parts: list[Part]
    facts: dict[str, Any]
    made: dict[str, Any]
    downloaded: bool = False


def obtain(
    recipe: dict[str, Any],
    transfer: dict[str, Any],
    raw: Path | None,
    *,
    manifest: Path | None = None,
) -> Obtained:
    """Find a dataset's files, and download them if that has not been done.

    Args:
        recipe: `dataset`, `kind`, `path`, `source`, `obtain`, `root`, `parquet`.
        transfer: How files are downloaded, of the option `--transfer`.
        raw: `data/raw/<dataset>`; None: neither downloads nor files put there by hand.
        manifest: What this job makes, to name the command to go on with.

    Raises:
        UserError: They are not there; tells where to get them, where to put them and how to go on.
            Or they are not what was expected.
    """
    if recipe.get("path"):
        found = _on_disk(recipe, Path(recipe["path"]))
    elif raw is None:
        raise UserError(
            f"dataset {recipe['dataset']}: neither path nor --raw is given; expected the folder "
            "that holds it, or the one to fetch it into"
        )
    elif generated.placed_by_hand(raw):
        found = _by_hand(recipe, raw)
    elif (recipe.get("source") or {"kind": "manual"})["kind"] == "manual":
        raise UserError(_instructions(recipe, raw, manifest))
    else:
        found = _downloaded(recipe, transfer, raw)
    reading = Reading(
        dataset=recipe["dataset"],
        wanted=lambda name: name.lower().endswith(_suffixes(recipe)),
        root=recipe.get("root") or "",
        unpacked=raw / UNPACKED if raw else None,
        parquet=recipe.get("parquet"),
    )
    files = contents(found.parts, reading)
    return Obtained(
        files=files, facts=found.facts, made=found.made, set_aside=reading.set_aside,
        downloaded=found.downloaded,
    )  # fmt: skip


def _has_tables(recipe: dict[str, Any]) -> bool:
    """Whether its parquet files are tables of labels, and no archives of images."""
    return bool(recipe["kind"] == "aicca")


def _suffixes(recipe: dict[str, Any]) -> tuple[str, ...]:
    return labels.SUFFIXES if _has_tables(recipe) else IMAGE_SUFFIXES


def _on_disk(recipe: dict[str, Any], path: Path) -> _Found:
    """The configured path: a folder, or one file."""
    dataset = recipe["dataset"]
    if path.is_dir():
        return _folder(recipe, path)
    if not path.exists():
        lines = [
            f"dataset {dataset}: {path} does not exist.", (recipe.get("obtain") or "").strip(),
            f"Put it there (as <class>/<image>, or an archive of that), or set "
            f"datasets.{dataset}.path to where it is.",
        ]  # fmt: skip
        raise UserError("\n".join(line for line in lines if line))
    archive = not (_has_tables(recipe) and path.name.lower().endswith(labels.SUFFIXES))
    part = Part(name=path.name, path=path, is_archive=archive)
    kind = "archive" if archive else "labels"
    return _Found(parts=[part], facts={"source": f"{kind} {path}"}, made={"way": "path"})


def _folder(recipe: dict[str, Any], path: Path, *, way: str = "path") -> _Found:
    """A folder of files; one that holds archives alone stands for what is in them."""
    tables, suffixes = _has_tables(recipe), _suffixes(recipe)
    facts, made = {"source": f"folder {path}"}, {"way": way}
    if next(files_below(path, lambda name: name.lower().endswith(suffixes)), None) is None:
        archives = [
            Part(name=file.key, path=Path(file.path), is_archive=True)
            for file in files_below(path, lambda name: looks_like_archive(name, tables=tables))
        ]
        if archives:
            log.info("%s holds no file of its own: reading its %d archives", path, len(archives))
            return _Found(parts=archives, facts=facts, made=made)
    return _Found(parts=[Part(name=str(path), path=path)], facts=facts, made=made)


def _by_hand(recipe: dict[str, Any], raw: Path) -> _Found:
    """What a person put into the dataset's folder."""
    source = recipe.get("source") or {}
    named = [Remote(urls=(), **_known(file)) for file in source.get("files") or []]
    there = [remote for remote in named if (raw / remote.name).is_file()]
    if not there:
        return _folder(recipe, raw, way="by hand")
    absent = [remote.name for remote in named if remote not in there]
    if absent:
        raise UserError(
            f"dataset {recipe['dataset']}: {raw} holds {', '.join(one.name for one in there)}, and "
            f"not {', '.join(absent)}; put all of them there (below {raw}/, under these names)"
            + (
                "; or move what is there away, and all is downloaded"
                if source["kind"] != "manual"
                else ""
            )
        )
    received = [verified(raw / remote.name, remote) for remote in there]
    return _of_files(recipe, raw, received, text=_text(source), made={"way": "by hand"})


def _known(file: dict[str, Any]) -> dict[str, Any]:
    return {key: file.get(key) for key in ("name", "bytes", "sha256", "md5")}


def _text(source: dict[str, Any]) -> str:
    """What is verified is the same whichever way it came, and is called the same."""
    if source["kind"] == "hub":
        return f"Hugging Face hub, dataset {source['repo']} at {source['revision']}"
    return f"{len(source['files'])} files" + (" by HTTPS" if source["kind"] == "https" else "")


def _downloaded(recipe: dict[str, Any], transfer: dict[str, Any], raw: Path) -> _Found:
    """The source's files, downloaded unless they are there."""
    generated.claim(raw)
    dataset = recipe["dataset"]
    wanted = find(recipe["source"], transfer, raw)
    try:
        received = download(wanted.remotes, raw, client=wanted.client, what=dataset)
    except UserError as error:
        raise UserError(
            f"dataset {dataset}: {error}\nOr set datasets.{dataset}.path to a folder or archive "
            "that holds it."
        ) from None
    urls = [one.url for one in received if one.url]
    made = {"way": "downloaded", "fetched": len(urls), "urls": urls[:_URLS]}
    found = _of_files(recipe, raw, received, text=wanted.text, made=made)
    return _Found(
        parts=found.parts, facts=found.facts | wanted.facts, made=found.made, downloaded=True
    )


def _of_files(
    recipe: dict[str, Any],
    raw: Path,
    received: Sequence[Received],
    *,
    text: str,
    made: dict[str, Any],
) -> _Found:
    """Verified files; archives among them are named in the summary, others are items."""
    parts, archives = [], []
    for one in received:
        archive = looks_like_archive(one.name, tables=_has_tables(recipe))
        parts.append(Part(name=one.name, path=raw / one.name, is_archive=archive))
        if archive:
            archives.append({"name": one.name, "bytes": one.bytes, "sha256": one.sha256})
    return _Found(parts=parts, facts={"source": text, "files": archives}, made=made)


def _instructions(recipe: dict[str, Any], raw: Path, manifest: Path | None) -> str:
    return instructions(
        recipe["dataset"],
        raw,
        how=recipe.get("obtain") or "",
        files=(recipe.get("source") or {}).get("files") or [],
        manifest=manifest,
    )
