"""Small datasets of images with their manifests, and packing them as the stage does."""

import json
from pathlib import Path

from pictures import encoded, picture

from workflow_scripts.digests import file_sha256
from workflow_scripts.fetch.manifest import Item, read_manifest, write_manifest
from workflow_scripts.pack.images import pack_images
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.split.table import write_table

RECIPE = {
    "corpus": "places",
    "kind": "images",
    "datasets": ["places"],
    "synthetic": False,
    "splits": None,
    "max_side": None,
    "large": "scale",
    "quality": 95,
    "bands": None,
    "value_range": None,
    "shard_bytes": 2**28,
    "max_set_aside": 0.0,
    "exclude": [],
    "duplicates": "keep",
    "across_splits": "protect",
    "benchmark_test": {"handling": "exclude", "benchmarks": {}},
}


def item(path, root, *, label=None, split=None):
    return Item(
        key=path.relative_to(root).as_posix(),
        path=str(path),
        sha256=file_sha256(path),
        bytes=path.stat().st_size,
        label=label,
        split=split,
    )


def write_dataset(folder: Path, name: str, files: dict[str, tuple]) -> tuple[str, Path]:
    """Files by key, each (bytes, split, label); (name, manifest) as packing wants them."""
    root = folder / "raw" / name
    items = []
    for key, (data, split, label) in files.items():
        (root / key).parent.mkdir(parents=True, exist_ok=True)
        (root / key).write_bytes(data)
        items.append(item(root / key, root, label=label, split=split))
    write_manifest(folder / f"{name}.jsonl", items)
    return name, folder / f"{name}.jsonl"


def photos(numbers, split=None, label="river"):
    """JPEG files by key, each different."""
    return {
        f"{label}/{number:03d}.jpg": (encoded(picture(number), "JPEG"), split, label)
        for number in numbers
    }


def judge(manifest: Path, table: Path | None = None) -> Path:
    """The table of splits of a benchmark that judges by the own split of a dataset."""
    table = table or manifest.with_name(f"{manifest.stem}.csv")
    items = list(read_manifest(manifest))
    columns = {"dataset": [one.split or "" for one in items]}
    keys, contents = [one.key for one in items], [one.sha256 for one in items]
    write_table(table, keys, contents, [one.label or "" for one in items], columns)
    return table


def pack(manifests, folder: Path, *, workers=0, judged=None, **changes):
    """Pack as the stage does; the index's body and the corpus."""
    recipe = {**RECIPE, "datasets": [name for name, _ in manifests], **changes}
    index = folder / "index.json"
    body = pack_images(recipe, manifests, index, judged=judged, workers=workers)
    whole = {**body, "kind": "images", "format_version": 1, "content": content_digest(body)}
    index.write_text(json.dumps(whole))
    return body, Corpus(index)
