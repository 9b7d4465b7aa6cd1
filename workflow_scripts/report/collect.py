"""Read every result that the page shows; what was optional and is missing becomes None."""

import csv
import json
import zipfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts import dates
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_object
from workflow_scripts.provenance import read_provenance
from workflow_scripts.report.days import MOST_SINGLE_DAYS, DaySums, sum_days, sum_manifests
from workflow_scripts.report.plan_data import PlanData, read_plan
from workflow_scripts.report.probe_data import ProbeData, read_probe, result_paths
from workflow_scripts.results import provenance_path
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.study.points import StudyData, read_study

Json = dict[str, Any]


@dataclass(frozen=True, kw_only=True)
class CorpusData:
    """A packed corpus: its index, and the shards behind it for sample pictures."""

    name: str
    label: str
    index: Json
    samples: Corpus
    cut_from: list[str]  # its datasets that have days of granules
    # Its datasets whose test images benchmarks use too, with the benchmarks' labels.
    judged: dict[str, list[str]] = field(default_factory=dict)

    @property
    def synthetic(self) -> bool:
        """Whether any dataset of it is generated."""
        return bool(self.index["synthetic"])


@dataclass(frozen=True, kw_only=True)
class RunData:
    """One pretraining: what the exporter left in its folder."""

    name: str
    label: str
    objective: str
    pinned: bool
    summary: Json
    model: Json
    history: list[Json]
    power: list[Json]
    pictures: dict[str, NDArray[Any]]
    facts: Json | None
    digests: Json

    @property
    def synthetic(self) -> bool:
        """Whether it was trained on generated data."""
        return bool(self.summary["synthetic"])


@dataclass(frozen=True, kw_only=True)
class Record:
    """One row of Snakemake's record of a job; None where it recorded nothing."""

    stage: str
    job: str
    seconds: float | None
    peak_mb: float | None
    cpu_seconds: float | None


@dataclass(frozen=True, kw_only=True)
class Collected:
    """Everything the page is made of."""

    recipe: Json
    manifests: list[tuple[Json, Json]] = field(default_factory=list)  # (dataset entry, sums)
    days: DaySums = field(default_factory=lambda: DaySums(by_day=True))
    corpora: list[CorpusData] = field(default_factory=list)
    runs: list[RunData] = field(default_factory=list)
    probes: list[ProbeData] = field(default_factory=list)
    studies: list[StudyData] = field(default_factory=list)
    plans: list[PlanData] = field(default_factory=list)
    records: list[Record] = field(default_factory=list)
    provenances: list[Json] = field(default_factory=list)


def made_by(result: Path) -> Json | None:
    """The provenance of a result, or None if there is none."""
    path = provenance_path(result)
    return read_provenance(path) if path.is_file() else None


def read_history(path: Path) -> list[Json]:
    """The lines of a run's `history.jsonl` or `power.jsonl`.

    Raises:
        UserError: No such file, or a line that is not a JSON object.
    """
    if not path.is_file():
        raise UserError(f"{path}: no such file; export the run before the report is made")
    rows = []
    for number, line in enumerate(path.read_bytes().splitlines(), 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise UserError(
                f"{path} line {number}: not JSON ({error}); export the run again"
            ) from None
        if not isinstance(row, dict):
            raise UserError(
                f"{path} line {number}: expected an object, found {line[:40].decode()!r}"
            )
        rows.append(row)
    return rows


def read_pictures(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a run's `reconstructions.npz`; empty where there are no rows.

    Raises:
        UserError: No such file, or not one of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            pictures = {name: arrays[name] for name in ("input", "prediction", "mask", "keys")}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; export the run again") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not reconstructions ({error}); export the run again") from None
    return pictures if len(pictures["input"]) else {}


def _number(text: str | None) -> float | None:
    """A number of a record; Snakemake writes `NA` or `-` where it measured nothing."""
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if np.isfinite(value) else None


def read_records(folder: Path, names: set[str]) -> list[Record]:
    """Snakemake's records of jobs of these names (datasets, runs, …), in the order of stages."""
    order = [
        "fetch", "tile", "split", "pack", "weights", "pretrain", "export", "snapshot", "features",
        "probe", "finetune",
    ]  # fmt: skip
    records = []
    for file in sorted(folder.rglob("*.tsv")):
        stage, *rest = file.relative_to(folder).with_suffix("").parts
        if not rest or rest[0] not in names:
            continue  # of another configuration
        with file.open(encoding="utf-8", newline="") as text:
            for row in csv.DictReader(text, delimiter="\t"):
                records.append(
                    Record(
                        stage=stage,
                        job=" / ".join(rest),
                        seconds=_number(row.get("s")),
                        peak_mb=_number(row.get("max_rss")),
                        cpu_seconds=_number(row.get("cpu_time")),
                    )
                )
    return sorted(
        records, key=lambda r: (order.index(r.stage) if r.stage in order else len(order), r.job)
    )


def _run(entry: Json, results: Path, digests: Json) -> RunData:
    folder = results / "runs" / entry["name"]
    return RunData(
        name=entry["name"],
        label=entry["label"],
        objective=entry["objective"],
        pinned=bool(entry["pinned"]),
        summary=read_object(folder / "summary.json", synthetic=bool, steps=int),
        model=read_object(folder / "model.json"),
        history=read_history(folder / "history.jsonl"),
        power=read_history(folder / "power.jsonl"),
        pictures=read_pictures(folder / "reconstructions.npz"),
        facts=made_by(folder / "summary.json"),
        digests=digests.get(entry["name"]) or {},
    )


def _corpus(entry: Json, data: Path) -> CorpusData:
    path = data / "shards" / entry["name"] / "index.json"
    samples = Corpus(path)
    return CorpusData(
        name=entry["name"], label=entry["label"], index=samples.index, samples=samples,
        cut_from=entry["cut_from"], judged=entry.get("judged", {}),
    )  # fmt: skip


def collect(recipe: Json, *, results: Path, data: Path, records: Path) -> Collected:
    """Read everything a report recipe names.

    Raises:
        UserError: A required result is missing or unreadable.
    """
    days = {name: dates.expand(ranges) for name, ranges in recipe["days"].items()}
    manifests, paths = [], []
    for entry in recipe["datasets"]:
        name = entry["name"]
        parts = [f"{name}/{day}" for day in days.get(name, [])] or [name]
        found = [data / "manifests" / f"{part}.json" for part in parts]
        paths += found
        manifests.append((entry, sum_manifests(found)))
    tiles = [data / "chips" / name / f"{day}.json" for name in days for day in days[name]]
    single = len({day for found in days.values() for day in found}) <= MOST_SINGLE_DAYS
    for entry in recipe["corpora"]:
        paths.append(data / "shards" / entry["name"] / "index.json")
    for entry in recipe["probes"]:
        paths += result_paths(entry, results)
    for kind, folder in (("studies", "scaling"), ("plans", "plans")):
        paths += [results / folder / f"{entry['name']}.json" for entry in recipe[kind]]
    pins = recipe.get("digests", {}).get("runs", {})
    runs = [_run(entry, results, pins) for entry in recipe["runs"]]
    paths += tiles + [results / "runs" / run.name / "summary.json" for run in runs]
    kinds = ("datasets", "corpora", "runs", "benchmarks", "studies", "plans")
    names = {entry["name"] for kind in kinds for entry in recipe[kind]}
    names |= {entry["encoder"] for entry in recipe["probes"]}
    made = [made_by(path) for path in paths]
    return Collected(
        recipe=recipe,
        manifests=manifests,
        days=sum_days(tiles, by_day=single),
        corpora=[_corpus(entry, data) for entry in recipe["corpora"]],
        runs=runs,
        probes=[
            read_probe(entry, recipe, results=results, data=data) for entry in recipe["probes"]
        ],
        studies=[
            read_study(results / "scaling" / f"{entry['name']}.json") for entry in recipe["studies"]
        ],
        plans=[read_plan(entry, results) for entry in recipe["plans"]],
        records=read_records(records, names) if records.is_dir() else [],
        provenances=[p for p in made if p is not None],
    )
