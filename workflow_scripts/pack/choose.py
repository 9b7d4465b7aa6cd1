"""Which items of the manifests a corpus holds, in a mixed lasting order, with bounded memory.

Items are ordered by (sha256 of the content, full key): a shard, or a window of a few, is then a
fair sample of the corpus, replacing an image leaves the others where they are, and copies of an
image lie next to each other. They are sorted on disk: thrown into buckets by the first bits of the
checksum, and sorted bucket by bucket.
"""

import fnmatch
import itertools
import json
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import read_manifest

_BUCKET_BYTES = 2**20  # some 5,000 items
_MOST_BUCKETS = 4096
_WAITING_BYTES = 2**20  # lines held until they are written

# The more protected split keeps its images: what a model is judged by must not be trained on.
_PROTECTION = {None: 0, "train": 1, "val": 2, "test": 3}

EXCLUDED = "excluded by key"
COPY_ACROSS = "copy of an image of a more protected split"
TEST_IMAGE = "test image of a benchmark"
DUPLICATE = "duplicate"


class Candidate(NamedTuple):
    """An item of a manifest, with its full key `<dataset>/<key>`; sorts in the packing order."""

    sha256: str
    key: str
    path: str
    bytes: int
    label: str | None
    split: str | None

    @property
    def dataset(self) -> str:
        """The dataset it is of."""
        return self.key.partition("/")[0]


def to_line(candidate: Candidate) -> str:
    """A candidate as a line of text."""
    return json.dumps(candidate, ensure_ascii=False, separators=(",", ":")) + "\n"


def read_lines(path: Path) -> Iterator[Candidate]:
    """The candidates of a file that `to_line` wrote."""
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield Candidate(*json.loads(line))


@dataclass(slots=True)
class Tally:
    """What was met on the way.

    Attributes:
        left_out: Items left out on purpose, by reason.
        test_images: Test images of benchmarks that were met, by dataset.
        classes: Class names of the chosen.
        count: How many were chosen.
    """

    left_out: Counter[str] = field(default_factory=Counter)
    test_images: Counter[str] = field(default_factory=Counter)
    classes: set[str] = field(default_factory=set)
    count: int = 0


class _Buckets:
    """Candidates on disk, by the first bits of their checksum."""

    def __init__(self, folder: Path, expected_bytes: int) -> None:
        wanted = min(_MOST_BUCKETS, 1 + expected_bytes // _BUCKET_BYTES)
        self._bits = (wanted - 1).bit_length()
        self._folder = folder
        self._waiting: defaultdict[int, list[str]] = defaultdict(list)
        self._size = 0

    def _path(self, number: int) -> Path:
        return self._folder / f"bucket-{number:04d}.jsonl"

    def add(self, candidate: Candidate) -> None:
        """Put one into its bucket."""
        line = to_line(candidate)
        self._waiting[int(candidate.sha256[:8], 16) >> (32 - self._bits)].append(line)
        self._size += len(line)
        if self._size > _WAITING_BYTES:
            self._write()

    def _write(self) -> None:
        for number, lines in self._waiting.items():
            with self._path(number).open("a", encoding="utf-8") as file:
                file.writelines(lines)
        self._waiting.clear()
        self._size = 0

    def ordered(self) -> Iterator[Candidate]:
        """All of them in order; each bucket is removed when it has been read."""
        self._write()
        for number in range(2**self._bits):
            path = self._path(number)
            if path.exists():
                found = sorted(read_lines(path), key=lambda one: (one.sha256, one.key))
                path.unlink()
                yield from found


def choose(
    manifests: Sequence[tuple[str, Path]], recipe: dict[str, Any], tally: Tally, *, scratch: Path
) -> Iterator[Candidate]:
    """Yield the items to pack in their order.

    Copies of one content in several splits stay only in the most protected of them (test, val,
    train, none), also where the corpus takes other splits alone.

    Args:
        manifests: (dataset, manifest) of each.
        recipe: With `splits` (null: all, items of no split with them), `exclude` (full keys, `*`
            for any text), `duplicates` (keep or drop) and `benchmark_test`.
        tally: What is counted on the way.
        scratch: A folder for the buckets.

    Raises:
        UserError: An `exclude` matches nothing, or a line of a manifest is not an item.
    """
    buckets = _Buckets(scratch, sum(path.stat().st_size for _, path in manifests if path.exists()))
    unused = set(recipe["exclude"])
    for dataset, manifest in manifests:
        for item in read_manifest(manifest):
            key = f"{dataset}/{item.key}"
            matches = {one for one in recipe["exclude"] if fnmatch.fnmatchcase(key, one)}
            unused -= matches
            if matches:
                tally.left_out[EXCLUDED] += 1
                continue
            row = (item.sha256, key, item.path, item.bytes, item.label, item.split)
            buckets.add(Candidate(*row))
    if unused:
        raise UserError(f"exclude: {sorted(unused)[0]!r} matches no key (<dataset>/<key>)")
    for _, copies in itertools.groupby(buckets.ordered(), key=lambda one: one.sha256):
        for candidate in _of_copies(list(copies), recipe, tally):
            tally.count += 1
            if candidate.label is not None:
                tally.classes.add(candidate.label)
            yield candidate


def _of_copies(
    copies: list[Candidate], recipe: dict[str, Any], tally: Tally
) -> Iterator[Candidate]:
    """Those to pack of all items that have one content, counting the others."""
    protection = max(_PROTECTION[one.split] for one in copies)
    judged = recipe["benchmark_test"]
    kept = 0
    for one in copies:
        if recipe["splits"] is not None and one.split not in recipe["splits"]:
            continue
        test_image = one.split == "test" and one.dataset in judged["datasets"]
        tally.test_images[one.dataset] += test_image
        if _PROTECTION[one.split] < protection:
            tally.left_out[COPY_ACROSS] += 1
        elif test_image and judged["handling"] == "exclude":
            tally.left_out[TEST_IMAGE] += 1
        elif kept and recipe["duplicates"] == "drop":
            tally.left_out[DUPLICATE] += 1
        else:
            kept += 1
            yield one


def plan_shards(chosen: Iterator[Candidate], shard_bytes: int, folder: Path) -> list[Path]:
    """Cut the order into shards, each a file of lines in the folder.

    A shard has at most `shard_bytes` of source files, or a single one that is larger.
    """
    paths: list[Path] = []
    lines: list[str] = []
    filled = 0

    def close() -> None:
        path = folder / f"shard-{len(paths):05d}.jsonl"
        path.write_text("".join(lines), encoding="utf-8")
        paths.append(path)
        lines.clear()

    for candidate in chosen:
        if lines and filled + candidate.bytes > shard_bytes:
            close()
            filled = 0
        lines.append(to_line(candidate))
        filled += candidate.bytes
    if lines:
        close()
    return paths
