"""What goes wrong in weeks of training, on a real Slurm, and how each run ends all the same.

One driver makes four runs. While the accounting is away for a minute, a job of one run is
cancelled, a rank of another killed and the node of a third; then the driver itself is killed. Each
test states one fact of how that ended.
"""

import sys
import time

import pytest

from tests.slurm.runs import Runs, kill
from workflow_scripts.pretrain import attempts

pytestmark = pytest.mark.slurm

OUTAGE_S = 60  # how long the accounting is away, at least


@pytest.fixture(scope="module")
def story(slurm, tmp_path_factory):
    """The runs after all that happened."""
    with Runs(tmp_path_factory.mktemp("faults"), slurm) as runs:
        tell(runs)
        yield runs


def tell(runs):
    runs.here("results/runs/calm/segments/1.json")
    last = {"chain": 4} | dict.fromkeys(FAULTS, 1)
    for run in last:
        runs.slow_down(run)
    targets = [f"results/runs/{run}/segments/{number}.json" for run, number in last.items()]
    first = runs.submit("first.log", *targets)
    runs.wait_for(lambda: any(map(runs.has_checkpoint, last)), "a run trains")
    disturb(runs)
    runs.wait_for(lambda: runs.trains("chain", 2), "the second segment trains")
    kill(first)
    second = runs.drive("second.log", sys.executable, "-m", "workflow_scripts.resume")
    runs.wait_for(lambda: "waiting for jobs" in runs.text("second.log"), "the new driver waits")
    runs.end_time_soon(*runs.jobs("chain", 2))
    runs.wait_for(lambda: runs.ended("chain", 2), "the second segment's end")
    runs.let_go("chain")
    runs.wait_for(lambda: second.poll() is not None, "the workflow's end")
    assert second.returncode == 0, runs.messages()


def disturb(runs):
    """Do what is in FAULTS to each run once it trains; the accounting is away meanwhile."""
    runs.cluster.stop_accounting()
    back = time.monotonic() + OUTAGE_S
    left = {"chain": end_its_time} | FAULTS

    def done():
        for run in filter(runs.has_checkpoint, list(left)):
            left.pop(run)(runs, run)
        return not left and time.monotonic() > back

    try:
        runs.wait_for(done, "all runs disturbed")
    finally:
        runs.cluster.start_accounting()


def end_its_time(runs, run):
    runs.end_time_soon(*runs.jobs(run))


def cancel(runs, run):
    runs.cluster.run("scancel", *map(str, runs.jobs(run)))
    runs.let_go(run)


def kill_a_rank(runs, run):
    runs.trainers(run)[-1].kill()
    runs.let_go(run)


def kill_the_node(runs, run):
    """Kill it with all its processes; it is back when Slurm has seen that it was gone."""
    (job,) = runs.jobs(run)
    node = next(row.nodes for row in runs.cluster.squeue() if row.id == job)
    runs.cluster.kill_node(node)
    try:
        runs.wait_for(lambda: runs.cluster.state(job) == "NODE_FAIL", "the node is missed")
    finally:
        runs.cluster.revive_node(node)
    runs.let_go(run)


FAULTS = {"cancelled": cancel, "killed": kill_a_rank, "stranded": kill_the_node}


@pytest.mark.parametrize("run", ["chain", *FAULTS])
def test_the_curve_is_that_of_a_local_run_that_nothing_interrupted(story, run):
    assert len(story.curve("calm")) == 120
    assert story.curve(run) == story.curve("calm")


def test_a_chain_is_cut_twice_by_walltime_and_done_in_its_third_segment(story):
    parts = [story.segment("chain", number) for number in (1, 2, 3)]
    assert [part["reason"] for part in parts] == ["walltime", "walltime", "done"]
    assert [part["start_step"] for part in parts] == [0, *(p["end_step"] for p in parts[:-1])]
    assert 0 < parts[0]["end_step"] < parts[1]["end_step"] < parts[2]["end_step"] == 120


def test_a_segment_after_the_last_starts_no_ranks(story):
    segment = story.segment("chain", 4)
    assert (segment["start_step"], segment["end_step"], segment["reason"]) == (120, 120, "done")
    (job,) = story.jobs("chain", 4)
    assert story.steps(job) == ["batch"]


@pytest.mark.parametrize(
    ("run", "state", "outcomes"),
    [
        # A Slurm without cgroups signals srun too, which may kill its ranks before they are done.
        ("cancelled", "CANCELLED", {None, "stopped"}),
        # The other ranks may have time to say that they failed.
        ("killed", "FAILED", {None, "failed"}),
        ("stranded", "NODE_FAIL", {None}),
    ],
)
def test_a_job_that_died_is_followed_by_a_new_one_that_goes_on(story, run, state, outcomes):
    first, second = story.jobs(run)
    assert [story.how_ended(job) for job in (first, second)] == [state, "COMPLETED"]
    began = attempts.read(story.checkpoints(run))
    assert [one["job"] for one in began] == [str(first), str(second)]
    assert began[0]["outcome"] in outcomes
    assert began[1]["outcome"] == "done"
    assert "resumed at step" in story.log_of(run, second)


@pytest.mark.parametrize("run", FAULTS)
def test_the_logs_of_every_attempt_are_kept(story, run):
    first, second = story.jobs(run)
    assert "step 1 of 120" in story.log_of(run, first)
    assert "segment ended at step 120 of 120 (done)" in story.log_of(run, second)
    last = story.folder / "logs" / "pretrain" / run / "1.log"
    assert last.read_text(encoding="utf-8") == story.log_of(run, second)


def test_an_outage_of_the_accounting_has_no_job_submitted_again(story):
    """The first segment of the chain trained meanwhile; the driver was asking for its state."""
    (job,) = story.jobs("chain", 1)
    assert story.how_ended(job) == "COMPLETED"


def test_a_driver_that_is_killed_leaves_no_training_to_be_done_twice(story):
    assert "pretrain chain_2: RUNNING" in (story.folder / "second.log").read_text()
    assert [len(story.jobs("chain", number)) for number in (1, 2, 3, 4)] == [1, 1, 1, 1]
    began = attempts.read(story.checkpoints("chain"))
    assert [(one["segment"], one["outcome"]) for one in began] == [
        (1, "walltime"),
        (2, "walltime"),
        (3, "done"),
    ]
