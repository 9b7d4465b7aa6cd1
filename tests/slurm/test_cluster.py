"""The Slurm of the tests is one, and the profile they use is the shipped one."""

import pytest
import yaml

from tests.slurm.profile import derive, shipped, write_profile

GEOMETRY = {"tasks_per_node", "cpus_per_task"}


def _leaves(value, path=()):
    if not isinstance(value, dict):
        return {path: value}
    return {p: v for key, item in value.items() for p, v in _leaves(item, (*path, key)).items()}


def test_only_geometry_walltime_lead_and_polling_differ_from_the_shipped_profile():
    ours, theirs = _leaves(derive(shipped(), walltime_minutes=2)), _leaves(shipped())
    other = {path for path in ours | theirs if ours.get(path) != theirs.get(path)}
    geometry = {path for path in other if path[0] == "set-resources" and path[-1] in GEOMETRY}
    assert ("set-resources", "pretrain", "tasks_per_node") in geometry
    assert other - geometry == {
        ("default-resources", "runtime"),
        ("set-resources", "pretrain", "runtime"),
        ("set-resources", "pretrain", "slurm_extra"),
        ("slurm-init-seconds-before-status-checks",),
        ("max-status-checks-per-second",),
    }
    extra = ("set-resources", "pretrain", "slurm_extra")
    assert ours[extra].replace("USR1@90", "USR1@300") == theirs[extra]


def test_the_profile_is_written_as_derived(tmp_path):
    folder = write_profile(tmp_path / "profile")
    assert yaml.safe_load((folder / "config.yaml").read_text()) == derive(shipped())


@pytest.mark.slurm
def test_a_step_runs_on_both_nodes_and_is_accounted_for(slurm):
    line = ("srun", "-A", slurm.account, "--nodes=2", "--ntasks-per-node=2", "-C", "nvme")
    said = slurm.run(*line, "--gpus-per-node=8", "bash", "-c", "echo $SLURMD_NODENAME")
    assert sorted(said.split()) == sorted(2 * slurm.nodes)
    job = max(row.id for row in slurm.squeue())
    slurm.wait_for(
        lambda: (job, "COMPLETED") in [(row.id, row.state) for row in slurm.sacct()],
        "the job in the accounting",
    )


@pytest.mark.slurm
def test_slurm_takes_the_shipped_geometry_and_flags_as_they_are(slurm):
    asked = shipped()["set-resources"]["pretrain"]
    line = (
        f"sbatch --test-only -A {slurm.account} -p batch --nodes=2 -t 120 -C {asked['constraint']}"
        f" --ntasks-per-node={asked['tasks_per_node']} --cpus-per-task={asked['cpus_per_task']}"
    )
    words = [*line.split(), *asked["slurm_extra"].strip("'").split()]
    slurm.run(*words, "--wrap", "true")
    with pytest.raises(AssertionError, match="Requested node configuration is not available"):
        slurm.run(*words, "--cpus-per-task=8", "--wrap", "true")  # 56 of the 64 cores are for jobs


@pytest.mark.slurm
def test_accounts_are_enforced(slurm):
    with pytest.raises(AssertionError, match="Invalid account"):
        slurm.run("srun", "-A", "nobody", "true")
