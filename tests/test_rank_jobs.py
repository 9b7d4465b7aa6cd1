import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from tiny_runs import curve, ended, start, tiny_images, tiny_recipe, train_here, wait_for

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import attempts, saved, spawn
from workflow_scripts.pretrain.spawn import STOPPED_STATUS

JOB = ("--ranks", "2", "--strategy", "full_shard", "--checkpoint-every", "20", "--log-every", "5",
       "--accumulate", "2", "--activation-checkpointing", "--async-checkpoints")  # fmt: skip


def children(pid):
    return [int(word) for word in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def rank_of(pid):
    words = Path(f"/proc/{pid}/environ").read_text().split("\0")
    return next(int(word.split("=")[1]) for word in words if word.startswith("ORBWEAVER_RANK="))


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_of_ranks_that_ended_at_the_same_time_the_killed_one_is_named():
    ranks = [subprocess.Popen(["/bin/sh", "-c", how]) for how in ("exit 1", "kill -KILL $$")]
    for rank in ranks:
        rank.wait()
    with pytest.raises(UserError, match=r"rank 1 of 2 was ended by SIGKILL"):
        spawn._wait(ranks)


@pytest.mark.distributed
@pytest.mark.kill
def test_a_job_whose_ranks_or_parent_are_killed_ends_and_goes_on_to_the_same_curve(
    tmp_path, monkeypatch
):
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    index, recipe, run = tiny_images(tmp_path / "c"), tiny_recipe(epochs=100), tmp_path / "run"

    # A rank is killed: the job fails, says which rank, and ends the other.
    job = start(recipe, index, run, *JOB)
    wait_for(run, 20, job)
    ranks = {rank_of(pid): pid for pid in children(job.pid)}
    assert sorted(ranks) == [0, 1]
    os.kill(ranks[1], signal.SIGKILL)
    text = job.communicate(timeout=300)[1]
    assert job.returncode == 1
    assert "rank 1 of 2 was ended by SIGKILL" in text
    assert not any(alive(pid) for pid in ranks.values())

    # The parent is killed: its ranks die with it, and the run's lock is free.
    job = start(recipe, index, run, *JOB)
    wait_for(run, 100, job)
    orphans = children(job.pid)
    assert len(orphans) == 2
    job.kill()
    job.communicate()
    end = time.monotonic() + 300
    while any(alive(pid) for pid in orphans):
        assert time.monotonic() < end, "ranks outlived their parent"
        time.sleep(0.05)

    # One rank alone is told to stop: both do, and the segment is not over.
    job = start(recipe, index, run, *JOB)
    wait_for(run, 140, job)
    os.kill(children(job.pid)[1], signal.SIGTERM)
    text = job.communicate(timeout=300)[1]
    assert job.returncode == STOPPED_STATUS
    (step,) = map(int, re.findall(r"told to stop and did, at step (\d+) of 500", text))
    assert step == saved.latest(*(run / "checkpoints").iterdir()) >= 140
    assert not (run / "segments").exists()

    # SIGUSR1, which Slurm sends to every process there is, ends the segment well.
    job = start(recipe, index, run, *JOB, "--workers", "1")
    wait_for(run, 200, job)
    ranks = children(job.pid)
    for pid in [*(pid for rank in ranks for pid in children(rank)), *ranks, job.pid]:
        os.kill(pid, signal.SIGUSR1)
    first = ended(job, run)
    assert "a loader process died" not in job.communicate()[1]
    assert first["reason"] == "walltime"
    assert 200 <= first["end_step"] < 500
    tries = attempts.read(next((run / "checkpoints").iterdir()))
    assert [one["outcome"] for one in tries] == ["failed", None, "stopped", "walltime"]
    assert {(one["nodes"], one["ranks"]) for one in tries} == {(1, 2)}

    job = start(recipe, index, run, *JOB, number=2)
    assert ended(job, run, number=2)["reason"] == "done"

    train_here(recipe, index, tmp_path / "alone", "--log-every", "5")
    ours, alone = curve(run), curve(tmp_path / "alone")
    assert [step for step, _ in ours] == [step for step, _ in alone] == list(range(5, 501, 5))
    assert [loss for _, loss in ours][:20] == pytest.approx([x for _, x in alone][:20], abs=1e-4)
