"""Pack one shard of images; what is finished survives the death of the job.

A shard depends on its items, the recipe and the code alone. Its facts are written beside it, hidden
(`.shard-00000.json`), and serve the next start of the same packing in place of the work.
"""

import errno
import hashlib
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.logs import log
from workflow_scripts.pack.buckets import Candidate, read_lines
from workflow_scripts.pack.decode import MOST_BYTES, encode_file
from workflow_scripts.pack.encode import EncodedFile, Settings, UndecodableError
from workflow_scripts.pack.looks import FLAT, Row
from workflow_scripts.processes import map_in_processes
from workflow_scripts.shards import layout
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.stored import address_in, pieces, read_stored
from workflow_scripts.threads import map_in_order

CRASHED = "a library crashed on it"
_SHOWN = 5
_WAITING_BYTES = 2**24  # of files that are encoded and wait to be written
# Keys of a recipe that choose items, which the digest of a shard holds anyway.
_CHOOSING = {
    "corpus", "kind", "datasets", "synthetic", "splits", "exclude", "duplicates", "across_splits",
    "benchmark_test", "shard_bytes", "max_set_aside",
}  # fmt: skip

Facts = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardTask:
    """One shard to pack.

    Attributes:
        items: The lines of its items.
        shard: Where it goes.
        scratch: A folder for temporary files.
        recipe: The pack recipe.
        classes: Class names of the corpus.
        code: Digest of the code that packs.
        allowed: Most images of the corpus that may be set aside.
        threads: How many read and decode.
    """

    items: Path
    shard: Path
    scratch: Path
    recipe: dict[str, Any]
    classes: list[str]
    code: str
    allowed: int
    threads: int

    @property
    def sidecar(self) -> Path:
        """Where the shard's facts are until the index is written."""
        return self.shard.with_name(f".{self.shard.stem}.json")

    def digest(self) -> str:
        """What the shard is made from."""
        shaping = {key: value for key, value in self.recipe.items() if key not in _CHOOSING}
        return digest([file_sha256(self.items), shaping, self.classes, self.code])


def pack_shard(task: ShardTask) -> Facts:
    """Write a shard, or find that it is there already, and return its facts.

    Returns:
        `file`, `sha256`, `count` and `bytes`, the `histogram` of its pixels (3, 256),
        `class_counts`, `set_aside` (key and reason of each) and `looks` (look, split and key of
        samples: each look of a file once, no flat ones). Where no image can be used there is no
        file, and `count` is 0.

    Raises:
        UserError: Data changed since the manifest, or more images than allowed cannot be used.
    """
    items = list(read_lines(task.items))
    settings = Settings.of(task.recipe)
    files = map_in_order(
        lambda item: read_item((item, settings, task.scratch)),
        items,
        workers=task.threads,
        size_of=lambda item: item.bytes,
        most=_WAITING_BYTES,
    )
    return _finished(task) or _packed(task, items, files)


def pack_shard_apart(task: ShardTask) -> Facts:
    """The same, each image decoded in a process of its own: one that crashes it is set aside."""
    log.warning("%s: a library crashed; its images are read one by one", task.shard)
    items = list(read_lines(task.items))
    settings = Settings.of(task.recipe)
    files = map_in_processes(
        read_item, ((item, settings, task.scratch) for item in items), workers=1, crashed=_crashed
    )
    return _packed(task, items, files)


def _crashed(job: tuple[Candidate, Settings, Path]) -> EncodedFile | str:
    return CRASHED


def read_item(job: tuple[Candidate, Settings, Path]) -> EncodedFile | str:
    """One file in its stored form, or the reason why it is set aside.

    Raises:
        UserError: It is not what the manifest says, or the disk is full.
    """
    item, settings, scratch = job
    with ExitStack() as stack:
        try:
            found, source = _read(item, scratch, stack)
        except OSError as error:
            if error.errno == errno.ENOSPC:  # of a copy, not of the dataset
                raise UserError(f"{item.path} ({item.key}): {error}, while it was packed") from None
            raise UserError(
                f"{item.path} ({item.key}): {error.strerror}; {_changed(item)}"
            ) from None
        if found != item.sha256:
            raise UserError(
                f"{item.path} ({item.key}): sha256 is {found}, the manifest says {item.sha256}; "
                f"{_changed(item)}"
            )
        try:
            return encode_file(source, settings, scratch=scratch)
        except UndecodableError as error:
            return str(error)
        except OSError as error:
            raise UserError(f"{item.path} ({item.key}): {error}, while it was packed") from None


def _changed(item: Candidate) -> str:
    """What to do: Snakemake sees nothing of a folder of downloads, nor of an archive unpacked."""
    return (
        f"the dataset {item.dataset} changed since its manifest was made; to have it fetched and "
        f"listed again, remove that (data/manifests/{item.dataset}.jsonl) and start again"
    )


def _read(item: Candidate, scratch: Path, stack: ExitStack) -> tuple[str, bytes | Path]:
    """The sha256 of a file's bytes, and these or, of a large file, where they lie.

    A large member of an archive is copied out, since libvips reads large ones from files; the copy
    goes with the stack.
    """
    in_archive = address_in(item.path) is not None
    path = Path(item.path)
    if (item.bytes if in_archive else path.stat().st_size) <= MOST_BYTES:
        data = read_stored(item.path, size=item.bytes)
        return hashlib.sha256(data).hexdigest(), data
    if not in_archive:
        return file_sha256(path), path
    total = hashlib.sha256()
    copy = stack.enter_context(tempfile.NamedTemporaryFile(dir=scratch, prefix="member-"))  # noqa: SIM115
    for piece in pieces(item.path, size=item.bytes):
        copy.write(piece)
        total.update(piece)
    copy.flush()
    return total.hexdigest(), Path(copy.name)


def _finished(task: ShardTask) -> Facts | None:
    """The facts of a shard that an earlier start finished; None if there is none to use."""
    if not task.sidecar.is_file():
        return None
    facts: Facts = read_json(task.sidecar)
    if facts.pop("made_from") != task.digest():
        return None
    if facts["count"] and not (task.shard.is_file() and file_sha256(task.shard) == facts["sha256"]):
        return None
    log.info("%s: finished by an earlier start", task.shard)
    return facts


def _packed(task: ShardTask, items: list[Candidate], files: Iterable[EncodedFile | str]) -> Facts:
    task.sidecar.unlink(missing_ok=True)
    histogram = np.zeros((3, 256), np.int64)
    class_counts: defaultdict[str, Counter[str]] = defaultdict(Counter)
    set_aside: list[dict[str, str]] = []
    looks: list[Row] = []
    before = None  # copies follow each other, and are no near duplicates
    label_of = {name: number for number, name in enumerate(task.classes)}

    def samples() -> Iterator[ImageSample]:
        nonlocal before
        for item, file in zip(items, files, strict=True):
            if isinstance(file, str):
                set_aside.append({"key": item.key, "reason": file})
                check_set_aside(len(set_aside), set_aside, allowed=task.allowed)
                continue
            np.add(histogram, file.histogram, out=histogram)
            split = -1 if item.split is None else layout.SPLIT_NAMES.index(item.split)
            seen = {FLAT}  # tiles of one file are no near duplicates of each other
            for image in file.images:
                class_counts[item.split or "none"][item.label or "none"] += 1
                if item.sha256 != before and image.look not in seen:
                    seen.add(image.look)
                    looks.append((image.look, split, item.key + image.place))
                yield ImageSample(
                    key=item.key + image.place,
                    data=image.data,
                    height=image.height,
                    width=image.width,
                    label=-1 if item.label is None else label_of[item.label],
                    split=split,
                )
            before = item.sha256

    count = write_image_shard(task.shard, samples(), classes=task.classes)
    facts: Facts = {
        "file": task.shard.name,
        "sha256": file_sha256(task.shard),
        "count": count,
        "bytes": task.shard.stat().st_size,
        "histogram": histogram.tolist(),
        "class_counts": class_counts,
        "set_aside": set_aside,
        "looks": looks,
    }
    if not count:
        task.shard.unlink()
    write_json(task.sidecar, {**facts, "made_from": task.digest()})
    return facts


def check_set_aside(count: int, rows: list[dict[str, str]], *, allowed: int) -> None:
    """Refuse more than so many images that cannot be used; `rows` are the first of them.

    Raises:
        UserError: Naming the first few.
    """
    if count <= allowed:
        return
    shown = "".join(f"\n  {row['key']}: {row['reason']}" for row in rows[:_SHOWN])
    raise UserError(
        f"{count} images cannot be used so far and at most {allowed} may be set aside "
        f"(max_set_aside); the first:{shown}\nRepair or remove them, or raise max_set_aside."
    )
