"""SIGKILL at any moment of a download leaves whole files, and parts that the next start uses."""

import hashlib
import json
import os
import random
import re
import subprocess
import sys
import threading

import pytest

from tests.conftest import ROOT
from tests.fault_proxy import Drop, FaultProxy, Slow, random_faults
from tests.web import Web

TRIALS = int(os.environ.get("ORBWEAVER_KILL_TRIALS", "20"))
SEED = int(os.environ.get("ORBWEAVER_KILL_SEED", "0"))
SIZE = 3_000_000
NAME = re.compile(
    r"(known|plain|changing)(\.rejected)?"
    r"|\.(known|plain|changing)\.(part(\.json)?|verified|lock)(\.tmp)?"
    r"|\.\.(known|plain|changing)\.(part\.json|verified)\.tmp"
)


def faults():
    """Mostly slow connections, so that kills meet them, and all that may go wrong beside."""
    rng, others = random.Random(SEED), random_faults(SEED, SIZE)
    while True:
        slow = Slow(pause_s=0.0015)
        yield rng.choice([slow, slow, slow, Drop(after=rng.randrange(SIZE)), next(others)])


@pytest.mark.kill
def test_whatever_is_killed_every_named_file_is_whole_and_the_next_start_goes_on(
    web: Web, tmp_path
):
    versions = [random.Random(n).randbytes(SIZE + n) for n in range(3)]
    digests = [hashlib.sha256(data).hexdigest() for data in versions]
    for name in ("known", "plain", "changing"):
        web.put(name, versions[0])
    over = threading.Event()

    def change():
        number = 0
        while not over.wait(0.25):
            number += 1
            web.put("changing", versions[number % 3])

    changing = threading.Thread(target=change)
    with FaultProxy(web.port) as proxy:
        proxy.faults = faults()
        files = {
            "known": {"urls": [proxy.url("known"), web.url("slow/known")], "bytes": SIZE,
                      "sha256": digests[0], "allowed": digests[:1]},
            "plain": {"urls": [proxy.url("plain")], "allowed": digests[:1]},
            "changing": {"urls": [proxy.url("changing")], "allowed": digests},
        }  # fmt: skip
        changing.start()
        command = [sys.executable, str(ROOT / "tests" / "killed_download.py"),
                   str(tmp_path / "raw"), str(TRIALS), str(SEED), json.dumps(files)]  # fmt: skip
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        over.set()
        changing.join()
    assert done.returncode == 0, done.stderr
    trials = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(trials) == TRIALS
    for trial in trials:
        assert trial["wrong"] == [], trial
        assert all(NAME.fullmatch(name) for name in trial["names"]), trial
        # Nothing but the file whose checksum is known can ever be found wrong.
        assert not any(name.endswith(".rejected") for name in trial["names"]), trial
    ends = [trial["ended"] for trial in trials]
    assert ends.count("killed") > TRIALS / 4, done.stderr
    assert "whole" in ends
    assert "error" not in ends, done.stderr
    assert any(trial["parts"] for trial in trials)
    # Downloads that were killed did get on: no request began at 0 once something had come.
    assert any(request["status"] == 206 for request in web.requests())
