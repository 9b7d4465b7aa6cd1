"""The list of a run's attempts."""

import pytest

from workflow_scripts import slurm
from workflow_scripts.pretrain import attempts
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.launch_slurm import step_of

JOB = {"SLURM_JOB_ID": "4711", "ORBWEAVER_ATTEMPT_LOG": "logs/pretrain/a/1.4711.log"}


@pytest.fixture
def seconds(monkeypatch):
    """What the job's clock shows."""
    clock = [0.0]
    monkeypatch.setattr(attempts, "seconds_since_start", lambda: clock[0])
    return clock


def test_an_attempt_is_listed_from_its_beginning_and_grows_until_its_outcome(tmp_path, seconds):
    assert attempts.read(tmp_path) == []
    assert attempts.seen(tmp_path) == {}
    seconds[0] = 5.0
    attempts.begin(tmp_path, segment=2, ranks=Ranks(world=16, local_world=8), environment=JOB)
    (one,) = attempts.read(tmp_path)
    assert (one["segment"], one["job"], one["nodes"], one["ranks"]) == (2, "4711", 2, 16)
    assert (one["log"], one["outcome"], one["seconds"]) == (
        "logs/pretrain/a/1.4711.log", None, 5.0
    )  # fmt: skip
    seconds[0] = 60.0
    assert attempts.seen(tmp_path)["outcome"] is None
    seconds[0] = 90.0
    attempts.seen(tmp_path, attempts.WALLTIME)
    (one,) = attempts.read(tmp_path)
    assert (one["seconds"], one["outcome"]) == (90.0, "walltime")
    assert one["began"] <= one["seen"]


def test_node_hours_count_every_attempt_that_died_too(tmp_path, seconds):
    seconds[0] = 1800.0
    attempts.begin(tmp_path, segment=1, ranks=Ranks(world=16, local_world=8), environment={})
    seconds[0] = 3600.0
    attempts.begin(tmp_path, segment=1, ranks=Ranks(world=4, must_spawn=True), environment={})
    died, last = attempts.read(tmp_path)
    assert (died["job"], died["log"], died["outcome"]) == (None, None, None)
    assert (last["nodes"], last["ranks"]) == (1, 4)
    assert attempts.node_hours([died, last]) == 2 * 0.5 + 1


def test_the_step_is_kept_only_where_it_is_this_segment_alone(tmp_path, seconds):
    job = {**JOB, "SLURM_STEP_ID": "3"}
    step = step_of({**job, "SLURM_STEP_NUM_TASKS": "2", "SLURM_PROCID": "0", "SLURM_LOCALID": "0"})
    for ranks, environment in (
        (Ranks(), job),  # a driver in a step of the user's own: other jobs run in it too
        (Ranks(), {**job, slurm.JOBS_VARIABLE: "1"}),
        (Ranks(step=step), job),
        (Ranks(), {**JOB, slurm.JOBS_VARIABLE: "1"}),  # in the batch script itself
        (Ranks(), {**job, slurm.JOBS_VARIABLE: "1", "SLURM_STEP_ID": "4294967291x"}),
    ):
        attempts.begin(tmp_path, segment=1, ranks=ranks, environment=environment)
    assert [one["step"] for one in attempts.read(tmp_path)] == [None, "3", "3", None, None]
