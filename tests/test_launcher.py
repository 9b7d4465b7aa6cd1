"""envs/launch.sh and envs/frontier.sh, with programs of the site that only note their calls."""

import os
import subprocess
import tarfile
from pathlib import Path

import pytest

ENVS = Path(__file__).resolve().parent.parent / "envs"
SETTINGS = {
    "LAUNCHER": "srun", "SRUN_EXTRA": "--gpus-per-task=1 --gpu-bind=closest", "ENVIRONMENT": "",
    "NODES": "2", "RANKS_PER_NODE": "8", "CORES_PER_RANK": "7", "MINUTES": "120", "OVER": "0",
    "SLURM_JOB_ID": "41",
}  # fmt: skip


@pytest.fixture
def site(tmp_path):
    """A folder of programs, each of which writes its name and arguments into `calls`."""
    programs = tmp_path / "programs"
    programs.mkdir()
    for name in ("srun", "sbcast", "trainer"):
        program = programs / name
        program.write_text(
            f'#!/bin/bash\necho "{name} $*" >> {tmp_path}/calls\n'
            f'echo "{name} complains" >&2\n[[ ! -e {tmp_path}/{name}-fails ]]\n'
        )
        program.chmod(0o755)
    own = programs / "hostname"  # the real one fails where the host's name has no address
    own.write_text("#!/bin/bash\necho 192.0.2.7\n")
    own.chmod(0o755)
    return tmp_path


def run(site, *words, **settings):
    own = {
        key: value
        for key, value in os.environ.items()
        if not key.startswith(("SLURM_", "GLOO_", "ORBWEAVER_"))
    }
    module = 'module() { echo "module $*" >> calls; [[ ! -e module-fails ]]; }; export -f module'
    command = f'{module}; "$@"'
    return subprocess.run(
        ["bash", "-c", command, "site", *words],
        cwd=site, text=True, capture_output=True, check=False,
        env=own | {"PATH": f"{site}/programs:{os.environ['PATH']}"} | settings,
    )  # fmt: skip


def launch(site, **settings):
    log = "logs/pretrain/mae/1.log"
    return run(site, "bash", str(ENVS / "launch.sh"), log, "trainer", "--x", **SETTINGS | settings)


def calls(site):
    return (site / "calls").read_text().splitlines()


def test_srun_gets_the_geometry_on_its_own_line(site):
    assert launch(site).returncode == 0
    assert calls(site) == [
        "srun --nodes=2 --ntasks-per-node=8 --cpus-per-task=7 --kill-on-bad-exit=1"
        " --gpus-per-task=1 --gpu-bind=closest trainer --x --ranks 16 --walltime-s 7200"
    ]


def test_without_srun_the_trainer_starts_its_ranks_and_has_no_walltime(site):
    assert launch(site, LAUNCHER="").returncode == 0
    assert calls(site) == ["trainer --x --ranks 16"]


def test_a_run_that_is_over_needs_neither_srun_nor_environment(site):
    assert launch(site, OVER="1", ENVIRONMENT="missing.sh").returncode == 0
    assert calls(site) == ["trainer --x --ranks 1"]


def test_every_attempt_keeps_its_log(site):
    (site / "srun-fails").touch()
    assert launch(site).returncode != 0
    (site / "logs/pretrain/mae/1.log").unlink()  # as Snakemake does before the next attempt
    (site / "srun-fails").unlink()
    assert launch(site, SLURM_JOB_ID="42").returncode == 0
    logs = site / "logs/pretrain/mae"
    names = ["1.log", "1.attempts/41.log", "1.attempts/42.log"]
    assert [(logs / name).read_text() for name in names] == ["srun complains\n"] * 3
    assert (logs / "1.log").samefile(logs / "1.attempts/42.log")


def test_an_environment_that_fails_ends_the_job_before_srun(site):
    (site / "own.sh").write_text("echo no such module >&2\nfalse\n")
    done = launch(site, ENVIRONMENT=str(site / "own.sh"))
    assert done.returncode == 1
    assert not (site / "calls").exists()
    log = (site / "logs/pretrain/mae/1.log").read_text()
    assert log == f"no such module\n{site}/own.sh failed; its message is above\n"


FRONTIER = {"ENVIRONMENT": "envs/frontier.sh", "USER": "ada"}


def packed(site):
    """Settings of a job on a site with a packed environment."""
    (site / "project").mkdir()
    tarfile.open(site / "project/orbweaver-env.tar.gz", "w:gz").close()
    return FRONTIER | {"ORBWEAVER_PROJECT": str(site / "project"), "ORBWEAVER_NVME": "/nvme"}


def test_frontier_broadcasts_and_unpacks_on_every_node_before_the_ranks_start(site):
    done = launch(site, **packed(site))
    assert done.returncode == 0, (site / "logs/pretrain/mae/1.log").read_text()
    made = calls(site)
    assert [line.split()[:3] for line in made if line.startswith("module")][-1] == [
        "module", "load", "rccl-net-plugin",
    ]  # fmt: skip
    rest = [line for line in made if line.startswith(("sbcast", "srun"))]
    tarball = f"{site}/project/orbweaver-env.tar.gz"
    assert rest[0] == f"sbcast --force --preserve {tarball} /nvme/orbweaver-env.tar.gz"
    assert rest[1].startswith("srun --nodes=2 --ntasks=2 --ntasks-per-node=1 bash -c")
    assert rest[2].startswith("srun --nodes=2 --ntasks-per-node=8")


@pytest.mark.parametrize(
    ("program", "says"),
    [("sbcast", "failed on a node"), ("srun", "could not be unpacked"), ("module", "PrgEnv-gnu")],
)
def test_frontier_ends_the_job_when_something_fails(site, program, says):
    (site / f"{program}-fails").touch()
    assert launch(site, **packed(site)).returncode == 1
    assert says in (site / "logs/pretrain/mae/1.log").read_text()
    assert not [line for line in calls(site) if "--ranks" in line]


def test_frontier_says_so_when_there_is_no_packed_environment(site):
    settings = packed(site)
    (site / "project/orbweaver-env.tar.gz").unlink()
    assert launch(site, **settings).returncode == 0
    assert "conda-pack -p" in (site / "logs/pretrain/mae/1.log").read_text()
    assert [line for line in calls(site) if "--ranks" in line]


def test_frontier_has_ranks_start_from_its_environment_and_not_from_a_modules_python(site):
    settings = packed(site)
    (site / "project/orbweaver-env.tar.gz").unlink()
    for name in ("project/orbweaver-env/bin", "miniforge3/bin"):
        python = site / name / "trainer"
        python.parent.mkdir(parents=True)
        python.write_text(f"#!/bin/bash\necho {name} >> {site}/calls\n")
        python.chmod(0o755)
    (site / "programs/srun").write_text('#!/bin/bash\nexec "${@:7:2}"\n')  # behind its flags
    (site / "module.sh").write_text(f"module() {{ PATH={site}/miniforge3/bin:$PATH; }}\n")
    assert launch(site, BASH_ENV=str(site / "module.sh"), **settings).returncode == 0
    assert calls(site) == ["project/orbweaver-env/bin"]


def test_frontier_on_a_login_node_loads_modules_and_takes_the_environment(site):
    (site / "project/orbweaver-env/bin").mkdir(parents=True)
    show = f"source {ENVS}/frontier.sh && echo $PATH && echo $GLOO_SOCKET_IFNAME"
    login = {"ORBWEAVER_PROJECT": str(site / "project"), "USER": "ada"}
    done = run(site, "bash", "-c", show, **login)
    path, network = done.stdout.splitlines()
    assert path.startswith(f"{site}/project/orbweaver-env/bin:")
    assert network == "hsn0"
    assert not [line for line in calls(site) if line.startswith(("sbcast", "srun"))]
    without = run(site, "bash", "-c", show, USER="ada", ORBWEAVER_PROJECT="")
    assert without.returncode != 0
    assert "export ORBWEAVER_PROJECT=" in without.stderr


def test_frontier_elsewhere_says_that_it_is_elsewhere(site):
    elsewhere = f"unset -f module; source {ENVS}/frontier.sh"
    done = run(site, "bash", "-c", elsewhere, USER="ada", ORBWEAVER_PROJECT=str(site))
    assert done.returncode != 0
    assert "no `module` command" in done.stderr
