"""Readers of chips for `loader.py`: ours, HDF5 with one chunk a chip, a memory-mapped file.

Each yields batches of 64 × 6 × 128 × 128 uint16 in random order from two workers, several times
through all chips.
"""

import json
import math
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from loader_images import BATCH, WORKERS, handed_over, in_processes
from torch.utils.data import DataLoader, Dataset

from workflow_scripts.digests import file_sha256
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.order import Order
from workflow_scripts.pack.__main__ import work as pack
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.writer import ChipSample, write_chip_shard

SHAPE = (6, 128, 128)
BANDS = [str(band) for band in range(SHAPE[0])]
DAYS = 4

Batch = tuple[torch.Tensor, Any]


def chip(number: int) -> np.ndarray:
    """Random counts of a chip, the same whoever asks; its first one is its number."""
    counts = np.random.default_rng(number).integers(0, 32768, SHAPE, np.uint16)
    counts[0, 0, 0] = number
    return counts


def write_chips(folder: Path, count: int) -> None:
    """The same chips as day files with an index, as chunked HDF5, and as a raw file."""
    raw = np.memmap(folder / "raw.bin", np.uint16, "w+", shape=(count, *SHAPE))
    per_day = count // DAYS
    days = folder / "chips" / "noise"
    for day in range(DAYS):
        samples = []
        for number in range(day * per_day, (day + 1) * per_day):
            raw[number] = chip(number)
            samples.append(
                ChipSample(
                    key=str(number), counts=raw[number], scale=np.ones(6), offset=np.zeros(6)
                )
            )
        path = days / f"2026-01-0{day + 1}.h5"
        write_chip_shard(
            path, samples, bands=BANDS, size=SHAPE[1], attributes={"quantity": "counts"}
        )
        row = {"file": path.name, "sha256": file_sha256(path), "count": per_day}
        tile = {"dataset": "noise", "synthetic": True, "shard": row}
        path.with_suffix(".json").write_text(json.dumps(tile))
    with h5py.File(folder / "chunked.h5", "w") as file:
        chunked = file.create_dataset(
            "counts", shape=(count, *SHAPE), dtype=np.uint16, chunks=(1, *SHAPE)
        )
        for number in range(count):
            chunked[number] = raw[number]
    recipe = {
        "corpus": "noise", "kind": "chips", "datasets": ["noise"], "synthetic": True,
        "days": {"noise": f"2026-01-01/2026-01-0{DAYS}"},
    }  # fmt: skip
    index = folder / "ours-chips" / "index.json"
    arguments = Namespace(
        index=index, manifests=None, chips_root=folder / "chips", workers=WORKERS
    )  # fmt: skip
    pack(arguments, recipe)


class Source:
    """Where chips are read from; opened where it is first used, in a worker."""

    def __init__(self, path: Path, *, count: int) -> None:
        self.path, self.count = path, count
        self.opened: Any = None

    def open(self) -> Any:
        """What `read` reads from."""
        raise NotImplementedError

    def array(self) -> Any:
        """The chips, not in memory."""
        if self.opened is None:
            self.opened = self.open()
        return self.opened

    def read(self, number: int, out: np.ndarray) -> None:
        """Put a chip in its place."""
        out[:] = self.array()[number]


class Memmap(Source):
    """A memory-mapped raw file: reading is memcpy."""

    def open(self) -> np.memmap:
        """The file's array."""
        return np.memmap(self.path, np.uint16, "r", shape=(self.count, *SHAPE))


class Chunked(Source):
    """HDF5 through h5py, one chunk a chip."""

    def open(self) -> h5py.Dataset:
        """The dataset."""
        return h5py.File(self.path, "r")["counts"]

    def read(self, number: int, out: np.ndarray) -> None:
        """Put a chip in its place, without an array in between."""
        self.array().read_direct(out, np.s_[number])


class Items(Dataset[Batch]):
    """One chip an item, as one writes it: torch collates."""

    def __init__(self, source: Source, *, epochs: int) -> None:
        self.source, self.epochs = source, epochs

    def __len__(self) -> int:
        return self.source.count * self.epochs

    def __getitem__(self, item: int) -> Batch:
        number = item % self.source.count
        return torch.from_numpy(np.array(self.source.array()[number])), number


class WholeBatches(Dataset[Batch]):
    """One batch an item, of chips drawn before, in shared memory as default_collate makes it."""

    def __init__(self, source: Source, *, epochs: int) -> None:
        rng = np.random.default_rng(0)
        numbers = [rng.permutation(source.count) for _ in range(epochs)]
        self.source, self.numbers = source, np.concatenate(numbers).reshape(-1, BATCH)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, step: int) -> Batch:
        shape = (BATCH, *SHAPE)
        storage = torch.UntypedStorage._new_shared(math.prod(shape) * 2)
        images = torch.empty(0, dtype=torch.uint16).set_(storage, 0, shape)
        out = images.numpy()
        for slot, number in enumerate(self.numbers[step].tolist()):
            self.source.read(number, out[slot])
        return images, self.numbers[step]


def read_items(source: Source, *, epochs: int) -> Iterable[Batch]:
    """Chips in random order, collated by the DataLoader."""
    dataset = Items(source, epochs=epochs)
    return DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS)


def read_batches(source: Source, *, epochs: int) -> Iterable[Batch]:
    """Batches in an order drawn before."""
    dataset = WholeBatches(source, epochs=epochs)
    return DataLoader(
        dataset, sampler=range(len(dataset)), batch_size=None, num_workers=WORKERS
    )  # fmt: skip


def read_ours(folder: Path, *, epochs: int, fed: bool) -> Iterator[Batch]:
    """Our loader, uncropped, every chip compared with its checksum."""
    corpus = Corpus(folder / "ours-chips" / "index.json")
    order = Order(corpus.shard_sizes, batch=BATCH, epochs=epochs, seed=0, window=None)
    batches = Batches(corpus, order, augment=None, size=SHAPE[1])
    for step, batch in enumerate(handed_over(batches, fed=fed)):
        yield batch["images"], order.batch_at(step)


# No hand-over at all


def _copy_all(source: Source, numbers: np.ndarray, start: Any, done: Any) -> None:
    """Copy chips into one and the same batch, in this process."""
    out = np.empty((BATCH, *SHAPE), np.uint16)
    for slot in range(BATCH):  # its pages are there when the clock starts
        source.read(slot, out[slot])
    start.wait()
    began = time.perf_counter()
    for place, number in enumerate(numbers.tolist()):
        source.read(number, out[place % BATCH])
    done.put((began, time.perf_counter()))


def copy_limit(source: Source, *, epochs: int) -> dict[str, float]:
    """Chips a second that two plain processes copy, in random order, handing over nothing."""
    rng = np.random.default_rng(0)
    numbers = np.concatenate([rng.permutation(source.count) for _ in range(epochs)])
    found = in_processes(_copy_all, [(source, part) for part in np.array_split(numbers, WORKERS)])
    seconds = max(end for _, end in found) - min(began for began, _ in found)
    return {"rate": len(numbers) / seconds, "mean": 0.0, "samples": len(numbers)}
