"""How weights from elsewhere and starts are configured, planned, and noticed when they change."""

import json
import os

import pytest
from model_folders import shaken_model, write_folder
from safetensors.torch import save_file
from tiny_runs import simmim_recipe

from tests.test_config import DEFAULT, changed
from tests.workspace import Workspace
from workflow_scripts import digests, recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.errors import UserError
from workflow_scripts.jobs import Jobs
from workflow_scripts.models.folder import content_digest
from workflow_scripts.planned import planned_jobs
from workflow_scripts.staleness import explain
from workflow_scripts.wanted import shape, wanted_runs, wanted_weights
from workflow_scripts.weights import __main__ as stage

VIT = "test_vit.r160_in1k"  # timm's own tiny ViT, 0.4 M parameters


def configured(**weights):
    return changed("weights", {"other": {"architecture": VIT, **weights}})


def with_run(run, **keys):
    raw = configured()
    raw["runs"][run] |= keys
    return raw


OTHER_HEADS = DEFAULT["runs"]["scenes-teacher"]["encoder"] | {"heads": [4, 4, 8, 8]}
ONE_STAGE = DEFAULT["runs"]["scenes-teacher"]["encoder"] | {"depths": [1], "heads": [2]}
REFUSED = {
    "no such model": (with_run("scenes-mae", start="scenes-mea"), "'scenes-mae'|no other run"),
    "itself": (with_run("scenes-mae", start="scenes-mae"), "runs.scenes-mae.start: no other run"),
    "a run of another family": (
        with_run("scenes-mae", start="scenes-gfm"), "'scenes-gfm' is a swin .* encoder a vit"
    ),
    "weights of another family": (
        with_run("modis-simmim", start="other"), "'other' is a vit .* encoder a swinv2"
    ),
    "a run of other heads": (
        with_run("scenes-teacher", start="scenes-gfm", encoder=OTHER_HEADS),
        r"'scenes-gfm' has encoder.heads \[2, 4, 8, 8\] and this run \[4, 4, 8, 8\]",
    ),
    "a ViT as teacher": (
        with_run("scenes-gfm", teacher="scenes-mae"), "'scenes-mae' is a vit; gfm needs a swin"
    ),
    "a ViT from elsewhere as teacher": (
        with_run("scenes-gfm", teacher="other"), "runs.scenes-gfm.teacher: 'other' is a vit"
    ),
    "a teacher of one stage": (
        with_run("scenes-teacher", encoder=ONE_STAGE), "'scenes-teacher' is a swin of one stage"
    ),
    "a circle": (
        with_run("scenes-teacher", start="scenes-gfm"), "runs.scenes-gfm: needs its own weights"
    ),
    "not plain": (configured(architecture="resnet50.a1"), "weights.other.architecture"),
    "mean alone": (configured(mean=[0.5] * 3), "mean and std belong together"),
    "bands without mean": (configured(channels=6), "channels 6.*give both"),
    "mean of other bands": (configured(mean=[0.5], std=[0.5]), "mean has 1 numbers for 3 bands"),
    "window of a ViT": (configured(window=7), "window does not apply to a ViT"),
    "name of a run": (
        changed("weights", {"scenes-mae": {"architecture": VIT}}), "a run is called so too"
    ),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_configuration_is_refused(what):
    raw, words = REFUSED[what]
    with pytest.raises(UserError, match=words):
        check_config(raw)


def test_only_a_run_with_a_start_has_one_in_its_recipe_and_no_path():
    before = recipes.pretrain(check_config(configured()), "scenes-mae")
    assert "start" not in before
    for start, named in (("other", "other"), ("/somewhere/vit-b/", "vit-b")):
        recipe = recipes.pretrain(check_config(with_run("scenes-mae", start=start)), "scenes-mae")
        assert recipe == {**before, "start": named}


def test_runs_come_after_what_they_start_from():
    config = check_config(with_run("scenes-gfm", start="scenes-teacher", teacher="./published"))
    wanted = wanted_runs(config)
    assert wanted.index("scenes-teacher") < wanted.index("scenes-gfm")
    config = check_config(with_run("scenes-mae", start="other"))
    assert wanted_weights(config) == ["other"]
    assert shape(config)["runs"]["scenes-mae"][2] == {"start": "other"}


def test_changed_weights_and_changed_files_are_noticed(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    file = tmp_path / "vit.safetensors"
    save_file(shaken_model(VIT).state_dict(), file)
    raw = configured(file=str(file))
    raw["runs"]["scenes-mae"] |= {"start": "other"}
    jobs = Jobs(check_config(raw))
    job = jobs.weights("other")
    parsed = stage.parser().parse_args(["--recipe", "{}", "--model", str(job.result)])
    stage.work(parsed, job.recipe)
    assert explain(job) == []
    assert job.result in [one.result for one in jobs.stamped()]
    folder = jobs.model_folder("scenes-mae", "start")
    assert folder == job.result.parent

    segment = jobs.pretrain("scenes-mae")
    digest = content_digest(folder, "start")
    stamp = {"recipe": segment.recipe, "digests": {"code": segment.code, "inputs": {}}}
    stamp["digests"] |= {"recipe": digests.digest(segment.recipe), "inputs": {"start": digest}}
    segment.result.parent.mkdir(parents=True)
    segment.result.write_text(json.dumps(stamp))
    assert explain(segment) == []

    save_file(shaken_model(VIT, seed=1).state_dict(), file)
    os.utime(file, (1, 1))
    again = Jobs(check_config(raw)).weights("other")
    assert again.recipe != job.recipe
    stage.work(parsed, again.recipe)
    assert content_digest(folder, "start") != digest
    assert explain(jobs.pretrain("scenes-mae")) == ["other start"]


def test_the_digest_covers_how_the_weights_are_used(tmp_path):
    folder, _ = write_folder(tmp_path / "a", "swin_orbtest", simmim_recipe()["encoder"])
    before = content_digest(folder, "teacher")
    card = json.loads((folder / "model.json").read_text())
    (folder / "model.json").write_text(json.dumps({**card, "licence": "another"}))
    assert content_digest(folder, "teacher") == before
    card["normalisation"]["mean"][0] = 0.1
    (folder / "model.json").write_text(json.dumps(card))
    assert content_digest(folder, "teacher") != before


MODELS = """
weights:
  tiny: {architecture: test_vit.r160_in1k, file: vit.safetensors}
runs:
  scenes-mae: {start: tiny, encoder: {width: 64, heads: 2}}
  scenes-gfm: {teacher: swin-base-in22k}
"""


@pytest.mark.pipeline
def test_the_plan_makes_the_weights_that_runs_name_before_them(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "models.yaml").write_text(MODELS)
    segments = [f"results/runs/{run}/segments/1.json" for run in ("scenes-mae", "scenes-gfm")]
    files = ("--configfile", "tiny.yaml", "models.yaml")
    done = workspace.run("snakemake", "-n", "fetch_all", *segments, *files)
    jobs = {job.title: job for job in planned_jobs(done.stdout + done.stderr)}
    for run, name in (("scenes-mae", "tiny"), ("scenes-gfm", "swin-base-in22k")):
        weights, pretrain = jobs[f"weights {name}"], jobs[f"pretrain {run} 1"]
        assert f"data/weights/{name}/weights.safetensors" in weights.outputs & pretrain.inputs
        assert weights.outputs & jobs["fetch_all"].inputs
