"""The jobs that made the results, as their stamps and provenance files tell of them."""

import datetime
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from workflow_scripts import dates
from workflow_scripts.crate.names import corpus_id, data_id
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_object
from workflow_scripts.provenance import read_provenance
from workflow_scripts.results import provenance_path
from workflow_scripts.scaling.words import READING
from workflow_scripts.study.table import read_table

Json = dict[str, Any]
_OF_POINT = ("point", "mode", "status")
_EXPORTED = ("weights.safetensors", "model.json", "history.jsonl", "reconstructions.npz",
             "mllog.txt", "power.jsonl", "summary.json", "summary.provenance.json")  # fmt: skip


@dataclass(frozen=True, kw_only=True)
class Done:
    """One job that ran, or the jobs of a dataset's days together.

    Args:
        stage: Its stage.
        name: What it made, unique in its stage.
        code: Digests of the code that ran.
        ran: Provenances, one a job.
        files: What it left in the folder of results, whole paths.
        uses: What it was made from: whole paths of files, or `@id`s (`#…`) of what lies elsewhere.
        makes: `@id`s of what it made elsewhere.
        told: What else is to be said, in words.
    """

    stage: str
    name: str
    code: list[str]
    ran: list[Json]
    files: list[Path] = field(default_factory=list)
    uses: list[str] = field(default_factory=list)
    makes: list[str] = field(default_factory=list)
    told: str = ""

    @property
    def started(self) -> str:
        """When the first of it began, ISO, UTC."""
        return min(one["started"] for one in self.ran)

    @property
    def ended(self) -> str:
        """When the last of it had ended, ISO, UTC."""
        return max(_end(one) for one in self.ran)


def _end(one: Json) -> str:
    end = datetime.datetime.fromisoformat(one["started"]) + datetime.timedelta(
        seconds=one["seconds"]
    )
    return end.isoformat("T", "seconds")


def done(
    stage: str, name: str, results: list[Path], *, also: list[Path] | None = None,
    inside: bool = True, **more: Any,
) -> Iterator[Done]:  # fmt: skip
    """A job from its result, or several of a kind; none where neither it nor its provenance is.

    Args:
        stage: Its stage.
        name: What it made.
        results: The result JSON of each job.
        also: What else it left in the folder of results, of which some may be missing.
        inside: Whether its results are in that folder.
        more: For `Done`.
    """
    there = [one for one in results if one.is_file() and provenance_path(one).is_file()]
    if not there:
        return
    bodies = [_stamped(one) for one in there]
    files = [file for one in there for file in (one, provenance_path(one))] if inside else []
    files += [file for file in also or [] if file.is_file()]
    yield Done(
        stage=stage, name=name, files=list(dict.fromkeys(files)),
        code=sorted({body["digests"]["code"] for body in bodies}),
        ran=[_ran(provenance_path(one)) for one in there], **more,
    )  # fmt: skip


def _stamped(path: Path) -> Json:
    """A result that says which code made it."""
    body = read_object(path, digests=dict)
    if not isinstance(body["digests"].get("code"), str):
        raise UserError(f"{path}: without the digest of its code; delete it and make it again")
    return body


def _ran(path: Path) -> Json:
    """A provenance file."""
    body = read_provenance(path, started=str, seconds=(int, float), versions=dict)
    try:
        _end(body)
    except (ValueError, OverflowError) as error:
        raise UserError(
            f"{path}: `started` and `seconds` are no time ({error}); delete it with the result "
            "beside it, and make both again"
        ) from None
    return body


def jobs(recipe: Json, *, results: Path, data: Path) -> list[Done]:
    """Every job behind what the report shows, in the order data flow."""
    return [
        *_data_jobs(recipe, data), *_run_jobs(recipe, results), *_probe_jobs(recipe, results),
        *_study_jobs(recipe, results),
    ]  # fmt: skip


def _data_jobs(recipe: Json, data: Path) -> Iterator[Done]:
    for dataset in recipe["datasets"]:
        name = dataset["name"]
        days = dates.expand(recipe["days"].get(name, ""))
        manifests = [data / "manifests" / name / f"{day}.json" for day in days] or [
            data / "manifests" / f"{name}.json"
        ]
        yield from done("fetch", name, manifests, inside=False, makes=[data_id("dataset", name)])
        chips = [data / "chips" / name / f"{day}.json" for day in days]
        yield from done(
            "tile", name, chips, inside=False, uses=[data_id("dataset", name)],
            makes=[data_id("chips", name)],
        )  # fmt: skip
    for name in recipe["weights"]:
        card = data / "weights" / name / "model.json"
        yield from done("weights", name, [card], inside=False, makes=[data_id("weights", name)])
    for benchmark in recipe["benchmarks"]:
        name = benchmark["name"]
        table = data / "splits" / f"{name}.json"
        told = read_object(table, dataset=str) if table.is_file() else {}
        used = [data_id("dataset", told["dataset"])] if told else []
        yield from done(
            "split", name, [table], inside=False, uses=used, makes=[data_id("splits", name)]
        )
    for corpus in recipe["corpora"]:
        yield from _packed(corpus, data)


def _packed(corpus: Json, data: Path) -> Iterator[Done]:
    index = data / "shards" / corpus["name"] / "index.json"
    if not index.is_file():
        return
    cut = set(corpus["cut_from"])
    datasets = read_object(index, datasets=list)["datasets"]
    uses = [data_id("chips" if name in cut else "dataset", name) for name in datasets]
    yield from done(
        "pack", corpus["name"], [index], inside=False, uses=uses, makes=[corpus_id(corpus["name"])]
    )


def _run_jobs(recipe: Json, results: Path) -> Iterator[Done]:
    for run in recipe["runs"]:
        name = run["name"]
        folder, corpus = results / "runs" / name, corpus_id(run["corpus"])
        models = [_model(recipe, results, model) for model in recipe["models"][name].values()]
        numbers = _segments(folder)
        segments = [folder / "segments" / f"{number}.json" for number in numbers]
        for number, segment in zip(numbers, segments, strict=True):
            before = [str(file) for file in segments if int(file.stem) == number - 1]
            yield from done(
                "pretrain", f"{name}/{number}", [segment], uses=[corpus, *models, *before]
            )
        last = [str(segment) for segment in segments[-1:]]
        yield from done(
            "export", name, [folder / "summary.json"], uses=[corpus, *last],
            also=[folder / file for file in _EXPORTED],
        )  # fmt: skip
        for step in _steps(recipe, name):
            model = folder / "steps" / step / "model.json"
            also = [model.with_name("weights.safetensors")]
            yield from done("snapshot", f"{name}/{step}", [model], uses=[*last], also=also)
        yield from done(
            "card", name, [folder / "card.json"], also=[folder / "README.md"],
            uses=[str(folder / file) for file in ("summary.json", "model.json")],
        )  # fmt: skip


def _segments(run: Path) -> list[int]:
    """Numbers of the segments of what a run's folder holds; those of another run may lie there."""
    summary = run / "summary.json"
    digest = _run_digest(summary) if summary.is_file() else None
    found = [path for path in (run / "segments").glob("*.json") if path.stem.isdecimal()]
    return sorted(int(path.stem) for path in found if digest in (None, _run_digest(path)))


def _run_digest(path: Path) -> str:
    return str(read_object(path, run_digest=str)["run_digest"])


def _model(recipe: Json, results: Path, name: str) -> str:
    """A run's teacher or start: another run's weights, or what came from elsewhere."""
    if name in {run["name"] for run in recipe["runs"]}:
        return str(results / "runs" / name / "weights.safetensors")
    return data_id("weights", name if name in recipe["weights"] else Path(name).name)


def _steps(recipe: Json, run: str) -> list[str]:
    """The steps of a run whose encoder is judged, as folders are named."""
    steps = {entry["step"] for entry in recipe["probes"] if entry["run"] == run and entry["step"]}
    return [str(step) for step in sorted(steps)]


def _probe_jobs(recipe: Json, results: Path) -> Iterator[Done]:
    corpora = {row["name"]: corpus_id(row["corpus"]) for row in recipe["benchmarks"]}
    for entry in recipe["probes"]:
        encoder, benchmark = entry["encoder"], entry["benchmark"]
        if entry["run"]:
            step = ("steps", str(entry["step"])) if entry["step"] else ()
            model = str(results.joinpath("runs", entry["run"], *step, "weights.safetensors"))
        else:
            model = data_id("weights", encoder)
        uses = [corpora[benchmark], model]
        for stage, folder in (("features", "features"), ("probe", "probes"),
                              ("finetune", "finetune")):  # fmt: skip
            result = results / folder / encoder / f"{benchmark}.json"
            before = [str(results / "features" / encoder / f"{benchmark}.json")]
            if entry["finetune" if stage == "finetune" else "features"]:
                yield from done(
                    stage, f"{encoder}/{benchmark}", [result], also=[result.with_suffix(".npz")],
                    uses=uses + (before if stage == "probe" else []),
                )  # fmt: skip


def _study_jobs(recipe: Json, results: Path) -> Iterator[Done]:
    for study in recipe.get("studies", []):
        name = study["name"]
        table = results / "scaling" / f"{name}.json"
        rows = read_table(table, _OF_POINT)["points"] if table.is_file() else []
        points = [results / "scaling" / name / f"{row['point']}.json" for row in rows]
        for row, point in zip(rows, points, strict=True):
            yield from done(
                "scaling", f"{name}/{row['point']}", [point], also=[point.with_suffix(".mllog")],
                uses=_read_by(study, row), told=f"The point ended as `{row['status']}`.",
            )  # fmt: skip
        yield from done("study", name, [table], uses=[str(point) for point in points])
    for plan in recipe.get("plans", []):
        result = results / "plans" / f"{plan['name']}.json"
        study = plan["study"]
        uses = [str(results / "scaling" / f"{study}.json")] if study else []
        yield from done("forecast", plan["name"], [result], uses=uses)


def _read_by(study: Json, row: Json) -> list[str]:
    """The corpus of a point that reads one."""
    return [corpus_id(study["corpus"])] if study["corpus"] and row["mode"] in READING else []
