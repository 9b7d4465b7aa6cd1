"""Checkpoints along a run that stay, and the model folders that they become."""

import json
import shutil

import pytest
import timm
import torch
from safetensors.torch import load_file
from test_checkpoint import BOTH, names
from test_export import export_here
from tiny_runs import (
    Trainee,
    curve,
    ended,
    simmim_recipe,
    start,
    tiny_chips,
    tiny_images,
    tiny_recipe,
    train_here,
)

from workflow_scripts.errors import UserError
from workflow_scripts.export.unfinished import refuse_lost_steps
from workflow_scripts.models.folder import content_digest, has_model
from workflow_scripts.pretrain import saved
from workflow_scripts.snapshot import __main__ as snapshot

pytestmark = pytest.mark.usefixtures("training_here")
SOME = ("--snapshots", "7,3", "--checkpoint-every", "4", "--keep-checkpoints", "1")


def snapshot_here(recipe, index, run, step, *, number=1):
    """Export a run at a step; returns the model folder."""
    recipe = {"pretrain": recipe, "step": step}
    folder = run / "steps" / str(step)
    parsed = snapshot.parser().parse_args(
        ["--recipe", json.dumps(recipe), "--index", str(index), "--run", str(run),
         "--segment", str(run / "segments" / f"{number}.json"),
         "--model", str(folder / "model.json")]
    )  # fmt: skip
    snapshot.work(parsed, recipe)
    return folder


def checkpoints(run):
    """The checkpoint folder of a run that has one."""
    (folder,) = (run / "checkpoints").iterdir()
    return folder


@pytest.fixture
def index(tmp_path):
    return tiny_images(tmp_path / "corpus")


@pytest.fixture
def warned(caplog, monkeypatch):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    return caplog


# Saving


@BOTH
def test_snapshots_stay_in_later_jobs_that_name_none_too(tmp_path, index, background):
    root, one = tmp_path / "c", Trainee(index)
    saver = one.saver(root, keep=1, snapshots=(2, 9), background=background)
    for step in (1, 2, 3, 4):
        saver.save(step, {})
    saver.finish()
    assert saved.steps(root) == [2, 4]
    one.saver(root, keep=1).save(5, {})
    assert saved.steps(root) == [2, 5]
    one.saver(root, keep=1, snapshots=(5,)).save(6, {})  # named when it was there already
    one.saver(root, keep=1).save(7, {})
    assert saved.steps(root) == [2, 5, 7]
    assert one.load(root, 2) == {"step": 2}
    shutil.rmtree(root / "step-000000002")  # how somebody gets rid of one
    one.saver(root, keep=2).save(8, {})
    assert names(root) == ["step-000000005", "step-000000007", "step-000000008"]


def test_a_run_saves_at_its_snapshots_and_learns_the_same(tmp_path, index):
    plain, run = tmp_path / "plain", tmp_path / "run"
    train_here(tiny_recipe(), index, plain)
    first = train_here(tiny_recipe(), index, run, *SOME, steps=5)
    assert (first["end_step"], saved.steps(checkpoints(run))) == (5, [3, 5])
    second = train_here(tiny_recipe(), index, run, *SOME, number=2)
    assert (second["reason"], saved.steps(checkpoints(run))) == ("done", [3, 7, 10])
    assert curve(run) == curve(plain)
    assert checkpoints(run).name == checkpoints(plain).name  # they are no part of what a run is
    loaded = [Trainee(index), Trainee(index)]
    for one, folder in zip(loaded, (run, plain), strict=True):
        one.load(checkpoints(folder), 10)
    for name, value in loaded[0].tensors().items():
        assert torch.equal(value, loaded[1].tensors()[name]), name


@pytest.mark.distributed
def test_cut_over_ranks_and_in_the_background_they_stay_too(tmp_path, index):
    run = tmp_path / "run"
    more = ("--ranks", "2", "--strategy", "full_shard", "--async-checkpoints")
    assert ended(start(tiny_recipe(), index, run, *SOME, *more), run)["reason"] == "done"
    assert saved.steps(checkpoints(run)) == [3, 7, 10]
    alone = tmp_path / "alone"
    train_here(tiny_recipe(), index, alone, *SOME)
    there, expected, later = (
        load_file(snapshot_here(tiny_recipe(), index, one, step) / "weights.safetensors")
        for one, step in ((run, 3), (alone, 3), (alone, 7))
    )
    for name, value in expected.items():
        assert (there[name] - value).abs().max() < 1e-4, name  # sums in another order
    assert max((later[name] - value).abs().max() for name, value in expected.items()) > 1e-3


def test_snapshots_that_there_will_not_be_are_told_at_once(tmp_path, index, warned):
    run = tmp_path / "run"
    train_here(tiny_recipe(), index, run, "--checkpoint-every", "2", steps=5)
    assert "no snapshot" not in warned.text
    train_here(tiny_recipe(), index, run, "--snapshots", "3,4,8,10,11", number=2)
    assert "no snapshot of step 3, 11: the run is at step 5 of 10 and has checkpoints of 4, 5" in (
        warned.text
    )
    assert saved.steps(checkpoints(run)) == [4, 8, 10]


# Exporting

CASES = {
    "mae": (tiny_recipe(), tiny_images),
    "simmim-chips": (simmim_recipe(epochs=4), tiny_chips),
}


@pytest.mark.parametrize("case", CASES)
def test_a_snapshot_is_the_encoder_of_a_run_that_ended_there(tmp_path, case):
    recipe, make = CASES[case]
    index, run, short = make(tmp_path / "corpus"), tmp_path / "run", tmp_path / "short"
    train_here(recipe, index, run, *SOME)
    export_here(recipe, index, run)
    folder = snapshot_here(recipe, index, run, 3)
    assert has_model(folder)
    weights, card = load_file(folder / "weights.safetensors"), read(folder / "model.json")
    train_here(recipe, index, short, steps=3)
    there = Trainee(index, recipe=recipe)
    there.load(checkpoints(short), 3)
    expected = there.objective.export_encoder_state(there.objective.state_dict())
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        assert torch.equal(weights[name], value), name

    model = timm.create_model(card["architecture"], **card["kwargs"])
    model.load_state_dict(weights, strict=True)
    whole = read(run / "model.json")
    assert {name: card[name] for name in whole} == whole
    assert (card["step"], card["stage"]) == (3, "snapshot")
    assert card["digests"]["inputs"]["run"] == whole["run_digest"]
    assert content_digest(folder, "encoder") != content_digest(run, "encoder")

    end = read(run / "summary.json")["steps"]
    last = snapshot_here(recipe, index, run, end)
    assert (last / "weights.safetensors").read_bytes() == (run / "weights.safetensors").read_bytes()


def read(path):
    return json.loads(path.read_text())


def test_exporting_a_snapshot_again_gives_the_same_bytes(tmp_path, index):
    run = tmp_path / "run"
    train_here(tiny_recipe(), index, run, *SOME)
    files = ("weights.safetensors", "model.json")
    folder = snapshot_here(tiny_recipe(), index, run, 7)
    before = [(folder / name).read_bytes() for name in files]
    shutil.rmtree(folder)
    snapshot_here(tiny_recipe(), index, run, 7)
    assert [(folder / name).read_bytes() for name in files] == before


def test_a_step_that_the_run_does_not_have_is_refused_with_those_that_it_has(tmp_path, index):
    run = tmp_path / "run"
    train_here(tiny_recipe(), index, run, *SOME, steps=5)
    with pytest.raises(UserError, match=r"1\.json: run run is at step 5 of 10 .* 5 steps are left"):
        snapshot_here(tiny_recipe(), index, run, 3)
    refuse_lost_steps(run, 1, [8])  # what is not done yet is the job's to tell
    train_here(tiny_recipe(), index, run, *SOME, number=2)
    snapshot_here(tiny_recipe(), index, run, 3, number=2)
    gone = (
        r"run run, which ended at step 10, has no checkpoint of step 8\. Name steps that it has in "
        r"`along` of the benchmarks \(3, 7, 10\), or train the run again .*: move .*/checkpoints/"
        r"[0-9a-f]{16} away and start with --forcerun .*run/segments/1\.json"
    )
    for refused in (
        lambda: snapshot_here(tiny_recipe(), index, run, 8, number=2),
        lambda: refuse_lost_steps(run, 2, [3, 8]),
    ):
        with pytest.raises(UserError, match=gone):
            refused()
    with pytest.raises(UserError, match=r"at step 10, .* of step 11\. .*\(3, 7, 10\)$"):
        snapshot_here(tiny_recipe(), index, run, 11, number=2)
    refuse_lost_steps(run, 2, [3, 7, 10])
    refuse_lost_steps(run, 3, [8])  # a segment that is still to be trained
    assert [path.name for path in (run / "steps").iterdir() if has_model(path)] == ["3"]


def test_a_snapshot_of_a_run_of_another_recipe_or_other_data_is_refused(tmp_path, index):
    run = tmp_path / "run"
    train_here(tiny_recipe(), index, run, *SOME)
    with pytest.raises(UserError, match="belongs to a run of another recipe"):
        snapshot_here(tiny_recipe(seed=5), index, run, 3)
    index.write_text(json.dumps({**read(index), "content": "0" * 64}))
    with pytest.raises(UserError, match=r"holds content 0000.* put that corpus back"):
        snapshot_here(tiny_recipe(), index, run, 3)
