"""A chain of segments whose jobs are started again: nothing is trained twice, and none is lost."""

import json
import shutil

import pytest
from tiny_runs import curve, tiny_images, tiny_recipe, train_here

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import attempts, saved
from workflow_scripts.pretrain.history import SEGMENTS, add_segment, read_lines
from workflow_scripts.pretrain.record import Record
from workflow_scripts.pretrain.trainer import Trainer

pytestmark = pytest.mark.usefixtures("training_here")
RECIPE = tiny_recipe()  # ten steps


@pytest.fixture
def never_trained(monkeypatch):
    """From its call on, a trainer that is made is an error."""

    def trained(*_, **__):
        raise AssertionError("it trained")

    return lambda: monkeypatch.setattr(Trainer, "__init__", trained)


@pytest.fixture
def chain(tmp_path):
    """An index and a run of three segments: to steps 3, 7 and 10."""
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    for number, steps in ((1, 3), (2, 4), (3, None)):
        train_here(RECIPE, index, run, "--log-every", "1", number=number, steps=steps)
    return index, run


def segments(run):
    return {path.name: path.read_bytes() for path in (run / "segments").glob("[0-9].json")}


def folder_of(run):
    (folder,) = (run / "checkpoints").iterdir()
    return folder


def test_segments_started_again_write_the_same_bytes_and_train_nothing(chain, never_trained):
    index, run = chain
    before, lines = segments(run), curve(run)
    tried = attempts.read(folder_of(run))
    assert [(one["segment"], one["outcome"]) for one in tried] == [
        (1, "walltime"), (2, "walltime"), (3, "done")
    ]  # fmt: skip
    facts = json.loads((run / "segments" / "2.provenance.json").read_text())["images_per_s"]
    never_trained()
    shutil.rmtree(run / "segments")
    for number in (1, 2, 3, 4):
        train_here(RECIPE, index, run, number=number)
    last = json.loads((run / "segments" / "4.json").read_text())
    assert (last["start_step"], last["end_step"], last["reason"]) == (10, 10, "done")
    (run / "segments" / "4.json").unlink()
    assert segments(run) == before
    assert curve(run) == lines
    assert attempts.read(folder_of(run)) == tried
    again = json.loads((run / "segments" / "2.provenance.json").read_text())
    assert again["images_per_s"] == facts


def test_a_segment_that_ended_while_no_driver_lived_is_not_trained_again(tmp_path, never_trained):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(RECIPE, index, run, steps=3)
    train_here(RECIPE, index, run, number=2, steps=4)
    before = segments(run)
    (run / "segments" / "2.json").unlink()  # as a driver does to a job that it starts again
    never_trained()
    train_here(RECIPE, index, run, number=2)
    assert segments(run) == before


def test_a_segment_whose_last_steps_are_lost_is_trained_again(chain):
    index, run = chain
    folder = folder_of(run)
    for step in saved.steps(folder):
        shutil.rmtree(saved.step_folder(folder, step))
    again = train_here(RECIPE, index, run, number=2, steps=2)
    assert (again["start_step"], again["end_step"], again["reason"]) == (3, 2, "walltime")
    # Its record is of that chain; the one of the third segment begins elsewhere and is not used.
    third = train_here(RECIPE, index, run, number=3)
    assert (third["start_step"], third["end_step"]) == (2, 10)


def test_a_chain_that_was_begun_otherwise_takes_no_record_of_the_old_one(chain):
    index, run = chain
    folder = folder_of(run)
    for path in [*folder.glob("step-*"), folder / "ended-1.json"]:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert train_here(RECIPE, index, run, steps=8)["end_step"] == 8
    second = train_here(RECIPE, index, run, number=2, steps=1)
    assert (second["start_step"], second["end_step"]) == (8, 9)


def test_the_loss_of_checkpoints_is_told(chain, caplog, monkeypatch):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    index, run = chain
    for step in saved.steps(folder_of(run)):
        shutil.rmtree(saved.step_folder(folder_of(run), step))
    train_here(RECIPE, index, run, number=3)
    assert "segment 2 ended at step 7, but the last checkpoint is of step 0" in caplog.text


def test_a_checkpoint_without_its_numbers_is_named_with_what_to_do(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(RECIPE, index, run, steps=3)
    (folder_of(run) / "step-000000003" / saved.META).write_text("nonsense")
    words = r"step-000000003: the checkpoint cannot be loaded \(meta\.json: .*; delete this folder"
    with pytest.raises(UserError, match=words):
        train_here(RECIPE, index, run, number=2)


def test_a_segment_without_time_for_a_step_fails_and_says_what_took_it(tmp_path):
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    with pytest.raises(UserError, match=r"no time was left for the first step: .* of the 0 s .*"
                                        r"runs\.run\.launch\.walltime_minutes"):  # fmt: skip
        train_here(RECIPE, index, run, "--walltime-s", "0")
    assert not (run / "segments" / "1.json").exists()
    folder = folder_of(run)
    assert [one["outcome"] for one in attempts.read(folder)] == ["failed"]
    assert json.loads((folder / "progress.json").read_text())["state"] == "failed"
    assert saved.latest(folder) is None
    assert train_here(RECIPE, index, run)["reason"] == "done"


def test_the_time_of_a_checkpoint_is_left_from_the_first_step_on(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    train_here(RECIPE, index, run, steps=3)
    lines = folder_of(run) / "segments.jsonl"
    (row,) = map(json.loads, lines.read_text().splitlines())
    assert row["checkpoint_seconds"] > 0
    assert "went into training: raise runs.run.launch.walltime_minutes" in caplog.text
    # Two of them would not fit into the walltime after the next step.
    lines.write_text(json.dumps({**row, "checkpoint_seconds": 6e5}) + "\n")
    second = train_here(RECIPE, index, run, "--walltime-s", "1e6", number=2)
    assert (second["end_step"], second["reason"]) == (4, "walltime")
    # That segment's own was quick, and counts from now on.
    third = train_here(RECIPE, index, run, "--walltime-s", "1e6", number=3)
    assert third["reason"] == "done"


def test_a_record_that_was_cut_off_spoils_no_later_one(tmp_path):
    add_segment(tmp_path, {"end_step": 1})
    with (tmp_path / SEGMENTS).open("a") as file:
        file.write('{"end_st')  # and its node was gone
    for step in (2, 3):
        add_segment(tmp_path, {"end_step": step})
    assert [row["end_step"] for row in read_lines(tmp_path / SEGMENTS)] == [1, 2, 3]


def test_a_segment_is_named_by_its_number(tmp_path):
    record = Record(path=tmp_path / "first.json", previous=None, identity=None, run=tmp_path)
    with pytest.raises(UserError, match=r"first\.json: a segment's JSON is named by its number"):
        _ = record.number
