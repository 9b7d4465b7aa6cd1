"""SIGKILL at any moment of unpacking leaves whole files only, and they are not unpacked twice."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts.archives.target import DONE

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "20"))
MEMORY = Path("/dev/shm")  # where files are written at once, so that a kill meets all moments


@pytest.mark.kill
def test_whatever_is_killed_files_are_whole_and_are_kept():
    with tempfile.TemporaryDirectory(dir=MEMORY if MEMORY.is_dir() else None) as folder:
        seed = os.environ.get("ORBWEAVER_KILL_SEED", "0")
        script = ROOT / "tests" / "killed_unpacking.py"
        done = subprocess.run(
            [sys.executable, str(script), folder, str(TRIALS), seed], text=True,
            capture_output=True,
        )  # fmt: skip
    assert done.returncode == 0, done.stderr
    rows = [json.loads(line) for line in done.stdout.splitlines()]
    trials, ends = rows[:-3], rows[-3:]
    assert len(trials) == TRIALS
    for trial in trials:
        assert not trial["wrong"], trial
        assert trial["kept"], trial
        assert not trial["beside"], trial
        assert trial["files"] == trial["all"] or not trial["done"], trial
    assert any(0 < trial["files"] < trial["all"] for trial in trials)  # kills do meet the work
    for end in ends:
        assert (end["status"], end["whole"], end["hidden"]) == (0, True, [DONE]), (end, done.stderr)
