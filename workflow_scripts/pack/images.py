"""Pack images: read what the manifests list, check it, bring it to RGB, and cut shards."""

import fnmatch
import hashlib
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import Item, read_manifest
from workflow_scripts.logs import log, progress
from workflow_scripts.pack.decode import EncodedImage, UndecodableError, encode_image
from workflow_scripts.pack.statistics import ImageStatistics
from workflow_scripts.shards import layout
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.threads import map_in_order

_SHOWN = 5
_LISTED = 100


@dataclass(slots=True)
class _Packed:
    """What is known of a corpus while it is packed."""

    classes: list[str]
    shards: list[dict[str, Any]] = field(default_factory=list)
    statistics: ImageStatistics = field(default_factory=ImageStatistics)
    class_counts: defaultdict[str, Counter[str]] = field(
        default_factory=lambda: defaultdict(Counter)
    )
    set_aside: list[dict[str, str]] = field(default_factory=list)
    reasons: Counter[str] = field(default_factory=Counter)


def select_items(
    manifests: Sequence[tuple[str, Path]], *, splits: Sequence[str] | None, exclude: Sequence[str]
) -> list[tuple[str, Item]]:
    """The items to pack, each with its full key `<dataset>/<key>`, in a mixed lasting order.

    They are ordered by a hash of the full key: a shard, or a window of a few, is then a fair
    sample of the corpus, and replacing an image leaves the others where they are.

    Args:
        manifests: (dataset, manifest) of each.
        splits: Keep these splits; all by default, items of no split with them.
        exclude: Full keys to leave out; `*` stands for any text.

    Raises:
        UserError: Nothing is left, or an `exclude` matches nothing.
    """
    unused = set(exclude)
    chosen = []
    for dataset, manifest in manifests:
        for item in read_manifest(manifest):
            key = f"{dataset}/{item.key}"
            matches = {pattern for pattern in exclude if fnmatch.fnmatchcase(key, pattern)}
            unused -= matches
            if not matches and (splits is None or item.split in splits):
                chosen.append((key, item))
    if unused:
        raise UserError(f"exclude: {sorted(unused)[0]!r} matches no key (<dataset>/<key>)")
    if not chosen:
        listed = ", ".join(str(manifest) for _, manifest in manifests)
        raise UserError(f"{listed}: no item of the splits {splits}; look at the dataset's split")
    chosen.sort(key=lambda pair: hashlib.sha256(pair[0].encode()).digest())
    return chosen


def _read(key: str, item: Item, recipe: dict[str, Any]) -> EncodedImage | str:
    """One image in its stored form, or the reason why it is set aside."""
    try:
        data = Path(item.path).read_bytes()
    except OSError as error:
        raise UserError(
            f"{item.path} ({key}): {error.strerror}; the dataset changed since its manifest was "
            "made, run fetch again"
        ) from None
    found = hashlib.sha256(data).hexdigest()
    if found != item.sha256:
        raise UserError(
            f"{item.path} ({key}): sha256 is {found}, the manifest says {item.sha256}; the dataset "
            "changed since its manifest was made, run fetch again"
        )
    try:
        return encode_image(data, max_side=recipe["max_side"], quality=recipe["quality"])
    except UndecodableError as error:
        return str(error)


def _samples(
    items: Sequence[tuple[str, Item]],
    packed: _Packed,
    recipe: dict[str, Any],
    *,
    workers: int | None,
) -> Iterator[ImageSample]:
    """Samples in order; what is set aside, counted and summed goes into `packed`."""
    label_of = {name: number for number, name in enumerate(packed.classes)}
    images = map_in_order(lambda pair: _read(*pair, recipe), items, workers=workers)
    images = progress(images, what="images", total=len(items))
    for (key, item), image in zip(items, images, strict=True):
        if isinstance(image, str):
            _set_aside(packed, key, image, allowed=recipe["max_set_aside"] * len(items))
            continue
        packed.statistics.add(image.histogram)
        packed.class_counts[item.split or "none"][item.label or "none"] += 1
        yield ImageSample(
            key=key,
            data=image.data,
            height=image.height,
            width=image.width,
            label=-1 if item.label is None else label_of[item.label],
            split=-1 if item.split is None else layout.SPLIT_NAMES.index(item.split),
        )


def _set_aside(packed: _Packed, key: str, reason: str, *, allowed: float) -> None:
    log.warning("%s set aside: %s", key, reason)
    packed.set_aside.append({"key": key, "reason": reason})
    packed.reasons[reason] += 1
    if len(packed.set_aside) > allowed:
        shown = "".join(f"\n  {row['key']}: {row['reason']}" for row in packed.set_aside[:_SHOWN])
        raise UserError(
            f"{len(packed.set_aside)} images cannot be used so far and at most {int(allowed)} may "
            f"be set aside (max_set_aside); the first:{shown}\n"
            "Repair or remove them, or raise max_set_aside."
        )


def _cut(samples: Iterator[ImageSample], shard_bytes: int) -> Iterator[list[ImageSample]]:
    """Samples by shard, each of at most `shard_bytes` of encoded images, one image at least."""
    rows: list[ImageSample] = []
    filled = 0
    for sample in samples:
        if rows and filled + len(sample.data) > shard_bytes:
            yield rows
            rows, filled = [], 0
        rows.append(sample)
        filled += len(sample.data)
    if rows:
        yield rows


def pack_images(
    recipe: dict[str, Any],
    manifests: Sequence[tuple[str, Path]],
    index: Path,
    *,
    workers: int | None = None,
) -> dict[str, Any]:
    """Write the shards of an image corpus beside its index, and return the index's body.

    Memory holds one shard's encoded images and a few decoded ones.

    Args:
        recipe: The pack recipe of kind `images`.
        manifests: (dataset, manifest) of each, in the recipe's order.
        index: The `index.json` that the caller will write.
        workers: Threads that read and decode.

    Raises:
        UserError: Data changed since the manifest, too many images set aside, nothing to pack.
    """
    items = select_items(manifests, splits=recipe["splits"], exclude=recipe["exclude"])
    classes = sorted({item.label for _, item in items if item.label is not None})
    packed = _Packed(classes)
    samples = _samples(items, packed, recipe, workers=workers)
    for number, rows in enumerate(_cut(samples, recipe["shard_bytes"])):
        # An index never stands beside shards that it does not describe.
        index.unlink(missing_ok=True)
        path = index.with_name(f"shard-{number:05d}.h5")
        write_image_shard(path, rows, classes=classes)
        row = {"file": path.name, "sha256": file_sha256(path), "count": len(rows)}
        packed.shards.append({**row, "bytes": path.stat().st_size})
    if not packed.shards:
        raise UserError(f"all {len(items)} images were set aside: nothing to pack")
    mean, std = packed.statistics.result()
    counts = {split: dict(sorted(names.items())) for split, names in packed.class_counts.items()}
    return {
        "channels": 3,
        "bands": ["red", "green", "blue"],
        "classes": classes,
        "shards": packed.shards,
        "mean": mean,
        "std": std,
        "class_counts": counts,
        "set_aside": dict(packed.reasons),
        "set_aside_items": packed.set_aside[:_LISTED],
    }
