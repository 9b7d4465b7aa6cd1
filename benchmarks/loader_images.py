"""Images for `loader.py`: what all readers do with them, ours, and decoding without any reading."""

import functools
import io
import json
import multiprocessing
import time
from argparse import Namespace
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import simplejpeg
import torch
from PIL import Image
from torch.utils.data import DataLoader
from torchvision import transforms

from workflow_scripts.config import Config
from workflow_scripts.digests import canonical, file_sha256
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.loader.batches import Batches
from workflow_scripts.loader.feed import Feed
from workflow_scripts.loader.order import Order
from workflow_scripts.loader.pixels import seen_image
from workflow_scripts.loader.views import random_view, view_draws
from workflow_scripts.pack.__main__ import work as pack
from workflow_scripts.recipes import pack as pack_recipe
from workflow_scripts.shards.corpus import Corpus

BATCH, SIZE, WORKERS = 64, 224, 2
SHARDS = 8
VIEW = {"scale": (0.2, 1.0), "ratio": (3 / 4, 4 / 3), "flip": True, "rotate": False}

Batch = tuple[torch.Tensor, Any]
Listed = list[tuple[str, str, Path]]  # of each image its key, class and path


def as_documented() -> transforms.Compose:
    """What the peers' guides do with a picture: Pillow's pixels, torchvision's transforms.

    The last step makes (height, width, 3) of it, a view: what all readers deliver.
    """
    return transforms.Compose(
        [
            transforms.RandomResizedCrop(
                SIZE, scale=VIEW["scale"], interpolation=transforms.InterpolationMode.BICUBIC
            ),
            transforms.RandomHorizontalFlip(),
            transforms.PILToTensor(),
            functools.partial(torch.permute, dims=(1, 2, 0)),
        ]
    )


def our_decoder(data: bytes) -> torch.Tensor:
    """The same of encoded bytes, decoded and cropped as our loader does."""
    height, width, *_ = simplejpeg.decode_jpeg_header(data)
    draws = torch.rand(44, dtype=torch.float64).numpy()
    view = random_view(VIEW, draws, width=width, height=height)
    return torch.from_numpy(seen_image(data, view, size=SIZE))


def pil_decoder(data: bytes) -> Image.Image:
    """Pixels of encoded bytes."""
    with Image.open(io.BytesIO(data)) as file:
        return file.convert("RGB")


def write_folder(root: Path, sources: list[Path], count: int) -> Listed:
    """Copies of the images, one folder a class, until there are `count`: key, class, path."""
    listed = []
    for number in range(count):
        source = sources[number % len(sources)]
        name = source.parent.name
        path = root / name / f"{number // len(sources):03d}-{source.name}"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(source.read_bytes())
        listed.append((f"{name}/{path.name}", name, path))
    return sorted(listed)


# Ours


def write_ours(folder: Path, listed: Listed) -> None:
    """A corpus, packed by the project's own stage."""
    items = [
        Item(key=key, path=str(path), sha256=file_sha256(path), bytes=path.stat().st_size,
             label=name, split="train")
        for key, name, path in listed
    ]  # fmt: skip
    write_manifest(folder / "copies.jsonl", items)
    megabytes = max(1, sum(item.bytes for item in items) // SHARDS // 2**20 + 1)
    config = Config.model_validate(
        {
            "all": {"runs": []}, "runs": {},
            "datasets": {"copies": {"kind": "image-folder", "path": str(folder / "images")}},
            "corpora": {"copies": {"datasets": ["copies"], "shard_mb": megabytes}},
        }
    )  # fmt: skip
    recipe = json.loads(canonical(pack_recipe(config, "copies")))
    index = folder / "ours" / "index.json"
    pack(Namespace(index=index, manifests=[folder / "copies.jsonl"], workers=WORKERS), recipe)


def read_ours(folder: Path, *, fed: bool) -> Iterator[Batch]:
    """Our loader, as the trainer has it (`fed`) or in a plain DataLoader.

    Labels come with the numbers of the samples, for the check.
    """
    corpus = Corpus(folder / "ours" / "index.json")
    order = Order(corpus.shard_sizes, batch=BATCH, epochs=1, seed=0, window=None)
    batches = Batches(corpus, order, augment=VIEW, size=SIZE)
    for step, batch in enumerate(handed_over(batches, fed=fed)):
        yield batch["images"], (batch["labels"], order.batch_at(step))


def handed_over(batches: Batches, *, fed: bool) -> Iterable[dict[str, Any]]:
    """Batches through the trainer's feed, or through a plain DataLoader."""
    if fed:
        return Feed(batches, start=0, workers=WORKERS, pin=False)
    return DataLoader(
        batches, sampler=range(len(batches)), batch_size=None, num_workers=WORKERS
    )  # fmt: skip


# No reading at all


def _decode_all(
    images: list[bytes], numbers: np.ndarray, ours: bool, start: Any, done: Any
) -> None:
    """Decode and crop some images into batch after batch, in this process."""
    torch.set_num_threads(1)  # as in a worker of a DataLoader
    out = np.empty((BATCH, SIZE, SIZE, 3), np.uint8)
    sizes = [Image.open(io.BytesIO(data)).size for data in images]
    transform = as_documented()
    means = []
    start.wait()
    began = time.perf_counter()
    for first in range(0, len(numbers), BATCH):
        some = numbers[first : first + BATCH]
        draws = view_draws(some, seed=0, epoch=0) if ours else None
        for slot, number in enumerate(some.tolist()):
            data = images[number % len(images)]
            if draws is None:
                out[slot] = transform(pil_decoder(data)).numpy()
                continue
            width, height = sizes[number % len(images)]
            view = random_view(VIEW, draws[slot], width=width, height=height)
            out[slot] = seen_image(data, view, size=SIZE)
        means.append(out[::8, 100, 100].mean())
    done.put((began, time.perf_counter(), len(numbers), np.mean(means)))


def in_processes(work: Any, arguments: list[tuple[Any, ...]]) -> list[Any]:
    """What `work(*arguments, start, done)` puts into `done` in as many processes."""
    context = multiprocessing.get_context("fork")
    start, done = context.Barrier(len(arguments)), context.Queue()
    processes = [context.Process(target=work, args=(*some, start, done)) for some in arguments]
    for process in processes:
        process.start()
    found = [done.get() for _ in processes]
    for process in processes:
        process.join()
    return found


def decode_limit(sources: list[Path], count: int, *, ours: bool) -> dict[str, float]:
    """Images a second that two plain processes decode and crop from memory, in random order."""
    images = [path.read_bytes() for path in sources]
    numbers = np.random.default_rng(0).permutation(count).astype(np.int64)
    parts = [(images, part, ours) for part in np.array_split(numbers, WORKERS)]
    found = in_processes(_decode_all, parts)
    seconds = max(end for _, end, _, _ in found) - min(began for began, *_ in found)
    mean = float(np.mean([mean for *_, mean in found]))
    return {"rate": count / seconds, "mean": mean, "samples": count}
