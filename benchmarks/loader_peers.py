"""Four readers of encoded images for `loader.py`, each used as its guide says.

Each `write_…` makes the files of a reader, each `read_…` yields batches (images uint8 of 64 × 224 ×
224 × 3, labels) in shuffled order from two workers; with `ours`, our decode and crop take the place
of Pillow's and torchvision's. The label of an image is its number.
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import datasets
import webdataset as wds
from loader_images import BATCH, SHARDS, WORKERS, Batch, Listed, as_documented, our_decoder
from PIL import Image
from streaming import MDSWriter, StreamingDataset
from torch.utils.data import DataLoader
from torchvision.datasets import ImageFolder

datasets.disable_progress_bars()


def read_bytes(path: str) -> bytes:
    """A file."""
    with open(path, "rb") as file:
        return file.read()


def read_image_folder(folder: Path, *, ours: bool) -> Iterable[Batch]:
    """ImageFolder of torchvision in a DataLoader."""
    how = {"loader": read_bytes, "transform": our_decoder} if ours else {
        "transform": as_documented()}  # fmt: skip
    dataset = ImageFolder(str(folder / "images"), **how)
    dataset.samples = [(path, number) for number, (path, _) in enumerate(dataset.samples)]
    return DataLoader(dataset, batch_size=BATCH, shuffle=True, num_workers=WORKERS)


# webdataset


def write_webdataset(folder: Path, listed: Listed) -> None:
    """Tar files of equal numbers of images."""
    (folder / "webdataset").mkdir()
    per_shard = len(listed) // SHARDS
    for shard in range(SHARDS):
        with wds.TarWriter(str(folder / f"webdataset/{shard:03d}.tar")) as tar:
            for number in range(shard * per_shard, (shard + 1) * per_shard):
                data = listed[number][2].read_bytes()
                tar.write({"__key__": f"{number:08d}", "jpg": data, "cls": number})


def read_webdataset(folder: Path, *, ours: bool) -> Iterable[Batch]:
    """Shards in random order, a shuffle buffer of 1000, batches made in the workers."""
    urls = sorted(map(str, (folder / "webdataset").glob("*.tar")))
    dataset = wds.WebDataset(urls, shardshuffle=len(urls)).shuffle(1000)
    if not ours:
        dataset = dataset.decode("pil")
    dataset = dataset.to_tuple("jpg", "cls").map_tuple(
        our_decoder if ours else as_documented(), int
    )
    return wds.WebLoader(dataset.batched(BATCH), batch_size=None, num_workers=WORKERS)


# MosaicML streaming


def write_streaming(folder: Path, listed: Listed) -> None:
    """MDS shards of the default 64 MB, once with images and once with plain bytes."""
    for kind in ("jpeg", "bytes"):
        columns = {"image": kind, "label": "int"}
        with MDSWriter(out=str(folder / f"mds-{kind}"), columns=columns) as out:
            for number, (_, _, path) in enumerate(listed):
                if kind == "bytes":
                    out.write({"image": path.read_bytes(), "label": number})
                else:
                    with Image.open(path) as image:
                        out.write({"image": image, "label": number})


class Pictures(StreamingDataset):
    """Images with a transform, as in the guide."""

    def __init__(self, transform: Any, **options: Any) -> None:
        super().__init__(**options)
        self.transform = transform

    def __getitem__(self, at: int) -> Batch:
        row = super().__getitem__(at)
        return self.transform(row["image"]), row["label"]


def read_streaming(folder: Path, *, ours: bool) -> Iterable[Batch]:
    """A StreamingDataset of a local folder, with its own shuffle."""
    transform = our_decoder if ours else as_documented()
    local = str(folder / ("mds-bytes" if ours else "mds-jpeg"))
    dataset = Pictures(transform, local=local, shuffle=True, batch_size=BATCH)
    return DataLoader(dataset, batch_size=BATCH, num_workers=WORKERS)


# Hugging Face datasets


def _hugging_face(folder: Path) -> Any:
    files = str(folder / "parquet" / "*.parquet")
    cache = str(folder / "parquet-cache")
    return datasets.load_dataset("parquet", data_files=files, split="train", cache_dir=cache)


def write_hugging_face(folder: Path, listed: Listed) -> None:
    """Parquet files with the encoded bytes, and the Arrow cache that the first loading makes."""
    rows = {
        "image": [{"bytes": path.read_bytes(), "path": None} for _, _, path in listed],
        "label": list(range(len(listed))),
    }
    features = datasets.Features({"image": datasets.Image(), "label": datasets.Value("int64")})
    whole = datasets.Dataset.from_dict(rows, features=features)
    (folder / "parquet").mkdir()
    for shard in range(SHARDS):
        part = whole.shard(SHARDS, shard, contiguous=True)
        part.to_parquet(str(folder / f"parquet/{shard:03d}.parquet"))
    _hugging_face(folder)


def read_hugging_face(folder: Path, *, ours: bool) -> Iterator[Batch]:
    """A map-style dataset with a transform, shuffled by the DataLoader."""
    dataset = _hugging_face(folder)
    if ours:
        dataset = dataset.cast_column("image", datasets.Image(decode=False))
    whole = as_documented()

    def transformed(rows: dict[str, list[Any]]) -> dict[str, list[Any]]:
        images = rows["image"]
        seen = [our_decoder(row["bytes"]) for row in images] if ours else [
            whole(image.convert("RGB")) for image in images]  # fmt: skip
        return {"image": seen, "label": rows["label"]}

    loader = DataLoader(
        dataset.with_transform(transformed), batch_size=BATCH, shuffle=True, num_workers=WORKERS
    )
    return ((batch["image"], batch["label"]) for batch in loader)
