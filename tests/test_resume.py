"""A driver dies and its jobs live on: the next one refuses to double them, `resume` waits."""

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest

from tests.fake_slurm import line, squeue
from tests.workspace import Workspace

pytestmark = pytest.mark.pipeline

MANIFEST = "data/manifests/sample-scenes.jsonl"
SEGMENT = "results/runs/scenes-mae/segments/1.json"
RESUME = (sys.executable, "-m", "workflow_scripts.resume")
HOLD = """
import sys
from pathlib import Path
from workflow_scripts.files import exclusive
with exclusive(Path("results/runs/scenes-mae/run.json")):
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def workspace(tmp_path):
    folder = tmp_path / "work"
    folder.mkdir()
    return Workspace(folder)


@pytest.fixture
def trainer(workspace):
    """A trainer of scenes-mae, whatever became of its driver."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD], cwd=workspace.folder, env=workspace.environment,
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert process.stdout.readline() == "held\n"
    yield process
    process.kill()
    process.communicate()


def notes(workspace):
    folder = workspace.folder / ".snakemake" / "orbweaver-drivers"
    return [json.loads(path.read_text()) for path in folder.glob("[!.]*.json")]


def killed_driver(workspace, *arguments):
    """Start a driver and kill it with its jobs as soon as it has begun."""
    driver = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *arguments, "--configfile", "tiny.yaml"],
        cwd=workspace.folder, env=workspace.environment, start_new_session=True,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    while not notes(workspace):
        assert driver.poll() is None
        time.sleep(0.02)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()


def test_a_new_driver_refuses_what_runs_or_is_queued(workspace, trainer, tmp_path, monkeypatch):
    def refused():
        done = workspace.snakemake(SEGMENT, check=False)
        assert done.returncode == 1
        assert "Traceback" not in done.stderr
        assert not (workspace.folder / "data").exists()
        return done.stderr

    who = f"run scenes-mae: trained by process {trainer.pid} on {socket.gethostname()}"
    text = refused()
    assert who in text
    assert "`make resume` waits for them and goes on" in text
    trainer.communicate()
    queued = line(7, workspace.folder, "rule_pretrain_wildcards_scenes-mae_1", state="PENDING")
    monkeypatch.setenv("PATH", squeue(tmp_path, queued))
    text = refused()
    assert "job 7, pretrain scenes-mae_1: PENDING since 2026-11-21 12:00:00" in text
    assert "`scancel 7`" in text
    assert notes(workspace)  # so that `make resume` knows what to go on with
    workspace.snakemake(MANIFEST)  # the queued job is not in this one's graph


def test_resume_waits_for_the_trainer_and_starts_the_same_command(workspace, trainer):
    (workspace.folder / "one").mkdir()
    (workspace.folder / "one" / "config.yaml").write_text("cores: 1\n")
    killed_driver(workspace, MANIFEST, "--profile", "one")
    going_on = subprocess.Popen(
        RESUME, cwd=workspace.folder, env=workspace.environment, stderr=subprocess.PIPE, text=True
    )
    assert "waiting for jobs of an earlier driver" in going_on.stderr.readline()
    assert f"scenes-mae: trained by process {trainer.pid}" in going_on.stderr.readline()
    second = workspace.run(*RESUME, check=False)
    assert "a `make resume` waits in its place" in second.stderr
    assert str(going_on.pid) in second.stderr
    trainer.communicate()
    _, text = going_on.communicate(timeout=600)
    assert going_on.returncode == 0, text
    assert f"snakemake {MANIFEST} --profile one --configfile tiny.yaml" in text
    assert (workspace.folder / MANIFEST).is_file()
    assert notes(workspace) == []
