"""A stalled rank ends the job, with a line of the log that says which rank and where."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
from test_rank_jobs import children, rank_of
from tiny_runs import ROOT, start, tiny_images, tiny_recipe, wait_for

from workflow_scripts.pretrain.stalled import AGREE, DATA, LOG, SAVE, STEP, Beat, account

HERE = Path(__file__).parent


def beat(rank, phase=STEP, step=41, **changes):
    known = {"number": 9, "seconds": 605.2, "place": f"place{rank}", "host": "node", "process": 70}
    return Beat(rank=rank, phase=phase, step=step, **(known | {"process": 70 + rank} | changes))


def told(*beats, silent=(), world=None):
    by_rank = {one.rank: one for one in beats}
    return account(by_rank, world=world or len(beats), silent=set(silent))


def test_the_rank_that_has_come_least_far_is_behind():
    assert told(beat(0), beat(1, DATA), beat(2), beat(3, AGREE, step=42)) == (
        "rank 1 of 4 (process 71 on node) has been waiting for data for 605 s after step 41, at "
        "place1; rank 3: agreeing to go on after step 42; ranks 0, 2: in the training step after "
        "step 41"
    )


@pytest.mark.parametrize(
    ("earlier", "later"),
    [((DATA, 3), (STEP, 3)), ((STEP, 3), (LOG, 4)), ((LOG, 4), (AGREE, 4)), ((AGREE, 4), (SAVE, 4)),
     ((SAVE, 4), (DATA, 4)), ((STEP, 3), (DATA, 4))],
)  # fmt: skip
def test_phases_follow_each_other_as_in_the_loop(earlier, later):
    assert told(beat(0, *later), beat(1, *earlier)).startswith("rank 1 of 2 ")


def test_ranks_that_are_equally_far_are_told_apart_by_their_lines():
    equal = [beat(rank, place="parallel.py:9") for rank in (0, 1, 3)]
    assert told(*equal, beat(2, place="mae.py:7")) == (
        "all 4 ranks are equally far; rank 2: in the training step after step 41, at mae.py:7; "
        "ranks 0, 1, 3: in the training step after step 41, at parallel.py:9"
    )


def test_ranks_that_are_not_heard_from_are_behind_whatever_they_told_last():
    text = told(beat(0, DATA, step=1), beat(2), world=3, silent={2})
    assert text == (
        "rank 1 of 3 has never been heard from; rank 2 of 3 (process 72 on node) is not heard from "
        "any more (stopped or dead, or its node is); it was in the training step for 605 s after "
        "step 41, at place2; rank 0: waiting for data after step 1"
    )


def test_of_very_many_ranks_only_some_are_named():
    text = told(
        *[beat(rank, DATA) for rank in range(100)], *[beat(rank) for rank in range(100, 999)]
    )
    assert "rank 15 of 999" in text
    assert "rank 16 of 999" not in text
    assert "84 more likewise" in text
    assert text.endswith("114, 115 and 883 more: in the training step after step 41")


# Real processes


def watched(fault, world, *, at=0, limit=1.5, rendezvous=None, tmp_path=None):
    """The ranks of a job in which something goes wrong."""
    rendezvous = rendezvous or f"file://{tmp_path}/store"
    environment = {**os.environ, "GLOO_SOCKET_IFNAME": "lo", "OMP_NUM_THREADS": "1",
                   "PYTHONPATH": str(ROOT)}  # fmt: skip
    command = [sys.executable, str(HERE / "watched_rank.py")]
    return [
        subprocess.Popen(
            [*command, *map(str, (rank, world, rendezvous, limit, fault, at))],
            env=environment, text=True, stderr=subprocess.PIPE,
        )
        for rank in range(world)
    ]  # fmt: skip


def ended(ranks, *, but=None):
    """The logs of the ranks, all of which have failed by themselves; `but` is killed at last."""
    texts = {}
    for rank in sorted(range(len(ranks)), key=lambda rank: rank == but):
        if rank == but:
            ranks[rank].kill()
        texts[rank] = ranks[rank].communicate(timeout=300)[1]
        assert ranks[rank].returncode == (-signal.SIGKILL if rank == but else 1), texts[rank]
    return [texts[rank] for rank in range(len(ranks))]


def reports(texts):
    return [line for text in texts for line in text.splitlines() if "no progress for" in line]


@pytest.mark.distributed
def test_a_rank_that_sleeps_in_its_data_is_named_by_one_rank_and_all_show_their_stacks(tmp_path):
    ranks = watched("sleep-data", 2, at=1, tmp_path=tmp_path)
    texts = ended(ranks)
    (line,) = reports(texts)
    assert "no progress for 0.025 minutes (launch.stall_minutes)" in line
    assert f"rank 1 of 2 (process {ranks[1].pid} on {socket.gethostname()}) has been waiting for " \
        "data for " in line  # fmt: skip
    assert "rank 0: in the training step after step 5" in line
    assert "in fail\n" in texts[1]
    assert "in computing\n" in texts[0]


@pytest.mark.distributed
def test_a_rank_that_was_stopped_is_named_by_the_others(tmp_path):
    ranks = watched("stop-step", 4, at=2, tmp_path=tmp_path)
    (line,) = reports(ended(ranks, but=2))
    assert f"rank 2 of 4 (process {ranks[2].pid} on " in line
    assert "is not heard from any more" in line
    assert "after step 5" in line
    assert "ranks 0, 1, 3: in the training step after step 5" in line


@pytest.mark.distributed
def test_if_the_store_is_stopped_its_rank_is_named(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    ranks = watched("stop-data", 2, rendezvous=f"tcp://127.0.0.1:{port}")
    texts = ended(ranks, but=0)
    assert len(reports(texts)) == 1
    assert "which is in rank 0, does not answer: rank 0 is stopped or dead" in texts[1]
    assert "in the training step for" in texts[1]


def test_a_single_rank_is_watched_too_and_so_is_one_that_keeps_the_lock_of_python():
    slept, locked = (
        watched(fault, 1, rendezvous="none")[0] for fault in ("sleep-step", "lock-data")
    )
    (text,) = ended([slept])
    assert re.search(
        r"rank 0 of 1 \(.*\) has been in the training step for \d+ s after step 5", text
    )
    (text,) = ended([locked])
    assert "Timeout" in text  # from faulthandler, which needs no lock
    assert "in fail" in text


def test_a_process_that_was_stopped_and_let_go_on_has_not_stalled():
    (rank,) = watched("stop-data", 1, rendezvous="none", limit=3)
    while Path(f"/proc/{rank.pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "T":
        assert rank.poll() is None, rank.communicate()[1]
        time.sleep(0.05)
    time.sleep(4)
    rank.send_signal(signal.SIGCONT)
    text = rank.communicate(timeout=300)[1]
    assert (rank.returncode, text) == (0, "")


@pytest.mark.distributed
def test_a_run_whose_reader_hangs_ends_and_says_which_rank_waits_for_data(tmp_path, monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    index, run = tiny_images(tmp_path / "corpus"), tmp_path / "run"
    job = start(tiny_recipe(epochs=4000), index, run, "--ranks", "2", "--workers", "1",
                "--checkpoint-every", "10", "--stall-minutes", "0.1")  # fmt: skip
    wait_for(run, 10, job)
    ranks = {rank_of(pid): pid for pid in children(job.pid)}
    for reader in children(ranks[1]):
        os.kill(reader, signal.SIGSTOP)
    text = job.communicate(timeout=300)[1]
    assert job.returncode == 1
    (line,) = reports([text])
    assert f"rank 1 of 2 (process {ranks[1]} on " in line
    assert "has been waiting for data for" in line
    assert "at loader/feed.py:" in line
    assert "rank 0: " in line
    (state,) = run.glob("checkpoints/*/progress.json")
    assert json.loads(state.read_text())["state"] == "failed"
