import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import launch
from workflow_scripts.pretrain.launch import Ranks

SRUN = {
    "SLURM_JOB_ID": "4711", "SLURM_STEP_ID": "0", "SLURM_PROCID": "9", "SLURM_LOCALID": "1",
    "SLURM_STEP_NUM_TASKS": "16", "SLURM_STEP_TASKS_PER_NODE": "8(x2)",
    "SLURM_STEP_NODELIST": "frontier[00012-00013]",
}  # fmt: skip


def test_without_a_launcher_this_process_is_alone_or_starts_the_ranks():
    assert launch.place(1, {}) == Ranks()
    assert launch.place(4, {}) == Ranks(world=4, must_spawn=True)


def test_a_step_of_srun_is_read():
    found = launch.place(16, SRUN)
    assert (found.rank, found.world, found.local_rank, found.local_world) == (9, 16, 1, 8)
    assert found.rendezvous == f"tcp://frontier00012:{20000 + 4711 * 7 % 10000}"
    assert not found.must_spawn
    assert not found.is_first


def test_the_address_given_by_a_launcher_script_wins():
    named = {**SRUN, "MASTER_ADDR": "10.0.0.1", "MASTER_PORT": "29500"}
    assert launch.place(16, named).rendezvous == "tcp://10.0.0.1:29500"


def test_a_single_task_of_srun_starts_the_ranks_itself():
    assert launch.place(4, {**SRUN, "SLURM_STEP_NUM_TASKS": "1"}).must_spawn


def test_torchrun_is_read():
    variables = {
        "TORCHELASTIC_RUN_ID": "x", "RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "2",
    }  # fmt: skip
    assert launch.place(4, variables) == Ranks(
        rank=3, world=4, local_rank=1, local_world=2, rendezvous="env://"
    )
    with pytest.raises(UserError, match="torchrun started 4 ranks but --ranks says 2"):
        launch.place(2, variables)


def test_ranks_of_another_number_are_refused():
    with pytest.raises(UserError, match="srun started 16 ranks but --ranks says 8"):
        launch.place(8, SRUN)
    with pytest.raises(UserError, match="--ranks is 0"):
        launch.place(0, {})


@pytest.mark.parametrize(
    ("nodes", "host"),
    [("frontier[00012-00014,00020]", "frontier00012"), ("a[3,5-9],b2", "a3"), ("n7", "n7"),
     ("n7,n8", "n7"), ("gpu[01]", "gpu01")],
)  # fmt: skip
def test_the_first_host_of_a_node_list(nodes, host):
    assert launch.first_host(nodes) == host


def test_threads_come_from_the_environment_or_share_the_cores(monkeypatch):
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(16)))
    assert launch.threads(Ranks(world=4, local_world=4), {}) == 4
    assert launch.threads(Ranks(world=64, local_world=64), {}) == 1
    assert launch.threads(Ranks(), {"OMP_NUM_THREADS": "3"}) == 3
    assert launch.threads(Ranks(), {"SLURM_CPUS_PER_TASK": "7"}) == 7
