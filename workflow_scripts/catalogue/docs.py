"""Generate docs/datasets.md from the catalogue; a test fails on drift.

python -m workflow_scripts.catalogue.docs
"""

from collections.abc import Mapping

from workflow_scripts.catalogue.entries import Entry, entries
from workflow_scripts.catalogue.words import (
    NOT_STATED,
    command,
    config_lines,
    counts,
    entry_origin,
    files,
    how,
    instructions,
    marks,
    short_size,
    size,
    unusable,
)
from workflow_scripts.config_check import ROOT
from workflow_scripts.files import write_text

PAGE = ROOT / "docs" / "datasets.md"

_HEAD = """# Datasets

Generated from `workflow_scripts/catalogue/data/catalogue.yaml` by
`python -m workflow_scripts.catalogue.docs`: do not edit.

These datasets are known by name: where they come from, what their files weigh and how they are
verified, what they should hold, their licence, and how to cite them. Report and model card tell all
of that of the datasets that were used. The same list on a terminal:

```sh
python -m workflow_scripts.fetch --list             # a table
python -m workflow_scripts.fetch --list ucmerced    # one entry, with how to use it
```

Three lines of a configuration make one of them a dataset:

```yaml
datasets:
  ucmerced:
    kind: image-folder
    catalogue: ucmerced
```

It is downloaded into `data/raw/<dataset>`, verified, and read there. What lies on disk already is
not fetched: `path` names its folder or archive, or put it into `data/raw/<dataset>` yourself, under
the names below. What no program may fetch is by hand: the job stops, says where to get it and where
to put it, and goes on when it is there. All keys of a dataset, and sources of your own, which are
in no catalogue, are in [config.md](config.md); data of your own in
[your-own-data.md](your-own-data.md).

The checksums are those that the publishers, or libraries that verify these very files, give; what
is fetched from the hub without one here is verified by the checksum that the hub tells for the
revision. Licences are those of the data as stated, and no advice: read them where the data come
from.
"""


def page(known: Mapping[str, Entry] | None = None) -> str:
    """The page as Markdown."""
    known = entries() if known is None else known
    parts = [_HEAD, "| name | what it holds | size | had by | licence |", "|---|---|---|---|---|"]
    for name, entry in known.items():
        licence = entry.licence or NOT_STATED
        parts.append(
            f"| [{name}](#{name}) | {entry.what} | {short_size(entry)} | {how(entry.source)} "
            f"| {licence} |"
        )
    for name, entry in known.items():
        parts += ["", *_section(name, entry)]
    return "\n".join(parts) + "\n"


def _section(name: str, entry: Entry) -> list[str]:
    lines = [f"## {name}", "", f"{entry.title}: {entry.what}.", ""]
    lines += [f"- version {entry.version}; {_size_words(entry)}"]
    lines += [f"- licence: {entry.licence or NOT_STATED}", f"- cite: {entry.citation}"]
    lines += [f"- described at <{entry.homepage}>", f"- source: {entry_origin(entry)}"]
    for file in files(entry.source):
        told = "; ".join(f"`{mark}`" for mark in marks(file))
        lines.append(f"  - `{file.name}`{': ' + told if told else ''}")
    found = counts(entry.expected)
    lines += [f"- expected: {'; '.join(found)}"] if found else []
    if entry.root:
        lines.append(f"- its images begin below `{entry.root}` in the archive")
    if entry.parquet:
        lines.append(f"- parquet: images of column `{entry.parquet.image}`, classes of column "
                     f"`{entry.parquet.label}`")  # fmt: skip
    lines += ["", entry.notes]
    if by_hand := instructions(name, entry):
        lines += ["", "By hand:", "", "```text", by_hand, "```"]
    if why := unusable(entry):
        lines += ["", why]
    if not (config := config_lines(name, entry)):
        return lines
    return [*lines, "", "```yaml", *config, "```", "", "```sh", command(name, entry), "```"]


def _size_words(entry: Entry) -> str:
    """The size, as the end of a sentence."""
    known = entry.bytes or entry.size
    return size(entry) if known else "size not known"


if __name__ == "__main__":
    write_text(PAGE, page())
