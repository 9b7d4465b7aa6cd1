"""SIGKILL at any moment of an inventory: what is there is whole, and the next start ends it."""

import json
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest

from tests.conftest import ROOT

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "3"))
FILES = 3000
LONG_AGO = 1_600_000_000
# Processes start and rows are stored after a few files, so that a kill meets those moments.
PROGRAM = (
    "from workflow_scripts.fetch import hashing, seen\n"
    "hashing._BY_THREADS, hashing._BATCH_FILES, seen._COMMIT_ROWS = 100, 50, 60\n"
    "from workflow_scripts.fetch.__main__ import main\n"
    "main()\n"
)


def start(folder, manifest):
    split = {"by": "fraction", "train": 0.7, "val": 0.1, "test": 0.2, "seed": 1}
    recipe = {
        "dataset": "places", "kind": "image-folder", "path": str(folder), "listing_digest": None,
        "split": split, "obtain": "",
    }  # fmt: skip
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, "--recipe", json.dumps(recipe), "--manifest", manifest,
         "--workers", "2"], cwd=ROOT, stderr=subprocess.DEVNULL,
    )  # fmt: skip


def children(pid):
    found = []
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # a thread that ends meanwhile
            found += map(int, task.read_text().split())
    return found


def runs(pid):
    """Whether a process is there, and not merely unburied."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def results(out):
    return {name: (out / name).read_bytes() for name in ("m.jsonl", "m.json")}


def kept(cache):
    """How many files are known, in a file that SQLite finds whole."""
    if not cache.exists():
        return 0
    with sqlite3.connect(cache) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        if not database.execute("SELECT 1 FROM sqlite_master").fetchall():
            return 0
        return database.execute("SELECT count(*) FROM seen").fetchone()[0]


@pytest.mark.kill
def test_a_killed_inventory_is_taken_up_and_gives_the_same_manifest(tmp_path):
    folder = tmp_path / "places"
    for number in range(FILES):
        path = folder / f"class{number % 7}" / f"{number}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"picture %d" % (number % 2900))
        os.utime(path, (LONG_AGO, LONG_AGO))
    begin = time.monotonic()
    assert start(folder, tmp_path / "whole" / "m.jsonl").wait() == 0
    taken = time.monotonic() - begin
    expected = results(tmp_path / "whole")
    rng = random.Random(int(os.environ.get("ORBWEAVER_KILL_SEED", "0")))
    known = []
    for trial in range(TRIALS):
        out = tmp_path / f"{trial}"
        for _ in range(2):  # the second start finds what the first one left, and is killed too
            job = start(folder, out / "m.jsonl")
            time.sleep(rng.uniform(0.2, 1) * taken)
            workers = children(job.pid)
            job.send_signal(rng.choice([signal.SIGKILL, signal.SIGKILL, signal.SIGTERM]))
            job.wait()
            end = time.monotonic() + 120
            while any(map(runs, workers)):  # they end with it
                assert time.monotonic() < end, workers
                time.sleep(0.01)
            for name, content in expected.items():
                assert not (out / name).exists() or (out / name).read_bytes() == content
            known.append(kept(out / ".m.seen.sqlite"))
        assert known[-1] >= known[-2]  # what was hashed stays
        assert start(folder, out / "m.jsonl").wait() == 0
        assert results(out) == expected
        assert kept(out / ".m.seen.sqlite") == FILES
    assert max(known) > 0
