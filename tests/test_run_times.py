"""The MLLOG lines of pretraining runs: one start and one stop, however often a run is cut off."""

import datetime
import json
import time
from types import SimpleNamespace

import pytest
import torch
from mllog_rules import complaints
from test_export import export_here
from tiny_runs import start, tiny_images, tiny_recipe, train_here, wait_for

from workflow_scripts.mllog import read, times
from workflow_scripts.pretrain import attempts
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.times import TIMES, Timed, Times

RECIPE = tiny_recipe()  # 2 epochs of 5 steps
pytestmark = pytest.mark.usefixtures("training_here")


@pytest.fixture(scope="module")
def index(tmp_path_factory):
    return tiny_images(tmp_path_factory.mktemp("corpus"))


def log_of(run):
    (path,) = (run / "checkpoints").glob(f"*/{TIMES}")
    return path


def told(run, *names):
    """(key, epoch or status) of the lines with these keys."""
    return [
        (line["key"], line["metadata"].get("epoch_num", line["metadata"].get("status")))
        for line in read(log_of(run))
        if line["key"] in names
    ]


EPOCHS = [("epoch_start", 1), ("epoch_stop", 1), ("epoch_start", 2), ("epoch_stop", 2)]


def test_a_run_of_one_segment_satisfies_the_checker_and_is_exported(tmp_path, index):
    run = tmp_path / "run"
    train_here(RECIPE, index, run)
    export_here(RECIPE, index, run)
    assert complaints(run / TIMES) == []
    assert told(run, "epoch_start", "epoch_stop") == EPOCHS
    values = {line["key"]: line["value"] for line in read(run / TIMES)}
    assert (values["train_samples"], values["global_batch_size"]) == (44, 8)
    assert values["opt_base_learning_rate"] == pytest.approx(0.05 * 8 / 256)
    summary = json.loads((run / "summary.provenance.json").read_text())
    found = times(read(run / TIMES))
    assert summary["segments"][0]["seconds"] <= found["segment_s"] <= found["run_s"]
    assert str(tmp_path) not in (run / TIMES).read_text()


def test_a_run_of_several_segments_has_one_start_and_one_stop(tmp_path, index):
    run = tmp_path / "run"
    train_here(RECIPE, index, run, steps=3)
    assert times(read(log_of(run)))["run_s"] is None
    train_here(RECIPE, index, run, number=2, steps=4)
    train_here(RECIPE, index, run, number=3)
    assert told(run, "run_start", "run_stop") == [("run_start", None), ("run_stop", "success")]
    assert told(run, "epoch_start", "epoch_stop") == EPOCHS
    assert told(run, "segment_stop") == [
        ("segment_stop", "walltime"), ("segment_stop", "walltime"), ("segment_stop", "done")
    ]  # fmt: skip
    assert complaints(log_of(run)) == []
    before = log_of(run).read_bytes()
    train_here(RECIPE, index, run, number=4)  # nothing is left to train
    assert log_of(run).read_bytes() == before


@pytest.mark.distributed
def test_lines_of_steps_that_are_trained_again_are_cut_off(tmp_path, index):
    recipe, run = tiny_recipe(epochs=20), tmp_path / "run"
    process = start(recipe, index, run, "--checkpoint-every", "8", "--log-every", "5")
    wait_for(run, 16, process)
    process.kill()
    process.wait()
    with log_of(run).open("a") as file:
        file.write(':::MLLOG {"namespace": "", "time')  # the kill came in the middle of a line
    train_here(recipe, index, run, "--checkpoint-every", "100")
    expected = [(key, n) for n in range(1, 21) for key in ("epoch_start", "epoch_stop")]
    assert told(run, "epoch_start", "epoch_stop") == expected
    assert told(run, "segment_stop") == [("segment_stop", "failed"), ("segment_stop", "done")]
    assert complaints(log_of(run)) == []
    moments = [line["time_ms"] for line in read(log_of(run))]
    assert moments == sorted(moments)


def test_a_run_whose_log_is_lost_says_where_its_clock_starts(tmp_path, index):
    run = tmp_path / "run"
    train_here(RECIPE, index, run, steps=6)
    log_of(run).unlink()
    train_here(RECIPE, index, run, number=2, steps=2)
    train_here(RECIPE, index, run, number=3)
    block = [line["metadata"] for line in read(log_of(run)) if line["key"].startswith("block_")]
    assert [(one["first_epoch_num"], one["step_num"]) for one in block] == [(2, 6), (2, 10)]
    export_here(RECIPE, index, run, number=3)
    log_of(run).unlink()
    export_here(RECIPE, index, run, number=3)  # a run from before times were kept
    assert (run / TIMES).read_text().startswith("# No MLLOG lines")
    assert read(run / TIMES) == []


def test_staging_lies_inside_the_timed_run(tmp_path, index):
    run = tmp_path / "run"
    train_here(RECIPE, index, run, "--stage-to", str(tmp_path))
    assert complaints(log_of(run)) == []
    at = {line["key"]: line["time_ms"] for line in read(log_of(run))}
    assert at["run_start"] == at["staging_start"] <= at["staging_stop"] <= at["run_stop"]
    assert at["init_start"] <= at["run_start"]


def timed(*, rank=0, touched=1000.0):
    order = SimpleNamespace(
        total_steps=10, steps_per_epoch=5, epochs=2, sizes=torch.tensor([44]),
        epoch_of=lambda step: step // 5,
    )  # fmt: skip
    return Timed(
        recipe=RECIPE, order=order, ranks=Ranks(rank=rank, world=2, local_world=2), accumulate=1,
        platform="cpu", accelerated=False, touched=touched, staging=None,
    )  # fmt: skip


def test_a_segment_that_died_ended_when_its_attempt_was_last_seen(tmp_path):
    now = int(time.time())

    def attempt(began, seen):
        moments = (datetime.datetime.fromtimestamp(now + at, datetime.UTC) for at in (began, seen))
        return {name: at.isoformat() for name, at in zip(("began", "seen"), moments, strict=True)}

    Times(tmp_path, timed(touched=now), step=0)
    tried = [attempt(-5, 60), attempt(100, 101), attempt(200, 200)]  # the second wrote no line
    (tmp_path / attempts.ATTEMPTS).write_text(json.dumps(tried))
    Times(tmp_path, timed(touched=now + 205), step=0)
    (stop,) = [line for line in read(tmp_path / TIMES) if line["key"] == "segment_stop"]
    assert (stop["time_ms"], stop["metadata"]["status"]) == ((now + 60) * 1000, "failed")


def test_other_ranks_write_nothing(tmp_path):
    log = Times(tmp_path, timed(rank=1), step=0)
    log.stepped(5)
    log.end(attempts.DONE, step=10, staged=None)
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_trained_anew_after_its_end_has_a_new_clock(tmp_path):
    first = Times(tmp_path, timed(), step=0)
    first.end(attempts.DONE, step=10, staged=None)
    Times(tmp_path, timed(), step=0)
    keys = [line["key"] for line in read(tmp_path / TIMES)]
    assert keys.count("run_start") == 1
    assert "run_stop" not in keys
