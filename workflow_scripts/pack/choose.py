"""Which items of the manifests a corpus holds, in a mixed lasting order, with bounded memory.

Items are ordered by (sha256 of the content, full key): a shard, or a window of a few, is then a
fair sample of the corpus, replacing an image leaves the others where they are, and copies of an
image lie next to each other. They are sorted on disk, see `buckets`.
"""

import fnmatch
import re
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import read_manifest, sha256_here
from workflow_scripts.pack.buckets import Buckets, Candidate, to_line
from workflow_scripts.split.table import judged_items

# The more protected split keeps its images: what a model is judged by must not be trained on.
_PROTECTION = {None: 0, "train": 1, "val": 2, "test": 3}

EXCLUDED = "excluded by key"
COPY_ACROSS = "copy of an image of a more protected split"
TEST_IMAGE = "test image of a benchmark"
DUPLICATE = "duplicate"


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


@dataclass(slots=True)
class _Content:
    """What all items of one content say together."""

    protection: int = 0  # the highest of them
    judged: set[str] = field(default_factory=set)  # keys of those that are test images
    kept: int = 0


def choose(
    manifests: Sequence[tuple[str, Path]],
    recipe: dict[str, Any],
    tally: Tally,
    *,
    scratch: Path,
    judged: Mapping[str, Path] | None = None,
) -> Iterator[Candidate]:
    """Yield the items to pack in their order.

    Copies of one content in several splits stay only in the most protected of them (test, val,
    train, none), and none stays where one is a test image of a benchmark that is to be left out.
    All items of the manifests have a say in that: those that `exclude` names, and those of splits
    that the corpus does not take. So have all test images of the benchmarks' own splits.

    Args:
        manifests: (dataset, manifest) of each.
        recipe: With `splits` (null: all, items of no split with them), `exclude` (full keys, `*`
            for any text), `duplicates` (keep or drop), `across_splits` (protect, or keep copies of
            one content in several splits) and `benchmark_test` (`handling`: exclude or keep;
            `benchmarks`: the dataset of each).
        tally: What is counted on the way.
        scratch: A folder for the buckets.
        judged: The table of splits of each of these benchmarks.

    Raises:
        UserError: An `exclude` matches nothing, a line of a manifest is not an item, or a table is
            missing.
    """
    judged = judged or {}
    read = [*(path for _, path in manifests), *judged.values()]
    buckets = Buckets(scratch, sum(path.stat().st_size for path in read if path.exists()))
    unused = {one: re.compile(_pattern(one)) for one in recipe["exclude"]}
    excluded = re.compile("|".join(map(_pattern, recipe["exclude"])) or r"(?!)")  # none: nothing
    for dataset, manifest in manifests:
        for item in read_manifest(manifest):
            key = f"{dataset}/{item.key}"
            unused = {one: found for one, found in unused.items() if not found.match(key)}
            content = sha256_here(item, manifest)
            row = (content, key, item.path, item.bytes, item.label, item.split)
            buckets.add(Candidate(*row))
    for benchmark, dataset in recipe["benchmark_test"]["benchmarks"].items():
        for key, sha256 in judged_items(judged[benchmark]):
            buckets.add(_mark(sha256, f"{dataset}/{key}"))
    if unused:
        raise UserError(f"exclude: {sorted(unused)[0]!r} matches no key (<dataset>/<key>)")
    contents: defaultdict[str, _Content] = defaultdict(_Content)

    def see(one: Candidate) -> None:
        content = contents[one.sha256]
        if _is_mark(one):
            content.judged.add(one.key)
        elif recipe["across_splits"] == "protect":
            content.protection = max(content.protection, _PROTECTION[one.split])

    before = ""
    for one in buckets.ordered(see):
        if one.sha256 != before:
            contents.pop(before, None)
            before = one.sha256
        if _is_mark(one):
            continue
        if excluded.match(one.key):
            tally.left_out[EXCLUDED] += 1
        elif _is_chosen(one, contents[one.sha256], recipe, tally):
            tally.count += 1
            if one.label is not None:
                tally.classes.add(one.label)
            yield one


def _pattern(text: str) -> str:
    """What matches keys as `exclude` promises: `*` stands for any text, all else for itself."""
    return fnmatch.translate(re.sub(r"([\[?])", r"[\1]", text))


def _mark(sha256: str, key: str) -> Candidate:
    """Among the candidates: what says that an image, and so its content, judges encoders."""
    return Candidate(sha256, key, "", 0, None, None)


def _is_mark(one: Candidate) -> bool:
    return not one.path


def _is_chosen(one: Candidate, content: _Content, recipe: dict[str, Any], tally: Tally) -> bool:
    """Whether an item is to be packed; if not, the reason is counted."""
    if recipe["splits"] is not None and one.split not in recipe["splits"]:
        return False
    tally.test_images[one.dataset] += one.key in content.judged
    if _PROTECTION[one.split] < content.protection:
        tally.left_out[COPY_ACROSS] += 1
    elif content.judged and recipe["benchmark_test"]["handling"] == "exclude":
        tally.left_out[TEST_IMAGE] += 1
    elif content.kept and recipe["duplicates"] == "drop":
        tally.left_out[DUPLICATE] += 1
    else:
        content.kept += 1
        return True
    return False


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
