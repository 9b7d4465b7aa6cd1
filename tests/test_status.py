"""What `status` shows of runs and jobs, from what trainers wrote, the locks and Slurm's queue."""

import datetime
import json
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_slurm import line, program, squeue
from workflow_scripts import slurm, status
from workflow_scripts.driver import where_to_look
from workflow_scripts.files import exclusive
from workflow_scripts.run_state import run_state

MAE = Path("results/runs/mae")
BEGAN, SEEN = "2026-11-21T02:00:00+00:00", "2026-11-21T03:00:00+00:00"


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A work folder, and Slurm's commands in a folder of their own."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    return place


def attempt(**changes):
    return {
        "segment": 3, "job": "4711", "nodes": 4, "ranks": 32, "host": "node7", "pid": 12,
        "began": BEGAN, "seen": SEEN, "seconds": 3600.0, "log": None,
        "outcome": None, **changes,
    }  # fmt: skip


def told(run=MAE, attempts=(), **changes):
    """Write what a trainer writes."""
    found = {
        "state": "running", "step": 30, "total_steps": 120, "images_per_s": 88.4, "loss": 0.51234,
        "data_wait": 0.03, "mfu": 0.41, "seconds_left": 3725, "updated": SEEN,
        "pid": 12, "host": "node7", **changes,
    }  # fmt: skip
    place = run / "checkpoints" / ("d" * 16)
    place.mkdir(parents=True, exist_ok=True)
    (run / "identity.json").write_text(json.dumps({"run_digest": "d" * 64}))
    (place / "progress.json").write_text(json.dumps(found))
    (place / "attempts.json").write_text(json.dumps(list(attempts)))


def queue(*rows, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", squeue(tmp_path, *rows))
    return slurm.jobs(Path.cwd())


def test_a_run_that_trains_is_told_with_its_cost():
    told(attempts=[attempt(seconds=1800.0, outcome="failed"), attempt()])
    with exclusive(MAE / "run.json"):
        found = run_state(MAE, [])
    assert status.row(found)[:-1] == (
        "mae", "running", "3", "30/120", "88", "3%", "41%", "0.5123", "1:02:05", "4", "6.0", "4.1"
    )  # fmt: skip
    assert (found.attempts, found.job, found.log) == (2, "4711", None)


def test_what_does_not_hold_its_lock_has_died_on_whatever_host(tmp_path, monkeypatch):
    told(attempts=[attempt()])
    assert run_state(MAE, []).state == "died"
    log = "logs/pretrain/mae/3.log"
    assert run_state(MAE, []).log == log
    told(attempts=[attempt(log="logs/pretrain/mae/3.attempts/4711.log")])
    assert run_state(MAE, []).log == "logs/pretrain/mae/3.attempts/4711.log"
    told(attempts=[])  # started without an attempt
    assert run_state(MAE, []).state == "died"


def test_how_an_attempt_ended_is_the_state_until_another_begins(folder, tmp_path, monkeypatch):
    waiting = line(9, folder, "rule_pretrain_wildcards_mae_4", state="PENDING", nodes="8")
    ready = line(9, folder, "rule_pretrain_wildcards_mae_4", nodes="8")
    other = line(8, folder, "rule_pretrain_wildcards_mae_b_1")
    for outcome in ("walltime", "stopped", "failed"):
        told(attempts=[attempt(outcome=outcome)], state=outcome)
        assert run_state(MAE, []).state == outcome
        (mine,) = queue(waiting, tmp_path=tmp_path, monkeypatch=monkeypatch)
        found = run_state(MAE, [mine])
        assert (found.state, found.segment, found.job, found.nodes) == ("queued", 4, "9", 8)
        assert found.node_hours_left == pytest.approx(3725 * 4 / 3600)  # at the speed of 4 nodes
        both = queue(other, ready, tmp_path=tmp_path, monkeypatch=monkeypatch)
        assert run_state(MAE, both).state == "starting"
        assert run_state(MAE, both[:1]).state == outcome
        with exclusive(MAE / "run.json"):
            assert run_state(MAE, []).state == "starting"
    told(attempts=[attempt(outcome="done")], state="done", seconds_left=0)
    with exclusive(MAE / "run.json"):
        assert status.row(run_state(MAE, []))[1::7] == ("done", "–")


def test_an_attempt_without_a_step_yet_is_starting():
    told(attempts=[attempt(began="2026-11-21T04:00:00+00:00")])
    with exclusive(MAE / "run.json"):
        assert run_state(MAE, []).state == "starting"


def test_a_point_of_a_study_is_told_while_it_is_measured():
    point = Path("results/scaling/mine/a_1x2_b8.json")
    with exclusive(point, clear=True):
        text = status.page(Path("results/runs"), [], None)
        assert f"point mine a_1x2_b8 is being measured by process {os.getpid()} on" in text
    assert "measured" not in status.page(Path("results/runs"), [], None)


def test_a_driver_whose_jobs_failed_says_where_to_look():
    told(attempts=[attempt(outcome="failed", log="logs/pretrain/mae/3.attempts/4711.log")])
    told(MAE.with_name("other"), attempts=[attempt(outcome="walltime")])
    text = where_to_look(runs=MAE.parent, submits=True)
    assert text.startswith("Run mae failed; its log: logs/pretrain/mae/3.attempts/4711.log\n")
    assert "Run other" not in text
    assert "logs/slurm/" in text
    assert "logs/slurm/" not in where_to_look(runs=MAE.parent, submits=False)


def test_a_run_without_files_is_queued_or_not_started(folder, tmp_path, monkeypatch):
    MAE.mkdir(parents=True)
    assert set(status.row(run_state(MAE, []))) == {"mae", "new", "–"}
    row = line(9, folder, "rule_pretrain_wildcards_mae_1", state="PENDING")
    found = run_state(MAE, queue(row, tmp_path=tmp_path, monkeypatch=monkeypatch))
    assert (found.state, found.segment, found.job) == ("queued", 1, "9")


def test_a_start_that_failed_before_it_was_an_attempt_is_seen():
    """Ranks that do not divide the batch, an environment that cannot be unpacked, …."""
    told(attempts=[attempt(outcome="walltime")], state="walltime")
    log = Path("logs/pretrain/mae/4.attempts/4800.log")
    log.parent.mkdir(parents=True)
    log.write_text("ERROR no such module\n")
    assert run_state(MAE, []).state == "walltime"  # it may be about to begin
    text = where_to_look(runs=MAE.parent, submits=True)  # the driver knows that its jobs ended
    assert text.startswith(f"Run mae failed; its log: {log}\n")
    now = time.time()
    os.utime(log, (now - 60, now - 60))
    found = run_state(MAE, [])
    assert (found.state, found.segment, found.job) == ("failed", 4, "4800")
    assert found.log == str(log)
    with exclusive(MAE / "run.json"):
        assert run_state(MAE, []).state == "starting"
    (MAE / "segments").mkdir()
    (MAE / "segments" / "4.json").write_text("{}")
    assert run_state(MAE, []).state == "walltime"  # it ended well, without training


def shown(*arguments):
    done = subprocess.run(
        [sys.executable, "-m", "workflow_scripts.status", *arguments],
        env={**os.environ, "PYTHONPATH": str(ROOT)}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return done.stdout


@pytest.mark.parametrize("name", ["attempts.json", "progress.json"])
def test_a_damaged_file_of_one_run_hides_no_other(name):
    told(attempts=[attempt(outcome="walltime")], state="walltime")
    bad = MAE.with_name("bad")
    told(bad, attempts=[attempt()])
    path = bad / "checkpoints" / ("d" * 16) / name
    path.write_text("nonsense")
    text = shown()
    assert re.search(r"^mae +walltime ", text, re.MULTILINE)
    assert re.search(r"^bad +unreadable ", text, re.MULTILINE)
    assert f"{path}: not valid JSON" in text
    assert "Run bad" not in where_to_look(runs=MAE.parent, submits=True)


def test_the_page_fits_a_terminal_and_tells_why_runs_failed(folder, tmp_path, monkeypatch):
    log = Path("logs/pretrain/modis-simmim/3.log")
    log.parent.mkdir(parents=True)
    log.write_text("".join(f"line {number}\n" for number in range(20)))
    numbers = {"step": 150_000, "total_steps": 312_500, "images_per_s": 138954.2}
    told(MAE.with_name("modis-simmim"), [attempt()], seconds_left=170_000, **numbers)
    told(MAE.with_name("scenes-mae-base"), [attempt(seconds=1e6)], **numbers)
    MAE.with_name("new").mkdir()
    expected = "2026-11-21T18:00:00"
    monkeypatch.setenv("PATH", squeue(
        tmp_path,
        line(1234567, folder, "rule_pretrain_wildcards_scenes-mae-base_12"),
        line(1234568, folder, "rule_tile_wildcards_terra_2020-01-02", state="PENDING", nodes="1",
             reason="AssocMaxJobsLimit", start=expected),
    ))  # fmt: skip
    program(tmp_path / "bin", "sacct", "echo '4711|NODE_FAIL'")
    text = shown()
    assert max(map(len, text.splitlines())) <= 120
    rows = {words[0]: words for words in map(str.split, text.splitlines()[:5]) if words}
    assert rows["modis-simmim"][1:4] == ["died", "3", "150000/312500"]
    assert rows["scenes-mae-base"][1:3] == ["starting", "12"]
    assert rows["new"][1] == "new"
    assert "1115.1 node-hours used" in text
    assert "1234567  running  pretrain scenes-mae-base_12  2      began 21 Nov 12:30" in text
    assert "(AssocMaxJobsLimit), expected 21 Nov 18:00" in text
    assert f"modis-simmim died (job 4711: NODE_FAIL); the end of {log}:\n  line 10\n" in text
    assert text.endswith("  line 19\n")
    found = json.loads(shown("--json"))
    assert [one["state"] for one in found["runs"]] == ["died", "new", "starting"]
    assert [job["number"] for job in found["jobs"]] == ["1234567", "1234568"]


def test_jobs_are_shown_before_there_is_a_run(folder, tmp_path, monkeypatch):
    row = line(7, folder, "rule_fetch_wildcards_ucm")
    monkeypatch.setenv("PATH", squeue(tmp_path, row))
    text = shown()
    assert text.startswith("no run below results/runs yet\n")
    assert "fetch ucm" in text
    program(tmp_path / "bin", "squeue", "exit 1")
    assert "squeue does not answer" in shown()
    monkeypatch.setenv("PATH", "/nowhere")
    assert shown() == "no run below results/runs yet\n"


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5 s"), (61, "1 min"), (7300, "2 h"), (200_000, "2 d"), (-3, "0 s")]
)
def test_ages_are_told_in_their_largest_unit(seconds, text):
    now = datetime.datetime.now(datetime.UTC)
    assert status._age(now - datetime.timedelta(seconds=seconds)) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(None, "–"), (0, "–"), (3725, "1:02:05"), (47 * 3600, "47:00:00"), (170_000, "47:13:20"),
     (200_000, "2 d 7 h")],
)  # fmt: skip
def test_times_left_are_told_in_hours_or_days(seconds, text):
    assert status._duration(seconds) == text
