"""Words for entries of the catalogue: what `--list`, docs/datasets.md, report and card share."""

from workflow_scripts.catalogue.entries import Entry
from workflow_scripts.catalogue.known import Known, known
from workflow_scripts.config_base import DatasetBase
from workflow_scripts.config_sources import (
    Expected,
    HttpsSource,
    HubSource,
    LaadsSource,
    ManualSource,
    Source,
    SourceFile,
    StacSource,
)

NOT_KNOWN = "not known"
NOT_STATED = "not stated"


def how(source: Source) -> str:
    """How data are had, in a word or two: `hub`, `https`, `laads`, `stac`, `by hand`, `parts`."""
    return {"manual": "by hand", "union": "its parts"}.get(source.kind, source.kind)


def origin(told: Known) -> str:
    """Where a configured dataset comes from: `hub torchgeo/ucmerced at 7c5ef345…`, `folder`."""
    if told.path is not None:
        return "folder or archive on disk"
    return _source(told.source) if told.source else "generated"


def cited(dataset: DatasetBase) -> dict[str, str | None]:
    """What report and model card tell of a configured dataset, to be cited with the results."""
    told = known(dataset)
    return {
        "version": told.version,
        "licence": told.licence,
        "citation": told.citation,
        "homepage": told.homepage,
        "origin": origin(told),
    }


def _source(source: Source) -> str:
    if isinstance(source, HubSource):
        return f"hub {source.repo} at {source.revision}"
    if isinstance(source, HttpsSource):
        hosts = dict.fromkeys(file.urls[0].split("/")[2] for file in source.files)
        return f"https {', '.join(hosts)}"
    if isinstance(source, StacSource):
        return f"STAC collection {source.collection} of {source.api.split('/')[2]}"
    if isinstance(source, LaadsSource):
        return f"LAADS collection {source.collection}"
    return "by hand" if isinstance(source, ManualSource) else f"union of {', '.join(source.of)}"


def entry_origin(entry: Entry) -> str:
    """Where an entry's data come from."""
    return _source(entry.source)


def files(source: Source) -> list[SourceFile]:
    """The files that a source names; empty if it is asked for them."""
    return list(getattr(source, "files", []))


def marks(file: SourceFile) -> list[str]:
    """What is known of a file: its bytes, its checksums, and where else it lies."""
    found = [f"{file.bytes:,} bytes"] if file.bytes else []
    found += [f"sha256 {file.sha256}"] if file.sha256 else []
    found += [f"md5 {file.md5}"] if file.md5 else []
    return found + [f"at {url}" for url in file.urls]


def short_size(entry: Entry) -> str:
    """`2.07 GB`, or the size in words, or that it is not known."""
    if entry.bytes is None:
        return entry.size or NOT_KNOWN
    size = float(entry.bytes)
    for unit in ("B", "kB", "MB", "GB"):
        if size < 1000:
            return f"{size:.3g} {unit}"
        size /= 1000
    return f"{size:.3g} TB"


def size(entry: Entry) -> str:
    """The size to the byte where it is known."""
    return f"{entry.bytes:,} bytes" if entry.bytes else short_size(entry)


def counts(expected: Expected | None) -> list[str]:
    """What a dataset should hold; one line of totals, and one of classes that differ."""
    if expected is None:
        return []
    items, classes, each = expected.items, expected.classes, expected.per_class
    totals = [f"{items:,} items"] if items else []
    totals += [f"{classes:,} classes"] if classes else []
    if isinstance(each, dict):
        same = set(each.values())
        if len(same) > 1:
            return [", ".join(totals), ", ".join(f"{name} {n:,}" for name, n in each.items())]
        return [", ".join([*totals, f"{same.pop():,} in each"]), ", ".join(each)]
    return [", ".join([*totals, *([f"{each:,} in each"] if each else [])])]


def config_lines(name: str, entry: Entry) -> list[str]:
    """The lines of a configuration that make it a dataset; none of a union."""
    if entry.source.kind == "union":
        return []
    lines = ["datasets:", f"  {name}:", f"    kind: {entry.kind}", f"    catalogue: {name}"]
    if entry.kind == "modis-l1b":
        days = ['    first: "2019-01-01"', '    last: "2019-01-01"']
        lines += [f"    platform: {entry.platform}", *days]
    if entry.kind == "aicca":
        lines.append("    chips: [modis-terra-l1b, modis-aqua-l1b]")
    return lines


def unusable(entry: Entry) -> str:
    """What an entry cannot be used for; empty if there is nothing."""
    if entry.source.kind == "union":
        return f"It is no dataset of its own: a corpus names its parts ({_source(entry.source)})."
    if entry.kind == "files":
        return "It is fetched, verified and listed, but no corpus or benchmark can take it yet."
    return ""


def command(name: str, entry: Entry) -> str:
    """The command that fetches it, once it is in a configuration."""
    made = f"chips/{name}/2019-01-01.h5" if entry.kind == "modis-l1b" else f"manifests/{name}.jsonl"
    return f"snakemake data/{made} --configfile my.yaml"


def instructions(name: str, entry: Entry) -> str:
    """What a person has to do, with the dataset's folder; empty if nothing."""
    if not isinstance(entry.source, ManualSource):
        return ""
    return entry.source.instructions.replace("<dataset>", name).strip()
