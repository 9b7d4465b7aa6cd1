import json
import shutil

import numpy as np
import pytest
import timm
import torch
from safetensors.torch import load_file
from tiny_runs import simmim_recipe, tiny_chips, tiny_images, tiny_recipe, train_here

from workflow_scripts.errors import UserError
from workflow_scripts.export import __main__ as export
from workflow_scripts.export.curve import last_means
from workflow_scripts.export.model import load_objective
from workflow_scripts.export.reconstructions import chosen_samples
from workflow_scripts.export.unfinished import refuse_to_lose
from workflow_scripts.models.folder import content_digest
from workflow_scripts.pretrain.run_digest import stored_identity
from workflow_scripts.shards.corpus import Corpus

pytestmark = pytest.mark.usefixtures("training_here")
FILES = ["weights.safetensors", "model.json", "history.jsonl", "summary.json",
         "reconstructions.npz"]  # fmt: skip


def export_here(recipe, index, run, *more, number=1):
    parsed = export.parser().parse_args(
        ["--recipe", json.dumps(recipe), "--index", str(index), "--run", str(run),
         "--segment", str(run / "segments" / f"{number}.json"), *more]
    )  # fmt: skip
    export.work(parsed, recipe)


CASES = {
    "mae": (tiny_recipe(), tiny_images),
    "mae-chips": (tiny_recipe(), tiny_chips),
    "simmim-chips": (simmim_recipe(), tiny_chips),
    "supervised": (tiny_recipe(objective="supervised"), tiny_images),
}


@pytest.fixture(scope="module", params=list(CASES))
def exported(request, tmp_path_factory):
    """The name of a case, its recipe, its corpus, and its run's folder."""
    folder = tmp_path_factory.mktemp("export")
    recipe, make = CASES[request.param]
    index, run = make(folder / "corpus"), folder / "run"
    train_here(recipe, index, run, "--log-every", "1")
    export_here(recipe, index, run)
    return request.param, recipe, index, run


def test_weights_load_strictly_into_timm_and_are_the_trained_encoder(exported):
    _, recipe, index, run = exported
    card = json.loads((run / "model.json").read_text())
    model = timm.create_model(card["architecture"], **card["kwargs"]).eval()
    state = load_file(run / "weights.safetensors")
    model.load_state_dict(state, strict=True)
    assert all(value.dtype == torch.float32 for value in state.values())
    size = recipe["encoder"]["image_size"]
    assert model(torch.zeros(2, card["channels"], size, size)).isfinite().all()
    corpus = Corpus(index, "train")
    identity, summary = stored_identity(run, ""), json.loads((run / "summary.json").read_text())
    trained = load_objective(identity, corpus, run=run, step=summary["steps"], teacher=None)
    kept = {f"encoder.{name}" for name in state} & set(trained.state_dict())
    assert len(kept) >= len(state) - 1  # the position table of a ViT is a buffer there
    for name in kept:
        value = trained.state_dict()[name].reshape(state[name[8:]].shape)
        assert torch.equal(state[name[8:]], value), name


def test_the_card_says_how_to_feed_the_model(exported):
    name, recipe, index, run = exported
    card, corpus = json.loads((run / "model.json").read_text()), json.loads(index.read_text())
    chips = "chips" in name
    assert card["normalisation"] == {
        "mean": corpus["mean"],
        "std": corpus["std"],
        "clip": None,
        "scale": "physical" if chips else "unit",
        "missing": corpus["mean"] if chips else None,
    }
    assert card["bands"] == corpus["bands"]
    assert card["classes"] == (["a", "b", "c"] if name == "supervised" else None)
    assert card["synthetic"] is True
    assert card["encoder"] == recipe["encoder"]


def test_the_summary_counts_what_was_trained(exported):
    run = exported[-1]
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert summary["run"] == "run"
    assert summary["steps"] == rows[-1]["step"] == len(rows)
    assert summary["samples_seen"] == 8 * len(rows)
    assert summary["bad_steps"] == 0
    assert summary["loss_first"] == rows[0]["loss"]
    assert summary["loss_last"] == rows[-1]["loss"]  # a tenth of so few steps is the last one
    state = load_file(run / "weights.safetensors")
    assert summary["encoder_parameters"] == sum(value.numel() for value in state.values())
    segment = json.loads((run / "segments" / "1.json").read_text())
    assert summary["run_digest"] == segment["run_digest"]
    provenance = json.loads((run / "summary.provenance.json").read_text())
    facts = provenance["segments"]
    assert [row["ranks"] for row in facts] == [1]
    assert facts[0]["images_per_s"] > 0
    assert facts[0]["flops_per_image"] > 0
    (attempt,) = provenance["attempts"]
    assert (attempt["segment"], attempt["outcome"], attempt["job"]) == (1, "done", None)
    assert provenance["node_hours"] == pytest.approx(attempt["seconds"] / 3600, abs=1e-3)


def test_reconstructions_show_visible_pixels_as_they_are(exported):
    name, recipe, index, run = exported
    size, channels = recipe["encoder"]["image_size"], json.loads(index.read_text())["channels"]
    with np.load(run / "reconstructions.npz", allow_pickle=False) as arrays:
        found = dict(arrays)
    rows = 0 if name == "supervised" else 8
    for key in ("input", "masked", "prediction"):
        assert found[key].shape == (rows, size, size, channels)
        assert found[key].dtype == np.float32
    assert found["mask"].shape == (rows, size, size)
    assert len(found["keys"]) == rows
    if not rows:
        return
    seen = ~found["mask"]
    assert 0.2 < seen.mean() < 0.5
    tolerance = 1e-4 * np.abs(found["input"]).max()
    np.testing.assert_allclose(found["prediction"][seen], found["input"][seen], atol=tolerance)
    assert not np.allclose(found["prediction"][~seen], found["input"][~seen], atol=tolerance)
    mean = np.array(json.loads(index.read_text())["mean"])
    np.testing.assert_allclose(
        found["masked"][~seen], np.broadcast_to(mean, (int((~seen).sum()), channels)), rtol=1e-4
    )
    if "chips" in name:  # physical units: the second band is in the hundreds
        assert found["input"][..., 1].max() > 100
    else:
        assert found["keys"].tolist()[:3] == ["image0", "image1", "image2"]
        assert found["input"].max() < 1.2


def test_exporting_again_gives_the_same_bytes(exported):
    _, recipe, index, run = exported
    before = {name: (run / name).read_bytes() for name in FILES}
    for name in FILES:
        (run / name).unlink()
    export_here(recipe, index, run)
    assert {name: (run / name).read_bytes() for name in FILES} == before


def test_an_unfinished_run_is_refused_with_the_steps_left_and_what_to_raise(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "slow"
    train_here(tiny_recipe(), index, run, steps=1)
    train_here(tiny_recipe(), index, run, number=2, steps=4)
    match = (
        r"2\.json: run slow is at step 5 of 10 .*; 5 steps are left, and a segment makes about 4\. "
        r"Raise runs\.slow\.segments from 2 to 4 .* goes on from step 5"
    )
    with pytest.raises(UserError, match=match):
        export_here(tiny_recipe(), index, run, number=2)
    (folder,) = (run / "checkpoints").iterdir()
    (folder / "segments.jsonl").unlink()  # then the chain tells: 5 steps in 2 segments
    with pytest.raises(UserError, match=r"makes about 2\. .* from 2 to 5 "):
        export_here(tiny_recipe(), index, run, number=2)
    assert not (run / "weights.safetensors").exists()
    refuse_to_lose(run, 2)  # there is nothing to lose yet
    (run / "weights.safetensors").touch()
    refuse_to_lose(run, 3)  # a segment that is still to be trained
    with pytest.raises(UserError, match=r"weights\.safetensors would be removed .* from 2 to 5 "):
        refuse_to_lose(run, 2)
    train_here(tiny_recipe(), index, run, number=3)
    refuse_to_lose(run, 3)


def test_a_run_whose_last_checkpoint_or_curve_is_missing_is_refused(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(tiny_recipe(), index, run, "--checkpoint-every", "5")
    (folder,) = (run / "checkpoints").iterdir()
    shutil.rmtree(folder / "step-000000010")
    with pytest.raises(UserError, match=r"its last checkpoint is of step 5 of 10"):
        export_here(tiny_recipe(), index, run)
    (folder / "step-000000005").rename(folder / "step-000000010")
    (folder / "history.jsonl").write_text("")
    with pytest.raises(UserError, match=r"history\.jsonl: no line, so no step .* finite loss"):
        export_here(tiny_recipe(), index, run)


def test_a_segment_of_another_recipe_is_refused_unless_pinned(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    digest = train_here(tiny_recipe(), index, run)["run_digest"]
    with pytest.raises(UserError, match="belongs to a run of another recipe"):
        export_here(tiny_recipe(seed=5), index, run)
    export_here(tiny_recipe(seed=5), index, run, "--pinned", digest[:10])
    assert json.loads((run / "summary.json").read_text())["run_digest"] == digest
    with pytest.raises(UserError, match="but ffff is pinned"):
        export_here(tiny_recipe(), index, run, "--pinned", "ffff")


def test_skipped_steps_are_counted_where_the_curve_ends_before_them(tmp_path, monkeypatch):
    run, index = tmp_path / "run", tiny_images(tmp_path / "corpus")
    monkeypatch.setattr("workflow_scripts.pretrain.trainer.learning_rate", lambda *_, **__: 1e30)
    train_here(tiny_recipe(), index, run, "--log-every", "1", "--bad-steps", "99")
    export_here(tiny_recipe(), index, run)
    summary = json.loads((run / "summary.json").read_text())
    rows = [json.loads(line) for line in (run / "history.jsonl").read_text().splitlines()]
    assert rows[-1]["step"] < summary["steps"]
    assert summary["bad_steps"] == summary["steps"] - len(rows)


def test_the_last_tenth_weighs_each_line_by_its_steps():
    rows = [{"step": step, "loss": float(step), "extra": 1.0, "lr": 0.1} for step in (50, 95, 100)]
    found = last_means(rows)
    assert found == {"extra": 1.0, "loss": pytest.approx((95 * 45 + 100 * 5) / 50)}


def test_samples_are_taken_from_each_class_in_turn():
    labels = np.array([2, 2, 2, 0, 0, 1, 2], np.int32)
    assert chosen_samples(labels, 5) == [3, 5, 0, 4, 1]
    assert chosen_samples(np.full(4, -1, np.int32), 8) == [0, 1, 2, 3]


def test_a_student_distils_from_an_exported_teacher_which_its_digest_names(tmp_path):
    index, runs = tiny_images(tmp_path / "corpus"), tmp_path / "runs"
    swin = simmim_recipe()
    teacher = {**swin, "objective": "supervised"}
    train_here(teacher, index, runs / "teacher")
    export_here(teacher, index, runs / "teacher")
    student = {**swin, "objective": "gfm", "gfm": {"alpha": 1.0}}
    named = ("--teacher", str(runs / "teacher"))
    segment = train_here(student, index, runs / "student", *named)
    export_here(student, index, runs / "student", *named)
    summary = json.loads((runs / "student" / "summary.json").read_text())
    assert set(summary["terms_last"]) == {"simmim", "cosine"}
    digest = content_digest(runs / "teacher", "teacher")
    assert segment["digests"]["inputs"]["teacher"] == digest
    (runs / "teacher" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="the teacher has no exported weights"):
        train_here(student, index, runs / "other", *named)
