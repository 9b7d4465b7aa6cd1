"""Models of the configuration: datasets and corpora, with their defaults."""

import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from workflow_scripts.config_base import Model, Name, Positive, Share, SplitName


def _day(text: str) -> str:
    return datetime.date.fromisoformat(text).isoformat()


def _each_once(days: list[str]) -> list[str]:
    if len(set(days)) < len(days):
        raise ValueError("a day stands twice")
    return days


Date = Annotated[str, StringConstraints(pattern=r"^\d{4}-\d{2}-\d{2}$"), AfterValidator(_day)]


class Split(Model):
    """How the images of a folder are divided."""

    by: Literal["fraction", "folder", "none"] = Field(
        "none",
        description="`fraction`: at random, by class; `folder`: from a first level of folders "
        "named train, val, test; `none`: no split",
    )
    train: Share = Field(0.8, description="share for training (by: fraction)")
    val: Share = Field(0.0, description="share for validation (by: fraction)")
    test: Share = Field(0.2, description="share for the final test (by: fraction)")
    seed: int = Field(0, description="seed of the division (by: fraction)")

    @model_validator(mode="after")
    def _sum(self) -> "Split":
        total = self.train + self.val + self.test
        if self.by == "fraction" and total > 1 + 1e-9:
            raise ValueError(
                f"train + val + test is {total:g}; it must be at most 1 "
                f"(train {self.train:g}, val {self.val:g}, test {self.test:g})"
            )
        return self


class Tile(Model):
    """How granules are cut into chips."""

    bands: list[str] = Field(
        ["6", "7", "20", "28", "29", "31"], description="MODIS bands, in channel order"
    )
    size: Positive = Field(128, description="chip height and width, pixels")
    stride: Positive = Field(128, description="distance between chips, pixels")
    max_missing: Share = Field(0.0, description="largest share of invalid pixels in a kept chip")
    quantity: Literal["radiance", "reflectance", "counts"] = Field(
        "radiance", description="what scale and offset turn the stored counts into"
    )
    max_broken_granules: Share = Field(
        0.5, description="largest share of unreadable granules before the day fails"
    )


class DatasetBase(Model):
    """What all datasets have."""

    label: str = Field("", description="name in the report; the key if empty")


class ImageFolder(DatasetBase):
    """Images on disk, one folder a class: `<path>/<class>/<image>`."""

    kind: Literal["image-folder"] = "image-folder"
    path: str = Field(description="the folder; read only, nothing is copied")
    obtain: str = Field(
        "", description="where the data can be had; shown when the folder is missing"
    )
    split: Split = Field(Split(), description="division into train, val and test")
    rescan: int = Field(
        0,
        description="raise by one to have a folder of more than 100,000 files looked at again "
        "(smaller ones are compared by path, size and mtime at every start)",
    )


class SampleScenes(DatasetBase):
    """Synthetic aerial scenes, generated: classes differ in spatial structure, not in colour."""

    kind: Literal["sample-scenes"]
    image_size: Positive = Field(96, description="height and width, pixels")
    train_per_class: Positive = Field(40, description="training images a class")
    test_per_class: Positive = Field(20, description="test images a class")
    seed: int = Field(0, description="seed of the scenes")


class SampleModis(DatasetBase):
    """Synthetic MODIS Level-1B granules, generated as true HDF4 files."""

    kind: Literal["sample-modis"]
    dates: Annotated[list[Date], AfterValidator(_each_once)] = Field(
        ["2026-01-01"], min_length=1, description="days, as YYYY-MM-DD"
    )
    granules: Positive = Field(4, description="granules a day")
    lines: Positive = Field(400, multiple_of=10, description="scan lines of a granule")
    pixels: Positive = Field(520, description="pixels of a scan line")
    seed: int = Field(0, description="seed of the scenes")
    tile: Tile = Field(Tile(), description="how granules are cut into chips")


Dataset = Annotated[ImageFolder | SampleScenes | SampleModis, Field(discriminator="kind")]


class Corpus(Model):
    """What a model is pretrained on: datasets packed into shards."""

    label: str = Field("", description="name in the report; the key if empty")
    datasets: list[Name] = Field(min_length=1, description="names of datasets, all of one kind")
    splits: list[SplitName] | None = Field(None, description="only these splits; null takes all")
    exclude: list[str] = Field(
        [], description="keys of images to leave out, `<dataset>/<key>`; `*` stands for any text"
    )
    max_side: Positive | None = Field(
        None, description="images whose shorter side is longer are scaled down to this; null: never"
    )
    quality: Annotated[int, Field(ge=1, le=100)] = Field(
        95, description="JPEG quality of images that have to be encoded again"
    )
    shard_mb: Positive = Field(1024, description="size at which a new shard begins, MB")
    max_set_aside: Share = Field(
        0.01, description="largest share of unreadable images before packing fails"
    )
