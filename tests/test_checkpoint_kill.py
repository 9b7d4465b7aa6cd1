"""SIGKILL at any moment of writing checkpoints leaves whole ones, and none older than before."""

import json
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from killed_saves import SNAPSHOTS

from tests.conftest import ROOT

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "20"))
NAME = re.compile(r"step-\d{9}|\.step-\d{9}(\.[0-9a-f]{8}\.tmp|\.old)")
MEMORY = Path("/dev/shm")  # saves take milliseconds there, so that a kill meets all their moments


@pytest.mark.kill
@pytest.mark.distributed
def test_whatever_is_killed_every_named_checkpoint_is_whole_and_steps_only_grow():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        seed = os.environ.get("ORBWEAVER_KILL_SEED", "0")
        script = ROOT / "tests" / "killed_saves.py"
        done = subprocess.run(
            [sys.executable, str(script), folder, str(TRIALS), seed], text=True,
            capture_output=True, env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == TRIALS
    furthest = {}
    for trial in trials:
        assert trial["steps"] is not None, (trial, done.stderr)  # one could not be loaded
        assert max([0, *trial["steps"]]) >= trial["before"], trial
        others = [step for step in trial["steps"] if step not in SNAPSHOTS]
        assert len(others) <= 3, trial  # two kept, and the next that just got its name
        assert {*SNAPSHOTS[: max([0, *trial["steps"]]) // 5]} <= {*trial["steps"]}, trial
        assert all(NAME.fullmatch(name) for name in trial["names"]), trial
        furthest[trial["world"], trial["background"]] = max([0, *trial["steps"]])
    assert len(furthest) == 4
    assert min(furthest.values()) > 0  # killed saves do get on
    assert any(name.endswith(".tmp") for trial in trials for name in trial["names"])
