import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import launch
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.launch_slurm import hosts, step_of, tasks_by_node

SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "9", "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_STEP_NODELIST": "frontier[00012-00013]", "SLURM_NODEID": "1",
    "SLURMD_NODENAME": "frontier00013",
}  # fmt: skip

TORCHRUN = {
    "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
    "LOCAL_WORLD_SIZE": "2",
}  # fmt: skip


def test_without_a_launcher_this_process_is_alone_or_starts_the_ranks():
    assert launch.place(1, {}) == Ranks()
    assert launch.place(4, {}) == Ranks(world=4, must_spawn=True)


def test_a_step_of_srun_is_read():
    found = launch.place(16, SRUN)
    assert (found.rank, found.world, found.local_rank, found.local_world) == (9, 16, 1, 8)
    assert found.step.nodes == ("frontier00012", "frontier00013")
    assert found.where == found.step.node == "frontier00013"
    assert not found.must_spawn
    assert not found.is_first


def test_steps_and_a_requeued_job_have_names_of_their_own():
    steps = [SRUN, {**SRUN, "SLURM_STEP_ID": "1"}, {**SRUN, "SLURM_RESTART_COUNT": "1"},
             {**SRUN, "SLURM_STEP_LAUNCHER_PORT": "40001"}]  # fmt: skip
    assert len({step_of(step).name for step in steps}) == 4


def test_nodes_may_have_different_numbers_of_tasks():
    uneven = {**SRUN, "SLURM_STEP_TASKS_PER_NODE": "8,4(x2)", "SLURM_NODEID": "2"}
    assert launch.place(16, uneven).local_world == 4
    assert tasks_by_node("8(x2),4") == [8, 8, 4]


@pytest.mark.parametrize(
    "batch",
    [
        {"SLURM_JOB_ID": "4711"},
        {"SLURM_JOB_ID": "4711", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_NTASKS": "16"},
        {**SRUN, "SLURM_PROCID": "0", "SLURM_STEP_NUM_TASKS": "1"},
    ],
    ids=["stripped", "batch script", "one task"],
)
def test_in_a_job_but_not_among_tasks_this_process_is_alone_or_starts_the_ranks(batch):
    assert launch.place(1, batch) == Ranks()
    assert launch.place(4, batch) == Ranks(world=4, must_spawn=True)


def test_torchrun_is_read():
    assert launch.place(4, TORCHRUN) == Ranks(
        rank=3, world=4, local_rank=1, local_world=2, rendezvous="env://"
    )


def test_ranks_of_another_number_are_refused_by_rank_0():
    launch.check_number(launch.place(16, SRUN), 16)
    with pytest.raises(UserError, match="srun started 16 ranks but --ranks says 8"):
        launch.check_number(launch.place(8, SRUN), 8)
    with pytest.raises(UserError, match="torchrun started 4 ranks but --ranks says 2"):
        launch.check_number(launch.place(2, TORCHRUN), 2)
    with pytest.raises(UserError, match="--ranks is 0"):
        launch.place(0, {})


@pytest.mark.parametrize(
    ("nodes", "expected"),
    [
        ("frontier[00012-00014,00020]", "frontier00012 frontier00013 frontier00014 frontier00020"),
        ("a[3,9-10],b2", "a3 a9 a10 b2"),
        ("n7", "n7"),
        ("n7,n8", "n7 n8"),
        ("rack[0-1]node[08-09]x", "rack0node08x rack0node09x rack1node08x rack1node09x"),
        ("", ""),
    ],
)
def test_the_hosts_of_a_node_list(nodes, expected):
    assert hosts(nodes) == expected.split()


def test_threads_come_from_the_environment_or_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert launch.threads(Ranks(world=4, local_world=4), {}) == 4
    assert launch.threads(Ranks(world=64, local_world=64), {}) == 1
    assert launch.threads(Ranks(), {"OMP_NUM_THREADS": "3"}) == 3
    assert launch.threads(Ranks(), {"SLURM_CPUS_PER_TASK": "7"}) == 7
