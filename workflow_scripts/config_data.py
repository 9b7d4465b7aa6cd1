"""Models of the configuration: datasets and corpora, with their defaults."""

from typing import Annotated, Literal

from pydantic import AfterValidator, Field, model_validator

from workflow_scripts.config_base import (
    DatasetBase,
    Model,
    Name,
    Positive,
    Share,
    SplitName,
    each_once,
)
from workflow_scripts.config_modis import ModisL1b, SampleModis
from workflow_scripts.config_sources import Below, Expected, Parquet, Sourced


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


_PATH = (
    "the {what}, on disk; read only, nothing is copied; null: `source` or the catalogue says where "
    "to fetch it from, into data/raw/<dataset>, where files put by hand are found too"
)


class Images(Sourced):
    """What datasets of images have."""

    root: Below | None = Field(
        None,
        description="folder inside the path, or inside the archives, below which the images' paths "
        "begin; null: the top, or as the catalogue says",
    )
    parquet: Parquet | None = Field(None, description="columns, where the files are parquet")
    expected: Expected | None = Field(
        None, description="what it should hold, compared when it is fetched; null: unknown"
    )


class ImageFolder(Images):
    """Images on disk or fetched, one folder a class: `<path>/<class>/<image>`."""

    kind: Literal["image-folder"] = "image-folder"
    path: str | None = Field(None, description=_PATH.format(what="folder, or a zip or tar of it"))
    obtain: str = Field(
        "", description="where the data can be had; shown when the folder is missing"
    )
    split: Split = Field(Split(), description="division into train, val and test")
    rescan: int = Field(
        0,
        description="raise by one to have a folder of more than 100,000 files looked at again "
        "(smaller ones are compared by path, size and mtime at every start)",
    )


class ImageList(Images):
    """Images on disk or fetched with their labels in a table: one label each, or several.

    The table is a CSV with the columns `path` (relative to the folder) and `label`, or `labels`
    (several, separated by `;`), and `split` (train, val, test or empty) if it has one; others are
    ignored.
    """

    kind: Literal["image-list"]
    path: str | None = Field(None, description=_PATH.format(what="folder, or a zip or tar of it"))
    list: str = Field(description="the CSV; its images alone are of the dataset")
    obtain: str = Field(
        "", description="where the data can be had; shown when folder or list is missing"
    )
    rescan: int = Field(
        0,
        description="raise by one to have a folder of more than 100,000 files looked at again "
        "(smaller ones, and the list, are compared at every start)",
    )


class Files(Images):
    """Files that nothing reads yet: fetched, verified, unpacked where that is needed, and listed.

    No corpus and no benchmark takes them.
    """

    kind: Literal["files"]
    path: str | None = Field(None, description=_PATH.format(what="folder, or a zip or tar of it"))
    obtain: str = Field("", description="where the data can be had; shown when it is missing")
    rescan: int = Field(0, description="raise by one to have more than 100,000 files compared")


class SampleScenes(DatasetBase):
    """Synthetic aerial scenes, generated: classes differ in spatial structure, not in colour."""

    kind: Literal["sample-scenes"]
    image_size: Positive = Field(96, description="height and width, pixels")
    train_per_class: Positive = Field(40, description="training images a class")
    test_per_class: Positive = Field(20, description="test images a class")
    seed: int = Field(0, description="seed of the scenes")


class DateSplit(Model):
    """How labelled chips are divided: whole days (UTC), drawn by a hash of (seed, day)."""

    train: Share = Field(0.8, description="share of the days for training")
    val: Share = Field(0.0, description="share of the days for validation")
    test: Share = Field(0.2, description="share of the days for the final test")
    seed: int = Field(0, description="seed of the division")

    @model_validator(mode="after")
    def _sum(self) -> "DateSplit":
        total = self.train + self.val + self.test
        if total > 1 + 1e-9:
            raise ValueError(f"train + val + test is {total:g}; it must be at most 1")
        return self


class Aicca(Sourced):
    """Cloud classes of the atlas AICCA (arXiv 2209.15096), joined with chips by time and place.

    A benchmark's dataset. Its files (netCDF, parquet or CSV) have a row a chip with the columns
    Label, Timestamp, lat, lon and platform.
    """

    kind: Literal["aicca"]
    path: str | None = Field(
        None,
        description=_PATH.format(what="file of labels (.nc, .parquet, .csv), or folder of them"),
    )
    obtain: str = Field("", description="where the labels can be had; shown when they are missing")
    chips: list[Name] = Field(
        min_length=1, description="names of the MODIS datasets whose chips the labels are for"
    )
    max_distance_km: float = Field(
        5.0, gt=0, le=1000, description="largest distance between a row and the centre of its chip"
    )
    max_minutes: float = Field(
        2.5, ge=0, le=720, description="largest time between a row and the start of the granule"
    )
    split: DateSplit = Field(DateSplit(), description="division into train, val and test, by day")


Dataset = Annotated[
    ImageFolder | ImageList | Files | SampleScenes | SampleModis | ModisL1b | Aicca,
    Field(discriminator="kind"),
]


def _low_first(pair: tuple[float, float]) -> tuple[float, float]:
    if not pair[0] < pair[1]:
        raise ValueError(f"expected two numbers, the smaller first, not {list(pair)}")
    return pair


class ImagePacking(Model):
    """How images are packed, for pretraining and for a benchmark alike."""

    duplicates: Literal["keep", "drop"] = Field(
        "keep",
        description="files of the same content: keep all of them, or drop all but the first by "
        "key; copies in several splits stay only in the most protected one (test, val, train)",
    )
    bands: tuple[Positive, Positive, Positive] | None = Field(
        None,
        description="numbers (from 1) of the bands that become red, green and blue, of TIFF files "
        "with two or more than three that are not colours and alpha; null: those are set aside",
    )
    value_range: Annotated[tuple[float, float], AfterValidator(_low_first)] | None = Field(
        None,
        description="values that become 0 and 255, of pixels with more than 8 bits (others are cut "
        "off); null: 16 bits without sign keep their whole range, all else is set aside",
    )


class Corpus(ImagePacking):
    """What a model is pretrained on: datasets packed into shards."""

    label: str = Field("", description="name in the report; the key if empty")
    datasets: Annotated[list[Name], AfterValidator(each_once)] = Field(
        min_length=1, description="names of datasets, all of one kind"
    )
    splits: Annotated[list[SplitName], Field(min_length=1)] | None = Field(
        None, description="only these splits; null takes all"
    )
    exclude: list[str] = Field(
        [],
        description="keys of image files to leave out, `<dataset>/<key>`; `*` stands for any text",
    )
    max_side: Positive | None = Field(
        None,
        description="images whose shorter side is longer are too large, pixels; null: none is, but "
        "those above 33,554,432 pixels are set aside",
    )
    large: Literal["scale", "tile"] = Field(
        "scale",
        description="what becomes of images that are too large: `scale` their shorter side to "
        "max_side, or `tile` them into squares of max_side",
    )
    benchmark_test: Literal["exclude", "keep"] = Field(
        "exclude",
        description="test images of a dataset that a benchmark uses too: leave them out with all "
        "their copies, or keep them (the report says so)",
    )
    quality: Annotated[int, Field(ge=1, le=100)] = Field(
        95, description="JPEG quality of images that have to be encoded again"
    )
    shard_mb: Positive = Field(
        1024, description="size of the source files at which a new shard begins, MB"
    )
    max_set_aside: Share = Field(
        0.01, description="largest share of unreadable images before packing fails"
    )

    @model_validator(mode="after")
    def _tiles_have_a_size(self) -> "Corpus":
        if self.large == "tile" and self.max_side is None:
            raise ValueError("large is tile, but max_side, the size of a tile, is not set")
        return self
