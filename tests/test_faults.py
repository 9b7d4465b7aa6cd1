"""Kill the driver or a stage with SIGKILL at random moments; `resume` ends in the same files."""

import contextlib
import os
import random
import shutil
import signal
import subprocess
import sys
import time

import psutil
import pytest

from tests.workspace import Workspace

pytestmark = [pytest.mark.pipeline, pytest.mark.kill]

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "20"))
RESUME = (sys.executable, "-m", "workflow_scripts.resume")


def start(workspace, *command):
    return subprocess.Popen(
        command, cwd=workspace.folder, env=workspace.environment,
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
    )  # fmt: skip


def snakemake(workspace):
    words = ("-m", "snakemake", "all", "--configfile", "tiny.yaml")
    return start(workspace, sys.executable, *words)


def stages_of(driver):
    """Stage programs that run below a driver."""
    found = []
    try:
        for child in psutil.Process(driver.pid).children(recursive=True):
            words = child.cmdline()
            if any(word.startswith("workflow_scripts.") for word in words[:4]):
                found.append(child)
    except psutil.NoSuchProcess:
        pass
    return found


def kill_something(driver, dice):
    """Kill the driver, or a stage below it at a random moment of its life; says which, if any."""
    if dice.random() < 0.6:
        while driver.poll() is None:
            if stages := stages_of(driver):
                time.sleep(dice.uniform(0.0, 3.0))
                for victim in dice.sample(stages, len(stages)):
                    with contextlib.suppress(psutil.NoSuchProcess):
                        victim.kill()
                        return "a stage"
            time.sleep(0.02)
    if driver.poll() is not None:
        return None
    driver.kill()
    return "the driver"


def go_on(workspace):
    """What a user does after a crash: `make resume`, or what that tells to do."""
    if any((workspace.folder / ".snakemake" / "orbweaver-drivers").glob("*.json")):
        return start(workspace, *RESUME)
    words = (sys.executable, "-m", "snakemake", "--configfile", "tiny.yaml", "--unlock")
    assert start(workspace, *words).wait(timeout=600) == 0
    return snakemake(workspace)


@pytest.fixture(scope="module")
def reference(tmp_path_factory):
    """The uninterrupted results."""
    workspace = Workspace(tmp_path_factory.mktemp("reference"))
    driver = snakemake(workspace)
    assert driver.wait(timeout=1800) == 0
    return workspace.results()


def wipe(workspace):
    for name in ("data", "results", "logs", ".snakemake"):
        shutil.rmtree(workspace.folder / name, ignore_errors=True)


def test_killed_anywhere_and_resumed_ends_in_the_same_files(reference, tmp_path):
    workspace = Workspace(tmp_path)
    dice = random.Random(int(os.environ.get("ORBWEAVER_KILL_SEED", "0")))
    kills, failures = [], 0
    driver = snakemake(workspace)
    while True:
        code = None
        if len(kills) < TRIALS:
            with contextlib.suppress(subprocess.TimeoutExpired):
                code = driver.wait(timeout=dice.uniform(1.0, 10.0))
            killed = kill_something(driver, dice) if code is None else None
            kills += [killed] if killed else []
            failures = 0 if killed else failures
        code = driver.wait(timeout=1800)
        if code == 0:
            assert workspace.results() == reference, f"after {kills}"
            if len(kills) >= TRIALS:
                break
            wipe(workspace)
            driver = snakemake(workspace)
        else:
            failures += 1
            assert failures <= 3, f"it fails without being killed; so far {kills}"
            driver = go_on(workspace)
    assert set(kills) == {"the driver", "a stage"}


def test_resume_refuses_while_the_driver_lives(tmp_path):
    workspace = Workspace(tmp_path)
    driver = snakemake(workspace)
    notes = workspace.folder / ".snakemake" / "orbweaver-drivers"
    while not list(notes.glob("*.json")):
        assert driver.poll() is None
        time.sleep(0.1)
    refused = workspace.run(*RESUME, check=False)
    assert refused.returncode == 1
    assert f"the driver still runs (process {driver.pid})" in refused.stderr
    os.killpg(driver.pid, signal.SIGKILL)  # with all its jobs: the answer is known
    driver.wait(timeout=600)


def test_resume_without_a_run_says_what_to_do(tmp_path):
    workspace = Workspace(tmp_path)
    refused = workspace.run(*RESUME, check=False)
    assert refused.returncode == 1
    assert "nothing to resume" in refused.stderr
