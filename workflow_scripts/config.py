"""The configuration: its models are the only place that knows defaults.

This is the whole and the small parts; datasets, runs and benchmarks are in `config_data`,
`config_runs` and `config_benchmarks`.
`docs/config.md` and `docs/config.schema.json` are generated from them (`config_docs`), and
`recipes` turns them into the plain recipes that stages take.
"""

import os

from pydantic import Field, field_validator

from workflow_scripts.config_base import Model, Name, Positive
from workflow_scripts.config_benchmarks import Benchmark
from workflow_scripts.config_data import Corpus, Dataset
from workflow_scripts.config_runs import Run
from workflow_scripts.config_sources import Transfer
from workflow_scripts.config_studies import Energy, Machine, Plan, Study
from workflow_scripts.config_weights import Weights


class Paths(Model):
    """Where files go; relative paths start at the folder Snakemake runs in."""

    data: str = Field("data", description="raw data, manifests, chips and shards")
    results: str = Field("results", description="runs, probes, figures and the report")

    @field_validator("data", "results")
    @classmethod
    def _plain(cls, path: str) -> str:
        return os.path.normpath(path)  # Snakemake knows files by their names: x and ./x differ


class All(Model):
    """What `snakemake all` makes."""

    runs: list[Name] = Field(description="names of runs")
    benchmarks: list[Name] = Field([], description="names of benchmarks")
    studies: list[Name] = Field([], description="names of scaling studies")
    plans: list[Name] = Field([], description="names of plans")


class Report(Model):
    """The report."""

    title: str = Field("Orbweaver", description="heading of the page")
    samples_per_class: Positive = Field(4, description="sample images a class")
    arp_baseline: str | None = Field(
        None,
        description="encoder over whose scores the mean relative gain of the others (ARP) is told",
    )


class Config(Model):
    """The whole configuration."""

    name: Name = Field("sample", description="name of this experiment")
    paths: Paths = Field(Paths(), description="where files go")
    all: All = Field(description="what `snakemake all` makes")
    transfer: Transfer = Field(Transfer(), description="how files are downloaded")
    datasets: dict[Name, Dataset] = Field(description="sources of images or granules, by name")
    corpora: dict[Name, Corpus] = Field(description="what models are pretrained on, by name")
    weights: dict[Name, Weights] = Field(
        {}, description="pretrained weights from elsewhere, by name"
    )
    runs: dict[Name, Run] = Field(description="pretrainings, by name")
    benchmarks: dict[Name, Benchmark] = Field({}, description="labelled judges, by name")
    studies: dict[Name, Study] = Field({}, description="scaling studies, by name")
    machines: dict[Name, Machine] = Field({}, description="machines to plan for, by name")
    plans: dict[Name, Plan] = Field({}, description="what pretrainings would take, by name")
    energy: Energy = Field(Energy(), description="what energy means for the climate")
    report: Report = Field(Report(), description="the report")
