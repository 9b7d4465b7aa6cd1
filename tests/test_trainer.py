import json
import math
import os
import signal
import socket
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from tiny_runs import (
    curve,
    ended,
    simmim_recipe,
    start,
    tiny_chips,
    tiny_images,
    tiny_recipe,
    train_here,
    wait_for,
)

from workflow_scripts import status
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.export.model import load_objective
from workflow_scripts.files import exclusive
from workflow_scripts.pretrain import attempts, saved
from workflow_scripts.pretrain.construct import adamw, meta_objective
from workflow_scripts.pretrain.meter import Window
from workflow_scripts.pretrain.run_digest import check_data, current_identity, stored_identity
from workflow_scripts.pretrain.schedule import learning_rate, missed_peak, peak_rate
from workflow_scripts.pretrain.spawn import STOPPED_STATUS
from workflow_scripts.shards.corpus import Corpus

LONG = {"epochs": 60}  # 300 steps of a few milliseconds
EVERY = ("--checkpoint-every", "20", "--log-every", "5")
pytestmark = pytest.mark.usefixtures("training_here")


def weights(run: Path, index: Path) -> dict[str, bytes]:
    """The bytes of each weight in a run's last checkpoint."""
    identity = stored_identity(run, "")
    corpus, step = Corpus(index, "train"), saved.latest(identity.folder(run))
    objective = load_objective(identity, corpus, run=run, step=step, teacher=None)
    return {name: value.numpy().tobytes() for name, value in objective.state_dict().items()}


@pytest.fixture(scope="module")
def reference(tmp_path_factory) -> tuple[Path, Path]:
    """An index, and the folder of a run on it that nothing interrupted."""
    folder = tmp_path_factory.mktemp("reference")
    index = tiny_images(folder / "corpus")
    process = start(tiny_recipe(**LONG), index, folder / "run", *EVERY)
    assert process.wait() == 0, process.communicate()[1]
    return index, folder / "run"


# The schedule and the optimizer


def test_the_rate_warms_up_linearly_and_falls_by_half_a_cosine():
    optim = {"base_lr": 1e-3, "lr_reference_batch": 256, "warmup_epochs": 2.0, "min_lr": 1e-6}
    known = {"steps_per_epoch": 10, "total_steps": 100, "batch": 64}
    rates = [learning_rate(optim, step=step, **known) for step in range(100)]
    peak = 1e-3 * 64 / 256
    assert peak_rate(optim, batch=64) == pytest.approx(peak)
    np.testing.assert_allclose(rates[:20], peak * np.arange(20) / 20, rtol=1e-12)
    assert rates[20] == pytest.approx(peak)
    assert rates[60] == pytest.approx((peak + 1e-6) / 2)
    last = 1e-6 + (peak - 1e-6) * (1 + math.cos(math.pi * 79 / 80)) / 2
    assert rates[99] == pytest.approx(last)


def test_a_warm_up_as_long_as_the_run_is_told():
    assert missed_peak({"warmup_epochs": 39.5}, epochs=40) is None
    assert "warmup_epochs is 40 and epochs 40" in missed_peak({"warmup_epochs": 40.0}, epochs=40)


def test_a_run_without_warm_up_starts_at_the_peak():
    optim = {"base_lr": 1e-3, "lr_reference_batch": 256, "warmup_epochs": 0.0, "min_lr": 0.0}
    known = {"steps_per_epoch": 10, "total_steps": 100, "batch": 256}
    assert learning_rate(optim, step=0, **known) == pytest.approx(1e-3)


@pytest.mark.parametrize("recipe", [tiny_recipe(), simmim_recipe()])
def test_the_optimizer_has_each_parameter_once_and_decays_the_named(tmp_path, recipe):
    objective = meta_objective(recipe, Corpus(tiny_images(tmp_path)), None)
    names = {id(p): name for name, p in objective.named_parameters()}
    decayed, free = adamw(objective, recipe["optim"]).param_groups
    assert {names[id(p)] for p in decayed["params"]} == objective.decay_names()
    assert len(decayed["params"]) + len(free["params"]) == len(names)
    assert decayed["weight_decay"] == 0.05
    assert free["weight_decay"] == 0.0


# The window


def test_a_window_means_the_same_wherever_it_is_collected():
    losses = torch.rand(23, generator=torch.Generator().manual_seed(0)) * 3
    whole, parts = Window(), Window()
    for number, loss in enumerate(losses):
        whole.add({"loss": loss})
        parts.add({"loss": loss})
        if number in (2, 17):  # a checkpoint, and a resume from it
            assert parts.collect(world=1) == []
            parts = Window(json.loads(json.dumps(parts.state())))
    whole.collect(world=1)
    parts.collect(world=1)
    assert whole.state() == parts.state()
    expected = losses.double().mean().item()
    assert whole.means()["loss"] == pytest.approx(expected, rel=1e-6)
    assert whole.count == 0


def test_a_window_counts_steps_that_were_skipped_and_leaves_them_out_of_its_means():
    window = Window()
    for value in (1.0, math.nan, math.inf, 3.0, math.nan):
        window.add({"loss": torch.tensor(value)})
    found = window.collect(world=1)
    assert [(bad.ago, bad.in_a_row) for bad in found] == [(4, 1), (3, 2), (1, 1)]
    assert not any(bad.finite_here for bad in found)
    resumed = Window(json.loads(json.dumps(window.state())))
    resumed.add({"loss": torch.tensor(math.nan)})
    assert [bad.in_a_row for bad in resumed.collect(world=1)] == [2]
    assert resumed.bad == 4
    assert resumed.means() == {"loss": 2.0}
    assert resumed.means() == {}


# Runs


def test_a_run_learns_and_its_curve_has_the_promised_columns(reference):
    _, run = reference
    (path,) = (run / "checkpoints").glob("*/history.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    assert [row["step"] for row in rows] == list(range(5, 301, 5))
    columns = ["step", "epoch", "samples", "skipped", "bad_steps", "loss", "lr", "grad_norm",
               "images_per_s", "data_wait", "seconds", "tflops", "mfu", "peak_memory_bytes",
               "energy_j"]  # fmt: skip
    assert list(rows[-1]) == columns
    assert rows[-1]["samples"] == 2400
    assert rows[-1]["epoch"] == 60
    assert all(row["tflops"] > 0 and row["mfu"] is None for row in rows)  # a CPU has no peak here
    assert rows[-1]["peak_memory_bytes"] > 1e7
    assert rows[-1]["loss"] < 0.95 * rows[0]["loss"]
    power = [json.loads(line) for line in path.with_name("power.jsonl").read_text().splitlines()]
    assert power
    assert [list(row) for row in power] == [
        ["seconds", "step", "watts", "utilisation", "memory_bytes"]
    ] * len(power)
    assert 0 < power[-1]["step"] <= 300
    assert 0 < power[-1]["utilisation"] <= 1
    assert power[-1]["memory_bytes"] > 1e7
    if rows[-1]["energy_j"] is None:  # no counter can be read here
        assert {row["watts"] for row in power} == {None}
    state = json.loads(path.with_name("progress.json").read_text())
    assert state["state"] == "done"
    assert (state["step"], state["total_steps"], state["seconds_left"]) == (300, 300, 0)


@pytest.mark.parametrize("how", [(), ("--async-checkpoints",)], ids=["waiting", "background"])
def test_a_stopped_and_killed_run_goes_on_to_the_same_weights_curve_and_segment(
    tmp_path, reference, how
):
    index, whole = reference
    run, recipe = tmp_path / "run", tiny_recipe(**LONG)
    for step, number in ((40, signal.SIGTERM), (120, signal.SIGKILL)):
        process = start(recipe, index, run, *EVERY, *how)
        wait_for(run, step, process)
        process.send_signal(number)
        text = process.communicate()[1]
        assert not list((run / "segments").glob("*.json"))
        (folder,) = (run / "checkpoints").iterdir()
        if number == signal.SIGTERM:
            assert process.returncode == STOPPED_STATUS
            last = saved.latest(folder)
            assert f"told to stop and did, at step {last} of 300, which is saved" in text
            state = json.loads((folder / "progress.json").read_text())
            assert (state["state"], state["step"], state["segment"]) == ("stopped", last, 1)
    assert [one["outcome"] for one in attempts.read(folder)] == ["stopped", None]
    # What a kill in the middle of writing leaves behind.
    (folder / ".step-000000300.00000001.tmp").mkdir()
    (folder / "history.jsonl").open("a").write('{"step": 299, "lo')
    (folder / "power.jsonl").open("a").write('{"seconds": 1e9, "step": 299}\n{"seconds": 2e9, "st')
    process = start(recipe, index, run, *EVERY, *how)
    assert process.wait() == 0, process.communicate()[1]
    assert "resumed at step" in process.communicate()[1]
    assert weights(run, index) == weights(whole, index)
    assert curve(run) == curve(whole)
    power = [json.loads(line) for line in (folder / "power.jsonl").read_text().splitlines()]
    seconds = [row["seconds"] for row in power]
    assert seconds == sorted(seconds)
    assert seconds[-1] < 1e9
    expected = (whole / "segments" / "1.json").read_bytes()
    assert (run / "segments" / "1.json").read_bytes() == expected
    assert sorted(path.name for path in folder.glob("*step-*")) == [
        "step-000000280",
        "step-000000300",
    ]


def test_a_finished_run_returns_at_once_with_the_same_segment(reference):
    index, run = reference
    path = run / "segments" / "1.json"
    before, lines = path.read_bytes(), curve(run)
    path.unlink()
    train_here(tiny_recipe(**LONG), index, run)
    assert path.read_bytes() == before
    assert curve(run) == lines
    following = train_here(tiny_recipe(**LONG), index, run, number=2)
    assert (following["start_step"], following["end_step"]) == (300, 300)
    assert following["reason"] == "done"
    (run / "segments" / "2.json").unlink()


def test_checkpoint_cadence_and_workers_do_not_change_the_weights(tmp_path, reference):
    index, whole = reference
    run = tmp_path / "run"
    train_here(
        tiny_recipe(**LONG), index, run, "--checkpoint-every", "77", "--log-every", "5",
        "--workers", "1",
    )  # fmt: skip
    assert weights(run, index) == weights(whole, index)
    assert curve(run) == curve(whole)


def test_segments_end_at_a_signal_or_when_time_is_up_and_chain_to_the_same_result(
    tmp_path, reference
):
    index, whole = reference
    run, recipe = tmp_path / "run", tiny_recipe(**LONG)
    process = start(recipe, index, run, *EVERY)
    wait_for(run, 40, process)
    process.send_signal(signal.SIGUSR1)
    first = ended(process, run)
    assert first["reason"] == "walltime"
    assert (first["start_step"], first["total_steps"]) == (0, 300)
    assert 40 <= first["end_step"] < 300
    second = train_here(recipe, index, run, *EVERY, number=2, steps=1)
    assert second["start_step"] == first["end_step"]
    assert second["end_step"] == first["end_step"] + 1
    third = train_here(recipe, index, run, *EVERY, number=3)
    assert (third["reason"], third["end_step"]) == ("done", 300)
    assert weights(run, index) == weights(whole, index)
    assert curve(run) == curve(whole)


def test_a_second_trainer_of_a_run_is_stopped_and_a_later_one_is_not(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    with exclusive(run / "run.json"):
        second = start(tiny_recipe(), index, run, "--wait-s", "0.5")
        text = second.communicate()[1]
        assert second.returncode == 1
        assert f"run run is being made by process {os.getpid()} on {socket.gethostname()}" in text
        assert "Traceback" not in text
        assert not (run / "checkpoints").exists()
        waiting = start(tiny_recipe(), index, run, "--log", str(tmp_path / "log"))
        wait_for_text(tmp_path / "log", "waiting for it to end, 60 s at most", waiting)
    assert waiting.wait() == 0, waiting.communicate()[1]
    assert (run / "segments" / "1.json").is_file()


def wait_for_text(file, text, process):
    while not file.is_file() or text not in file.read_text():
        assert process.poll() is None
        time.sleep(0.01)


def test_a_loss_that_is_not_finite_stops_the_run_and_names_step_and_samples(tmp_path):
    index = tiny_images(tmp_path / "corpus")
    recipe = tiny_recipe()
    recipe["optim"] = {**recipe["optim"], "base_lr": 1e30, "warmup_epochs": 0.0}
    with pytest.raises(UserError, match=r"of 3 steps in a row is not finite.*image\d+.*base_lr"):
        train_here(recipe, index, tmp_path / "run", "--log-every", "4", "--bad-steps", "3")
    (state,) = (tmp_path / "run" / "checkpoints").glob("*/progress.json")
    assert json.loads(state.read_text())["state"] == "failed"


def test_a_pinned_run_goes_on_whatever_the_recipe_is_now(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    first = train_here(tiny_recipe(), index, run, steps=1)
    pin = first["run_digest"][:12]
    pinned = train_here(tiny_recipe(seed=99), index, run, "--pinned", pin, number=2)
    assert (pinned["start_step"], pinned["end_step"]) == (1, 10)
    assert pinned["run_digest"] == first["run_digest"]
    assert pinned["recipe"]["seed"] == 3
    assert pinned["digests"] == first["digests"]
    assert "its recipe differ from the current ones" in caplog.text
    with pytest.raises(UserError, match="0 stored runs begin with 'ffff'"):
        train_here(tiny_recipe(), index, run, "--pinned", "ffff")


def test_a_pinned_run_does_not_go_on_with_other_data(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    first = train_here(tiny_recipe(), index, run, steps=1)
    packed = json.loads(index.read_text())
    index.write_text(json.dumps({**packed, "content": "0" * 64}))
    with pytest.raises(UserError, match="its corpus is another now"):
        train_here(tiny_recipe(), index, run, "--pinned", first["run_digest"][:12], number=2)


def test_a_pinned_run_knows_its_teacher_by_the_older_digest_too(tmp_path):
    index, teacher = tiny_images(tmp_path / "corpus"), tmp_path / "teacher"
    teacher.mkdir()
    (teacher / "weights.safetensors").write_bytes(b"weights")
    (teacher / "model.json").write_text("{}")
    packed = json.loads(index.read_text())
    now = current_identity(tiny_recipe(), packed, teacher)
    older = file_sha256(teacher / "weights.safetensors")
    assert now.teacher != older
    for digest in (now.teacher, older):
        check_data(replace(now, teacher=digest), packed, teacher)
    with pytest.raises(UserError, match="its teacher is another now"):
        check_data(replace(now, teacher="0" * 64), packed, teacher)


def test_another_recipe_or_corpus_trains_in_a_folder_of_its_own_and_says_what_differs(
    tmp_path, caplog, monkeypatch
):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    index, run = tiny_images(tmp_path / "a"), tmp_path / "run"
    first = train_here(tiny_recipe(), index, run, steps=1)
    train_here(tiny_recipe(), index, run, number=2)
    assert "starts from step 0" not in caplog.text
    optim = {**tiny_recipe()["optim"], "base_lr": 0.1}
    other = train_here(tiny_recipe(seed=4, optim=optim), index, run)
    old = first["run_digest"][:16]
    words = f"{old} at step 10: optim.base_lr 0.05 → 0.1, seed 3 → 4\n"
    assert (
        f"run run starts from step 0: it has checkpoints under other digests only\n  {words}"
        in (caplog.text)
    )
    assert f'set runs.run.pinned: "{old}"' in caplog.text
    facts = json.loads((run / "segments" / "1.provenance.json").read_text())
    assert [row["step"] for row in facts["other_checkpoints"]] == [10]
    assert [f"run began anew beside checkpoint {words}".strip()] == status.anew(run)
    again = train_here(tiny_recipe(seed=4), index, run, "--pinned", old)
    assert again["run_digest"] == first["run_digest"]

    caplog.clear()
    monkeypatch.setattr("workflow_scripts.pretrain.run_digest.code_digest", lambda _: "c" * 64)
    third = train_here(tiny_recipe(), tiny_images(tmp_path / "b", seed=9), run)
    was, now = first["digests"], third["digests"]
    assert f"code {was['code'][:12]} → cccccccccccc, corpus {was['inputs']['corpus'][:12]} → " in (
        caplog.text
    )
    assert now["inputs"]["corpus"] != was["inputs"]["corpus"]
    assert len({one["run_digest"] for one in (first, other, third)}) == 3
    assert len(list((run / "checkpoints").iterdir())) == 3
    assert json.loads((run / "identity.json").read_text())["run_digest"] == third["run_digest"]


def test_a_segment_after_that_of_another_run_is_refused(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(tiny_recipe(), index, run, steps=1)
    with pytest.raises(UserError, match=r"1\.json: belongs to run .* make it again"):
        train_here(tiny_recipe(seed=4), index, run, number=2)


def test_bf16_clipping_chips_and_simmim_train(tmp_path):
    chips = tiny_chips(tmp_path / "chips")
    recipe = simmim_recipe(epochs=6, precision="bf16")
    recipe["optim"] = {**recipe["optim"], "clip": 0.01}
    segment = train_here(recipe, chips, tmp_path / "run", "--log-every", "4")
    assert segment["reason"] == "done"
    losses = [loss for _, loss in curve(tmp_path / "run")]
    assert losses[-1] < losses[0]
    (folder,) = (tmp_path / "run" / "checkpoints").iterdir()
    assert saved.latest(folder) == 12


def test_the_command_line_refuses_with_a_message_and_no_traceback(tmp_path):
    index = tiny_images(tmp_path / "corpus")
    process = start(tiny_recipe(), index, tmp_path / "run", "--strategy", "hybrid_shard_3")
    text = process.communicate()[1]
    assert process.returncode == 1
    assert "hybrid_shard_3 cuts the model over 3 ranks, which does not divide 1 ranks" in text
    assert "Traceback" not in text
