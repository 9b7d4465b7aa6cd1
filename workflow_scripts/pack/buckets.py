"""Sort the items of any corpus on disk, by content and key, with bounded memory.

Items are thrown into buckets by the first bits of their checksum, and sorted bucket by bucket. A
bucket that is larger than the others (millions of copies of a blank tile have one checksum) is
sorted in runs that are merged, so that memory holds one run and not the copies.
"""

import heapq
import json
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

_BUCKET_BYTES = 2**20  # some 5,000 items
_MOST_BUCKETS = 4096
_WAITING_BYTES = 2**20  # lines held until they are written
_RUN = 100_000  # items sorted in memory at a time, some 60 MB; 20 million copies make 200 runs


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


def _order(one: Candidate) -> tuple[str, str]:
    return one.sha256, one.key


class Buckets:
    """Candidates on disk, by the first bits of their checksum."""

    def __init__(self, folder: Path, expected_bytes: int) -> None:
        """Use an empty folder for so many bytes of lines, more or less."""
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

    def ordered(self, see: Callable[[Candidate], None]) -> Iterator[Candidate]:
        """All of them in order; each bucket is removed when it has been read.

        Args:
            see: Called with each candidate before any of its content is yielded.
        """
        self._write()
        for number in range(2**self._bits):
            path = self._path(number)
            if path.exists():
                yield from _sorted(path, see)


def _sorted(path: Path, see: Callable[[Candidate], None]) -> Iterator[Candidate]:
    runs: list[Path] = []
    found: list[Candidate] = []
    for one in read_lines(path):
        see(one)
        found.append(one)
        if len(found) == _RUN:
            runs.append(path.with_suffix(f".run-{len(runs)}"))
            with runs[-1].open("w", encoding="utf-8") as file:
                file.writelines(to_line(each) for each in sorted(found, key=_order))
            found = []
    path.unlink()
    found.sort(key=_order)
    yield from heapq.merge(*map(read_lines, runs), found, key=_order)
    for run in runs:
        run.unlink()
