"""Read what the probes and fine-tunings left, an encoder on a benchmark at a time."""

import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from workflow_scripts.errors import UserError
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import Json, headline, read_result
from workflow_scripts.report.figure_names import file_name
from workflow_scripts.shards.corpus import Corpus

_PICTURED = (
    "test_rows", "labels", "predicted", "confidence", "embedding", "embedding_rows",
    "embedding_labels", "perplexity",
)  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class ProbeData:
    """One encoder on one benchmark.

    Attributes:
        encoder: Its name; `label` is what people read.
        run: The run that it is of, None for weights from elsewhere; `step` if it is at one.
        benchmark: Its name, with `benchmark_label`; `published` is the key of published numbers.
        results: Of the probe, of fine-tuning: one or both.
        pictures: Verdicts of the test samples and the plane of features; None if only fine-tuned.
        samples: The benchmark, packed.
    """

    encoder: str
    label: str
    run: str | None
    step: int | None
    benchmark: str
    benchmark_label: str
    published: str | None
    results: list[Json]
    pictures: dict[str, NDArray[Any]] | None
    samples: Corpus

    @property
    def synthetic(self) -> bool:
        """Whether the encoder or the benchmark comes from generated data."""
        return any(bool(result["synthetic"]) for result in self.results)

    @property
    def file_name(self) -> str:
        """What its figures are called after their kind."""
        return file_name(self.encoder, self.benchmark)

    @property
    def classes(self) -> list[str]:
        """Names of the classes, by number."""
        return list(self.results[0]["classes"])

    @property
    def multi_label(self) -> bool:
        """Whether samples have several labels."""
        return bool(self.results[0]["multi_label"])

    @property
    def headline(self) -> str:
        """The protocol that is shown in pictures."""
        return headline(self.results[0])

    @property
    def protocols(self) -> dict[str, Json]:
        """The result that each protocol is in, in the order of every table."""
        found = {name: result for result in self.results for name in result["protocols"]}
        return {name: found[name] for name in in_order(found)}

    def verdict(self, protocol: str, who: str = "encoder") -> Json | None:
        """What a protocol found of the encoder or of a floor, None if it was not judged so."""
        found: Json | None = self.protocols[protocol]["protocols"][protocol]["judged"].get(who)
        return found


def result_paths(entry: Json, results: Path) -> list[Path]:
    """The result files of an entry of `probes` in the report's recipe."""
    kinds = [("features", "probes"), ("finetune", "finetune")]
    return [
        results / folder / entry["encoder"] / f"{entry['benchmark']}.json"
        for key, folder in kinds
        if entry[key]
    ]


def read_pictures(path: Path) -> dict[str, NDArray[Any]]:
    """The arrays of a probe's `<benchmark>.npz`.

    Raises:
        UserError: No such file, or not one of ours.
    """
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return {name: arrays[name] for name in _PICTURED}
    except FileNotFoundError:
        raise UserError(f"{path}: no such file; probe again") from None
    except (OSError, ValueError, KeyError, zipfile.BadZipFile) as error:
        raise UserError(f"{path}: not what a probe leaves ({error}); probe again") from None


def check_rows(path: Path, result: Json, pictures: dict[str, NDArray[Any]], found: Corpus) -> None:
    """Refuse verdicts of samples that are not these: rows of another packing name other images.

    Raises:
        UserError: The benchmark was packed again since, or has fewer samples.
    """
    judged, there = result["digests"]["inputs"].get("benchmark"), found.index["content"]
    last = int(pictures["test_rows"].max(initial=-1))
    if judged not in (None, there) or last >= len(found):
        raise UserError(
            f"{path}: judged on another content of {found.path} than it has now; probe again"
        )


def read_probe(entry: Json, recipe: Json, *, results: Path, data: Path) -> ProbeData:
    """One entry of `probes` in the report's recipe.

    Raises:
        UserError: A result is missing, unreadable, or of other samples than the packed ones.
    """
    benchmark = next(row for row in recipe["benchmarks"] if row["name"] == entry["benchmark"])
    paths = result_paths(entry, results)
    found = [read_result(path) for path in paths]
    samples = Corpus(data / "shards" / benchmark["corpus"] / "index.json")
    pictures = None
    if entry["features"]:
        beside = paths[0].with_suffix(".npz")
        pictures = read_pictures(beside)
        check_rows(beside, found[0], pictures, samples)
    return ProbeData(
        **{key: entry[key] for key in ("encoder", "label", "run", "step", "benchmark")},
        benchmark_label=benchmark["label"],
        published=benchmark["published"],
        results=found,
        pictures=pictures,
        samples=samples,
    )
