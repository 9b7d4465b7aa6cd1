"""Every mistake in a configuration is named with its key, its value and the nearest valid name."""

import copy
import json
import re

import jsonschema
import pytest
import yaml

from tests.conftest import ROOT
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.config_docs import generated
from workflow_scripts.errors import UserError
from workflow_scripts.wanted import own_entries

DEFAULT = yaml.safe_load((ROOT / "config.yaml").read_text())


def changed(path, value):
    raw = copy.deepcopy(DEFAULT)
    place = raw
    *way, last = path.split(".")
    for key in way:
        place = place[key]
    place[last] = value
    return raw


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("runs.scenes-mae.epoch", 3, ["runs.scenes-mae.epoch", "value 3", "'epochs'"]),
        ("runs.scenes-mae.optim", {"base_rl": 1}, ["runs.scenes-mae.optim.base_rl", "'base_lr'"]),
        ("runs.scenes-mae.objective", "mea", ["runs.scenes-mae.objective", "'mea'", "'mae'"]),
        ("runs.scenes-mae.corpus", "scene-train", ["'scene-train'", "'scenes-train'"]),
        ("runs.scenes-mae.epochs", "many", ["runs.scenes-mae.epochs", "integer", "'many'"]),
        ("runs.scenes-mae.epochs", 0, ["runs.scenes-mae.epochs", "greater than 0"]),
        ("runs.scenes-mae.epochs", True, ["runs.scenes-mae", "epochs is true"]),
        ("runs.scenes-mae.mask", {"ratio": 1.0}, ["mask.ratio", "less than 1"]),
        ("runs.scenes-mae.augment", {"scale": [0.9, 0.2]}, ["augment.scale", "the smaller first"]),
        ("datasets.sample-modis.dates", [], ["datasets.sample-modis.dates", "at least 1"]),
        ("datasets.sample-modis.dates", ["2026-13-45"], ["dates", "month must be in 1..12"]),
        ("benchmarks.all", DEFAULT["benchmarks"]["ucm"], ["benchmarks.all", "probe_all"]),
        ("runs.scenes-mae.launch", {"strategy": "fullshard"}, ["strategy", "'fullshard'"]),
        (
            "runs.scenes-mae.launch",
            {"strategy": "hybrid_shard_3", "ranks_per_node": 2},
            ["runs.scenes-mae.launch.strategy", "over 3 ranks", "2 ranks; k may be 1, 2"],
        ),
        (
            "runs.scenes-mae.launch",
            {"accumulate": 3},
            ["runs.scenes-mae.launch.accumulate", "accumulate 3 does not divide"],
        ),
        (
            "runs.scenes-mae.launch",
            {"stage_to": "scratch"},
            ["runs.scenes-mae.launch.stage_to", "'scratch' is relative", "/mnt/bb/$USER"],
        ),
        ("runs.scenes-mae.batch", 33, ["runs.scenes-mae.batch", "33", "2 ranks"]),
        (
            "runs.scenes-gfm.teacher",
            "scene-teacher",
            ["runs.scenes-gfm.teacher", "'scenes-teacher'"],
        ),
        (
            "runs.scenes-mae.mask",
            {"ratio": 0.999},
            ["runs.scenes-mae.mask.ratio", "keeps 0 of 64 patches"],
        ),
        (
            "runs.modis-simmim.mask",
            {"ratio": 0.99},
            ["runs.modis-simmim.mask.ratio", "masks 16 of 16 cells"],
        ),
        ("runs.scenes-mae.optim", {"betas": [0.9, 1.0]}, ["optim.betas", "below 1", "1.0"]),
        ("runs.modis-simmim.precision", "fp16", ["modis-simmim.precision", "'fp16'", "'bf16'"]),
        ("runs.modis-simmim.mask", {"patch": 48}, ["mask.patch", "48", "128"]),
        ("datasets.ucm.split.train", 0.9, ["datasets.ucm.split", "1.1", "at most 1"]),
        ("datasets.ucm.split.by", "fractoin", ["datasets.ucm.split.by", "'fraction'"]),
        ("datasets.ucm.kind", "image-foldr", ["datasets.ucm.kind", "'image-folder'"]),
        ("corpora.modis.datasets", ["sample-modis", "ucm"], ["corpora.modis", "cannot be mixed"]),
        (
            "benchmarks.scenes.encoders",
            ["scenes-mea"],
            ["benchmarks.scenes.encoders", "'scenes-mae'"],
        ),
        ("all.runs", ["modis-simim"], ["all.runs", "'modis-simmim'"]),
        ("Runs", {}, ["Runs", "unknown key", "'runs'"]),
        ("runs", {"Bad Name": DEFAULT["runs"]["scenes-mae"]}, ["Bad Name"]),
        ("report", None, ["report"]),
    ],
)
def test_mistake_is_refused_by_name(path, value, words):
    with pytest.raises(UserError) as error:
        check_config(changed(path, value))
    for word in words:
        assert word in str(error.value)


def test_several_mistakes_are_told_together():
    raw = changed("runs.scenes-mae.epoch", 3)
    raw["reprot"] = {}
    with pytest.raises(UserError) as error:
        check_config(raw)
    assert "runs.scenes-mae.epoch" in str(error.value)
    assert "did you mean 'report'?" in str(error.value)


@pytest.mark.parametrize("file", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda p: p.name)
def test_examples_are_valid(file):
    head = file.read_text().split("\n\n")[0]
    files = re.findall(r"examples/[a-z-]+\.yaml", head) or [str(file)]  # some go over another
    assert load_config(*(ROOT / name for name in files)).all.runs
    assert file == ROOT / files[-1]


def test_every_key_of_the_default_config_is_explained():
    """Where a key first stands it has a comment, on its line or just above it.

    Except names of entries, and keys whose parts or neighbours are explained.
    """
    lines = (ROOT / "config.yaml").read_text().splitlines()
    plain = {
        "benchmarks",
        "corpus",
        "dataset",
        "pixels",
        "report",
        "split",
        "test",
        "test_per_class",
    }
    plain |= {"modis", "scenes"}
    seen: set[str] = set()
    for number, line in enumerate(lines):
        found = re.match(r"\s*([a-z_]+):", line)
        if not found or found[1] in seen:
            continue
        seen.add(found[1])
        explained = "#" in line or lines[number - 1].lstrip().startswith("#")
        assert explained or found[1] in plain, line
    assert {"epochs", "encoder", "optim", "launch", "split"} <= seen


def test_generated_documents_are_current():
    for path, text in generated().items():
        assert path.read_text(encoding="utf-8") == text, (
            f"{path} has drifted: run python -m workflow_scripts.config_docs"
        )


def test_schema_accepts_the_default_and_refuses_a_mistyped_key():
    schema = json.loads((ROOT / "docs" / "config.schema.json").read_text())
    jsonschema.validate(DEFAULT, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate(changed("runs.scenes-mae.epoch", 3), schema)


@pytest.mark.parametrize(
    ("text", "words"),
    [("a: [", "not valid YAML"), ("- a", "expected keys and values")],
)
def test_broken_config_file_is_named(tmp_path, text, words):
    file = tmp_path / "broken.yaml"
    file.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        load_config(file)
    assert str(file) in str(error.value)


def test_a_configuration_with_an_all_of_its_own_gets_no_study_of_the_sample(tmp_path):
    own, changed = tmp_path / "own.yaml", tmp_path / "changed.yaml"
    own.write_text("all: {runs: [scenes-mae], benchmarks: []}")
    changed.write_text("name: other")
    assert load_config(own).all.studies == []
    assert load_config(changed).all.studies == load_config().all.studies
    own.write_text("all: {runs: [], studies: [sample]}")
    assert load_config(own).all.studies == ["sample"]


def test_the_samples_baseline_of_arp_stays_with_its_benchmarks(tmp_path):
    file = tmp_path / "own.yaml"
    file.write_text("benchmarks: {scenes: {encoders: [scenes-gfm]}}")
    assert load_config(file).report.arp_baseline is None
    file.write_text("name: other")
    assert load_config(file).report.arp_baseline == load_config().report.arp_baseline
    file.write_text("{all: {runs: []}, report: {arp_baseline: scenes-gmf}}")
    with pytest.raises(UserError, match=r"arp_baseline: no judged encoder .* mean 'scenes-gfm'"):
        load_config(file)
    file.write_text("{all: {benchmarks: [ucm]}, report: {arp_baseline: scenes-gfm}}")
    with pytest.raises(UserError, match="arp_baseline: no judged encoder is called 'scenes-gfm'"):
        load_config(file)


def test_studies_and_plans_made_by_hand_are_the_users_own_or_else_the_samples(tmp_path):
    sample, file = load_config(), tmp_path / "own.yaml"
    assert own_entries(sample, "studies") == list(sample.studies)
    assert own_entries(sample, "plans") == list(sample.plans)
    file.write_text("plans: {mine: {label: Mine, encoder: vit_base, images: 100, epochs: 1, "
                    "machine: frontier, nodes: [1]}}")  # fmt: skip
    config = load_config(file)
    assert own_entries(config, "plans") == ["mine"]
    assert own_entries(config, "studies") == list(sample.studies)
    assert config.all.plans == sample.all.plans
