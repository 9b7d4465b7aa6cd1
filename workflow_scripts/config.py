"""The configuration: its models are the only place that knows defaults.

This is the whole and the small parts; datasets and runs are in `config_data` and `config_runs`.
`docs/config.md` and `docs/config.schema.json` are generated from them (`config_docs`), and
`recipes` turns them into the plain recipes that stages take.
"""

import os
from typing import Annotated, Literal

from pydantic import Field, field_validator

from workflow_scripts.config_base import Model, Name, Positive, Share
from workflow_scripts.config_data import Corpus, Dataset, ImagePacking
from workflow_scripts.config_runs import Run
from workflow_scripts.config_weights import Weights


class Paths(Model):
    """Where files go; relative paths start at the folder Snakemake runs in."""

    data: str = Field("data", description="raw data, manifests, chips and shards")
    results: str = Field("results", description="runs, probes, figures and the report")

    @field_validator("data", "results")
    @classmethod
    def _plain(cls, path: str) -> str:
        return os.path.normpath(path)  # Snakemake knows files by their names: x and ./x differ


class Benchmark(ImagePacking):
    """A labelled dataset that judges encoders."""

    label: str = Field("", description="name in the report; the key if empty")
    dataset: Name = Field(description="name of a labelled dataset with train and test split")
    runs: list[Name] = Field(description="runs to probe")
    protocol: Literal["linear"] = Field("linear", description="logistic regression on features")
    pooling: Literal["mean", "class", "mean+class"] = Field(
        "mean", description="mean of patches, class token, or both"
    )
    normalisation: Literal["standardize", "l2", "none"] = Field(
        "standardize", description="of the features, fitted on the training split"
    )
    layers: Positive = Field(1, description="last blocks whose features are joined")
    image_size: Positive | None = Field(None, description="pixels; null: the encoder's own")
    strengths: list[Annotated[float, Field(gt=0)]] = Field(
        [0.001, 0.01, 0.1, 1.0, 10.0],
        min_length=1,
        description="inverse regularisation strengths to choose from",
    )
    holdout: Annotated[float, Field(gt=0, lt=1)] = Field(
        0.2, description="share of the training split on which the strength is chosen"
    )
    seeds: list[int] = Field([0, 1, 2], min_length=1, description="seeds of probe and floor")
    max_set_aside: Share = Field(0.0, description="largest share of unreadable images")


class All(Model):
    """What `snakemake all` makes."""

    runs: list[Name] = Field(description="names of runs")
    benchmarks: list[Name] = Field([], description="names of benchmarks")


class Report(Model):
    """The report."""

    title: str = Field("Orbweaver", description="heading of the page")
    samples_per_class: Positive = Field(4, description="sample images a class")


class Config(Model):
    """The whole configuration."""

    name: Name = Field("sample", description="name of this experiment")
    paths: Paths = Field(Paths(), description="where files go")
    all: All = Field(description="what `snakemake all` makes")
    datasets: dict[Name, Dataset] = Field(description="sources of images or granules, by name")
    corpora: dict[Name, Corpus] = Field(description="what models are pretrained on, by name")
    weights: dict[Name, Weights] = Field(
        {}, description="pretrained weights from elsewhere, by name"
    )
    runs: dict[Name, Run] = Field(description="pretrainings, by name")
    benchmarks: dict[Name, Benchmark] = Field({}, description="labelled judges, by name")
    report: Report = Field(Report(), description="the report")
