"""What a driver with a Slurm profile refuses to start, and what a plan with it says."""

import re

import pytest

from tests.instant_slurm import InstantSlurm
from tests.workspace import Workspace

pytestmark = pytest.mark.pipeline
NAMES = ("ORBWEAVER_ACCOUNT", "ORBWEAVER_PARTITION", "ORBWEAVER_PROJECT")
UNSET = ["env", *(word for name in NAMES for word in ("-u", name))]
FRONTIER = ["snakemake", "--profile", "profiles/frontier"]


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("refused"))


@pytest.fixture
def slurm(tmp_path):
    return InstantSlurm(tmp_path / "slurm", accounts=("abc123", "def456"))


def ready(workspace, slurm, **other):
    """The beginning of a command with all set."""
    own = dict(zip(NAMES, ("abc123", "batch", str(workspace.folder)), strict=True))
    return [*slurm.environment(**own | other), "timeout", "-k", "10", "120", *FRONTIER]


def refused(workspace, slurm, *command):
    """What a driver says that ends with an error and has submitted nothing."""
    done = workspace.run(*command, check=False)
    assert done.returncode != 0
    assert slurm.lines() == []
    return done.stdout + done.stderr


def test_what_is_not_set_is_told_at_once_and_nothing_is_submitted(workspace, slurm):
    text = refused(workspace, slurm, *UNSET, *slurm.environment(), *FRONTIER, "all")
    for name in NAMES:
        assert f"  export {name}=" in text


def test_a_plan_is_made_before_all_is_set_and_refused_by_no_run_that_is_not_asked_for(workspace):
    long = "runs={modis-simmim: {launch: {walltime_minutes: 240}}}"
    done = workspace.run(*UNSET, *FRONTIER, "-np", "probe_scenes", "--config", long)
    assert "mpi=srun" in done.stdout
    before = done.stdout.split("rule fetch_generated:")[0]
    assert "WARNING: profile frontier: no job can be submitted yet\n" in before
    for name in NAMES:
        assert f"  export {name}=" in before
    costs = {line.split()[0]: line.split() for line in done.stderr.splitlines() if " min " in line}
    assert costs["modis-simmim"][-5:] == ["1", "×", "240", "min", "4.0"]


def test_an_account_of_others_and_weights_to_download_are_told_together(workspace, slurm):
    command = ready(workspace, slurm, ORBWEAVER_ACCOUNT="xyz")
    teacher = "runs={scenes-gfm: {teacher: swin-base-in22k}}"
    target = "results/runs/scenes-gfm/weights.safetensors"
    text = refused(
        workspace, slurm, *command, target, "--configfile", "tiny.yaml", "--config", teacher
    )
    assert "account 'xyz' is none of yours: you have abc123, def456" in text
    assert "data/weights/swin-base-in22k/model.json is not here" in text
    cure = re.search(r"^  snakemake --profile profiles/local-fetch (.*)$", text, re.M)[1].split()
    assert cure == ["fetch_all", "--configfile", str(workspace.folder / "tiny.yaml")]


@pytest.mark.parametrize("how", [[], ["-n"]])
def test_a_run_beyond_its_bin_is_refused_also_in_a_plan(workspace, slurm, how):
    long = "runs={scenes-mae: {launch: {walltime_minutes: 240}}}"
    command = ready(workspace, slurm)
    text = refused(workspace, slurm, *command, *how, "probe_scenes", "--config", long)
    assert "runs.scenes-mae.launch.walltime_minutes: 240 minutes, but partition batch" in text


def test_fetching_asks_for_no_site(workspace):
    done = workspace.run(
        *UNSET, "snakemake", "--profile", "profiles/local-fetch", "-n", "fetch_all"
    )
    assert "rule fetch_generated:" in done.stdout
    assert set(re.findall(r"^    threads: (.*)$", done.stdout, re.M)) <= {"2"}
    assert "no job can be submitted" not in done.stdout + done.stderr
