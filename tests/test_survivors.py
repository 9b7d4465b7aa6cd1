"""What outlived a driver is refused by the next one and waited for by `resume`, never doubled."""

import itertools
import logging
import os
import socket
import subprocess
import sys
import threading
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.fake_slurm import line, program, squeue
from workflow_scripts import survivors
from workflow_scripts.errors import UserError
from workflow_scripts.files import holder

RUNS = Path("results/runs")
SEGMENTS = [("pretrain", ("mae", "1")), ("pretrain", ("mae", "2"))]
HOLD = """
import sys
from pathlib import Path
from workflow_scripts.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    sys.stdin.read()
"""


@contextmanager
def trainer(run, *, job=None, at=None):
    """A process that holds the lock of a run."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    if job:
        environment["SLURM_JOB_ID"] = job
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(at or RUNS / run / "run.json")], env=environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.communicate()


@pytest.fixture(autouse=True)
def folder(tmp_path, monkeypatch):
    """A work folder on a host without Slurm."""
    place = tmp_path / "work"
    place.mkdir()
    monkeypatch.chdir(place)
    monkeypatch.setenv("PATH", "/nowhere")
    return place


@contextmanager
def measuring(study, point):
    """A process that holds the lock of a point."""
    with trainer("", at=Path("results/scaling") / study / f"{point}.json") as process:
        yield process


def refusal(jobs=SEGMENTS, needed=SEGMENTS, *, submits=False):
    with pytest.raises(UserError) as error:
        survivors.refuse_doubles(jobs, needed, folder=Path.cwd(), runs=RUNS, submits=submits)
    return str(error.value)


def accept(jobs=SEGMENTS, needed=SEGMENTS, *, submits=False):
    survivors.refuse_doubles(jobs, needed, folder=Path.cwd(), runs=RUNS, submits=submits)


def test_who_holds_a_lock_is_told_without_taking_it(folder):
    path = RUNS / "mae" / "run.json"
    assert holder(path) is None
    with trainer("mae", job="4711") as process:
        who = f"process {process.pid} on {socket.gethostname()}, job 4711"
        assert holder(path) == holder(path) == who
        assert survivors.trainers(RUNS) == {"mae": who}
    assert holder(path) is None  # though what it wrote is still there
    assert "4711" in path.with_name(".run.json.lock").read_text()


def test_a_trainer_that_outlived_a_local_driver_is_refused_by_name():
    accept()
    with trainer("mae") as process:
        text = refusal()
        assert f"run mae: trained by process {process.pid} on {socket.gethostname()}" in text
        assert "`make resume` waits for them" in text
        assert f"`kill {process.pid}` on {socket.gethostname()}" in text
        accept(SEGMENTS, [("probe", ("mae", "ucm"))])  # its segments are all there
        accept([("pretrain", ("other", "1"))], [("pretrain", ("other", "1"))])
    accept()


def test_a_point_that_is_still_measured_is_refused_by_name():
    point, other = ("point", ("sample", "a_1x2_b8")), ("point", ("sample", "b_1x2_b8"))
    with measuring("sample", "a_1x2_b8") as process:
        who = f"process {process.pid} on {socket.gethostname()}"
        assert survivors.measured(Path("results/scaling")) == {point[1]: who}
        assert f"point sample a_1x2_b8: measured by {who}" in refusal([point], [point])
        accept([other], [other])
    accept([point], [point])


def test_a_job_of_the_own_graph_is_refused_whatever_its_segment(folder, tmp_path, monkeypatch):
    rows = (
        line(7, folder, "rule_pretrain_wildcards_mae_3", state="PENDING", reason="Priority"),
        line(8, folder, "rule_probe_wildcards_mae_ucm"),
        line(9, folder, "rule_tile_wildcards_terra_2020-01-02"),
    )
    monkeypatch.setenv("PATH", squeue(tmp_path, *rows))
    text = refusal(submits=True)
    since = "PENDING since 2026-11-21 12:00:00, Priority"
    assert f"job 7, pretrain mae_3: {since}\n" in text
    assert "`scancel 7`" in text
    assert "job 8" not in text
    done = [*SEGMENTS, ("tile", ("terra", "2020-01-02"))]
    assert "job 9, tile terra_2020-01-02: RUNNING since 2026-11-21 12:30:00" in refusal(done, [])
    accept([("pretrain", ("gfm", "1"))], [("pretrain", ("gfm", "1"))])


def test_job_and_lock_of_one_trainer_are_one(folder, tmp_path, monkeypatch):
    row = line(4711, folder, "rule_pretrain_wildcards_mae_1")
    monkeypatch.setenv("PATH", squeue(tmp_path, row))
    with trainer("mae", job="4711"):
        text = refusal()
    assert text.count("4711") == 2  # who, and the command to stop it


def test_a_driver_that_submits_needs_to_see_the_queue(tmp_path, monkeypatch):
    assert "squeue is not on this host or does not answer" in refusal(submits=True)
    program(tmp_path / "bin", "squeue", "exit 1")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    assert "does not answer" in refusal(submits=True)
    accept(submits=False)  # then the locks alone decide


def test_a_submission_on_its_way_is_refused(monkeypatch):
    monkeypatch.setattr("workflow_scripts.slurm.submitting", lambda _: [12])
    assert "process 12 on this host is submitting a job" in refusal()


def test_resume_waits_for_jobs_and_trainers_and_says_so(folder, tmp_path, monkeypatch, caplog):
    caplog.set_level(logging.INFO, "orbweaver")
    monkeypatch.setattr("workflow_scripts.survivors._FIRST_PAUSE", 0.02)
    monkeypatch.setattr("workflow_scripts.survivors._LONGEST_PAUSE", 0.02)
    monkeypatch.setattr(logging.getLogger("orbweaver"), "propagate", True)
    running = line(7, folder, "rule_pretrain_wildcards_mae_3")
    probing = line(8, folder, "rule_probe_wildcards_mae_ucm", state="PENDING")
    monkeypatch.setenv("PATH", squeue(tmp_path, running, probing))
    waiting = threading.Thread(
        target=survivors.wait_for_all, args=(RUNS,), kwargs={"submitted": True}
    )

    def told(*words):
        while not any(all(word in text for word in words) for text in caplog.messages):
            waiting.join(0.02)
            assert waiting.is_alive()

    with trainer("local"), measuring("sample", "a"):
        waiting.start()
        told("job 7, pretrain mae_3", "job 8, probe", "run local", "`scancel 7 8`, `kill")
        told("point sample a")
        squeue(tmp_path, probing)
        told("job 8, probe", "run local", "`scancel 8`, `kill")
        program(tmp_path / "bin", "squeue", "exit 1")
        told("asking again until it does")
        squeue(tmp_path)
        told("run local", "checkpoints: `kill")
    waiting.join(30)
    assert not waiting.is_alive()
    # Told when something changes, not at every look.
    assert all(one != other for one, other in itertools.pairwise(caplog.messages))
