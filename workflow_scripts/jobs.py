"""Every job of a configuration: its result file, the recipe and the code digest it must carry.

Snakemake gets its two parameters from here, and so does whoever asks whether a result on disk is
that of the current configuration.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from workflow_scripts import recipes
from workflow_scripts.code_digest import code_digest
from workflow_scripts.config import Config
from workflow_scripts.config_models import models_of
from workflow_scripts.config_modis import Granules
from workflow_scripts.corpora import BENCH, dataset_days, is_chips
from workflow_scripts.digests import digest, file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, read_object
from workflow_scripts.models.folder import CARD, content_digest, has_model
from workflow_scripts.probed import probed_encoders, snapshots_of
from workflow_scripts.protocol_settings import needs_features, needs_training
from workflow_scripts.scaling.words import READING
from workflow_scripts.split.lists import list_files
from workflow_scripts.studies import points
from workflow_scripts.wanted import judgement_file, wanted_runs


def _digests(files: dict[str, Path]) -> dict[str, str]:
    return {role: file_sha256(path) for role, path in files.items() if path.is_file()}


def _content(index: Path) -> dict[str, str]:
    return {"corpus": read_json(index)["content"]} if index.is_file() else {}


@dataclass(frozen=True, kw_only=True, eq=False)
class Job:
    """One job: `names` are its wildcards in the order of the rule's files."""

    rule: str
    names: tuple[str, ...]
    result: Path
    recipe: recipes.Recipe
    code: str
    inputs: Callable[[], dict[str, str]] = dict  # digests of the inputs that are there, by role

    @property
    def title(self) -> str:
        """Such as `pretrain scenes-mae`."""
        return " ".join((self.rule, *self.names))


class Jobs:
    """The jobs of a configuration; pinned runs keep their stored recipe and code."""

    def __init__(self, config: Config) -> None:
        self.config = config
        self.data = Path(config.paths.data)
        self.results = Path(config.paths.results)

    def pinned(self, run: str) -> dict[str, Any] | None:
        """The stored identity (recipe, code, content, run_digest) of a pinned run, else None.

        Raises:
            UserError: The run is pinned but has stored nothing, or not that digest.
        """
        pin = self.config.runs[run].pinned
        if not pin:
            return None
        folder = self.results / "runs" / run
        if pin is True:
            found = [folder / "identity.json"]
        else:
            found = sorted((folder / "checkpoints").glob("*/identity.json"))
        for path in found:
            identity: dict[str, Any] = read_json(path) if path.is_file() else {}
            if identity and (pin is True or identity["run_digest"].startswith(str(pin))):
                return identity
        raise UserError(
            f"runs.{run}.pinned is {pin!r}, but {folder} holds no "
            f"{'stored identity' if pin is True else 'run of that digest'}; "
            "set it to false, or put the run's folder there"
        )

    def fetch(self, dataset: str, date: str | None = None) -> Job:
        """The manifest of a dataset or of a day of it."""
        names = (dataset, date) if date else (dataset,)
        result = self.data / "manifests" / f"{'/'.join(names)}.json"
        return self._job("fetch", names, result, recipes.fetch(self.config, dataset, date))

    def tile(self, dataset: str, date: str) -> Job:
        """The chips of a day."""
        result = self.data / "chips" / dataset / f"{date}.json"
        manifest = self.data / "manifests" / dataset / f"{date}.jsonl"
        recipe = recipes.tile(self.config, dataset, date)
        inputs = partial(_digests, {"manifest": manifest})
        return self._job("tile", (dataset, date), result, recipe, inputs=inputs)

    def pack(self, corpus: str) -> Job:
        """The index of a corpus."""
        result = self.data / "shards" / corpus / "index.json"
        recipe = recipes.pack(self.config, corpus)
        labels = [recipe["labels"]["dataset"]] if "labels" in recipe else []
        names = recipe["datasets"] if recipe["kind"] == "images" else labels
        files = {f"manifest:{n}": self.data / "manifests" / f"{n}.jsonl" for n in names}
        for name in recipe.get("benchmark_test", {}).get("benchmarks", ()):
            files[f"split:{name}"] = self.data / "splits" / f"{name}.csv"
        return self._job("pack", (corpus,), result, recipe, inputs=partial(_digests, files))

    def weights(self, name: str) -> Job:
        """Pretrained weights from elsewhere."""
        result = self.data / "weights" / name / CARD
        return self._job("weights", (name,), result, recipes.weights(self.config, name))

    def model_folder(self, run: str, role: str) -> Path | None:
        """The model folder of a run's `teacher` or `start`; None if it has none."""
        name = models_of(self.config, run).get(role)
        if name is None:
            return None
        if name in self.config.runs:
            return self.results / "runs" / name
        return self.data / "weights" / name if name in self.config.weights else Path(name)

    def _trained_from(self, run: str) -> dict[str, str]:
        """Digests of what a run is trained from, of those that are there."""
        digests = _content(self.pack(self.config.runs[run].corpus).result)
        for role in models_of(self.config, run):
            folder = self.model_folder(run, role)
            if folder is not None and has_model(folder):
                digests[role] = str(content_digest(folder, role))
        return digests

    def pretrain(self, run: str, segment: int = 1) -> Job:
        """A segment of a run."""
        result = self.results / "runs" / run / "segments" / f"{segment}.json"
        identity = self.pinned(run)
        recipe = identity["recipe"] if identity else recipes.pretrain(self.config, run)
        code = identity["code"] if identity else None
        inputs = dict if identity else partial(self._trained_from, run)
        return self._job("pretrain", (run, str(segment)), result, recipe, code=code, inputs=inputs)

    def export(self, run: str) -> Job:
        """The weights and the summary of a run."""
        result = self.results / "runs" / run / "summary.json"
        code = self._stored_code(run, result)
        return self._job("export", (run,), result, self.pretrain(run).recipe, code=code)

    def _stored_code(self, run: str, result: Path) -> str | None:
        """The code digest of what was exported of a pinned run; None takes the current one."""
        if self.pinned(run) and result.is_file():
            return str(read_json(result)["digests"]["code"])
        return None

    def snapshot(self, run: str, step: int) -> Job:
        """The encoder of a run at a step."""
        result = self.results / "runs" / run / "steps" / str(step) / CARD
        recipe = recipes.snapshot(self.config, run, step)
        recipe["pretrain"] = self.pretrain(run).recipe  # the stored one of a pinned run
        code = self._stored_code(run, result)
        return self._job("snapshot", (run, str(step)), result, recipe, code=code)

    def split(self, benchmark: str) -> Job:
        """The splits of a benchmark of images."""
        result = self.data / "splits" / f"{benchmark}.json"
        recipe = recipes.split(self.config, benchmark)
        files = {"manifest": self.data / "manifests" / f"{recipe['dataset']}.jsonl"}
        files |= {f"list:{path}": Path(path) for path in list_files(recipe["split"])}
        return self._job("split", (benchmark,), result, recipe, inputs=partial(_digests, files))

    def features(self, encoder: str, benchmark: str) -> Job:
        """The features of an encoder, and of its floors."""
        result = self.results / "features" / encoder / f"{benchmark}.json"
        recipe = recipes.features(self.config, encoder, benchmark)
        return self._job("features", (encoder, benchmark), result, recipe)

    def probe(self, encoder: str, benchmark: str) -> Job:
        """The protocols on an encoder's features."""
        result = judgement_file(self.config, "probe", encoder, benchmark)
        recipe = recipes.probe(self.config, encoder, benchmark)
        return self._job("probe", (encoder, benchmark), result, recipe)

    def finetune(self, encoder: str, benchmark: str) -> Job:
        """An encoder fine-tuned on a benchmark."""
        result = judgement_file(self.config, "finetune", encoder, benchmark)
        recipe = recipes.finetune(self.config, encoder, benchmark)
        return self._job("finetune", (encoder, benchmark), result, recipe)

    def point(self, study: str, name: str) -> Job:
        """A point of a scaling study; those of a pinned study keep the code they were made with."""
        result = self.results / "scaling" / study / f"{name}.json"
        code = None
        if self.config.studies[study].pinned and result.is_file():
            code = str(read_object(result, digests=dict)["digests"].get("code"))
        recipe = recipes.point(self.config, study, name)
        corpus = self.config.studies[study].corpus if recipe["mode"] in READING else None
        inputs = partial(_content, self.pack(corpus).result) if corpus else dict
        return self._job("scaling", (study, name), result, recipe, code=code, inputs=inputs)

    def study(self, name: str) -> Job:
        """The table of a study's points."""
        result = self.results / "scaling" / f"{name}.json"
        return self._job("study", (name,), result, recipes.study(self.config, name))

    def forecast(self, plan: str) -> Job:
        """What a plan says."""
        result = self.results / "plans" / f"{plan}.json"
        recipe = recipes.forecast(self.config, plan)
        files = {"study": self.study(recipe["study"]).result} if recipe["study"] else {}
        if not recipe["images"]:
            files["index"] = self.pack(self.config.runs[recipe["run"]].corpus).result
        return self._job("forecast", (plan,), result, recipe, inputs=partial(_digests, files))

    def card(self, run: str) -> Job:
        """The model card of a run."""
        result = self.results / "runs" / run / "card.json"
        return self._job("card", (run,), result, recipes.card(self.config, run))

    def report(self) -> Job:
        """The report."""
        recipe = recipes.report(self.config, self._pins())
        return self._job("report", (), self.results / "report.html", recipe)

    def crate(self) -> Job:
        """The RO-Crate over all results."""
        recipe = recipes.crate(self.config, self._pins())
        return self._job("crate", (), self.results / "ro-crate-metadata.json", recipe)

    def _pins(self) -> dict[str, Any]:
        pins = {}
        for run in wanted_runs(self.config):
            identity = self.pinned(run)
            if identity:
                pins[run] = {
                    "run_digest": identity["run_digest"],
                    "stored": {
                        "recipe": digest(identity["recipe"]),
                        "code": identity["code"],
                    },
                    "current": {
                        "recipe": digest(recipes.pretrain(self.config, run)),
                        "code": code_digest("pretrain"),
                    },
                }
        return pins

    def _job(
        self,
        rule: str,
        names: tuple[str, ...],
        result: Path,
        recipe: recipes.Recipe,
        *,
        code: str | None = None,
        inputs: Callable[[], dict[str, str]] = dict,
    ) -> Job:
        code = code or code_digest(rule)
        return Job(rule=rule, names=names, result=result, recipe=recipe, code=code, inputs=inputs)

    def stamped(self) -> Iterator[Job]:
        """Every job of the configuration whose result carries a stamp."""
        config = self.config
        for name, dataset in config.datasets.items():
            if isinstance(dataset, Granules):
                for day in dataset_days(config, name):
                    yield self.fetch(name, day)
                    yield self.tile(name, day)
            else:
                yield self.fetch(name)
        for corpus in [*config.corpora, *(f"{BENCH}{b}" for b in config.benchmarks)]:
            yield self.pack(corpus)
        for name in config.weights:
            yield self.weights(name)
        for run, entry in config.runs.items():
            for segment in range(1, entry.segments + 1):
                yield self.pretrain(run, segment)
            yield self.export(run)
            for step in snapshots_of(config, run):
                yield self.snapshot(run, step)
            yield self.card(run)
        for name in config.studies:
            for one in points(config, name):
                yield self.point(name, one.name)
            yield self.study(name)
        for name in config.plans:
            yield self.forecast(name)
        for benchmark, judge in config.benchmarks.items():
            if not is_chips(config, f"{BENCH}{benchmark}"):
                yield self.split(benchmark)
            for encoder in probed_encoders(config, benchmark):
                if needs_features(judge):
                    yield self.features(encoder, benchmark)
                    yield self.probe(encoder, benchmark)
                if needs_training(judge):
                    yield self.finetune(encoder, benchmark)
