"""The items of a dataset as columns: some 300 bytes an item."""

from dataclasses import dataclass, field
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest, sha256_here

JOINS = ";"  # between the names of several labels


@dataclass(kw_only=True)
class Items:
    """A manifest's items in its order.

    Attributes:
        manifest: Where they are from, for messages.
        multi_label: Whether an item may have several labels.
        keys: The name of each.
        contents: sha256 of each.
        labels: Its class, or the names of its labels joined by `;`; empty where it has none.
        own: Side in the dataset's own split, or empty.
        classes: All names of classes, sorted.
    """

    manifest: Path
    multi_label: bool = False
    keys: list[str] = field(default_factory=list)
    contents: list[str] = field(default_factory=list)
    labels: list[str] = field(default_factory=list)
    own: list[str] = field(default_factory=list)
    classes: list[str] = field(default_factory=list)


def read_items(manifest: Path) -> Items:
    """The items of a manifest.

    Raises:
        UserError: No manifest, a line that is no item, some items with one label and some with
            several, or no labelled item.
    """
    items = Items(manifest=manifest)
    known: dict[str, str] = {}  # equal texts once in memory: labels are few
    classes: set[str] = set()
    for item in read_manifest(manifest):
        several = item.labels is not None
        if not items.keys:
            items.multi_label = several
        elif several != items.multi_label:
            raise UserError(
                f"{manifest}: {item.key} has {_form(several)}, {items.keys[0]} has "
                f"{_form(items.multi_label)}; run fetch for this dataset again"
            )
        text = _text(item)
        items.keys.append(item.key)
        items.contents.append(sha256_here(item, manifest))
        items.labels.append(known.setdefault(text, text))
        items.own.append(item.split or "")
        classes.update(item.labels or ([item.label] if item.label is not None else ()))
    items.classes = sorted(classes)
    if not items.classes:
        raise UserError(
            f"{manifest}: none of {len(items.keys)} images has a class; a benchmark needs images "
            "in one folder a class, or a list with their labels (kind: image-list)"
        )
    return items


def _text(item: Item) -> str:
    return item.label or "" if item.labels is None else JOINS.join(item.labels)


def _form(several: bool) -> str:
    return "a list of labels" if several else "one label"
