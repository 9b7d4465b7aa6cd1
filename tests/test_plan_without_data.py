"""An experiment is planned before its data is there; starting it says what is missing."""

import os
import re
import sys

import pytest

from tests.conftest import ROOT
from tests.workspace import Workspace
from workflow_scripts.config_check import load_config
from workflow_scripts.plan.node_hours import rows, table
from workflow_scripts.planned import planned_jobs
from workflow_scripts.sites import Profile

pytestmark = pytest.mark.pipeline

EXAMPLE = ROOT / "examples" / "frontier.yaml"
CLOUDS = """
all: {runs: [clouds], benchmarks: []}
datasets:
  terra:
    kind: modis-l1b
    path: archive
    first: "2024-02-28"
    last: "2024-03-01"
    obtain: ask LAADS for them
  aqua: {kind: modis-l1b, platform: Aqua, path: archive, first: "2024-01-01", last: "2024-01-01"}
corpora:
  clouds: {datasets: [terra, aqua]}
runs:
  clouds:
    objective: mae
    corpus: clouds
    encoder: {family: vit, image_size: 16, patch: 8, width: 16, depth: 1, heads: 1}
"""
DAYS = {("terra", "2024-02-28"), ("terra", "2024-02-29"), ("terra", "2024-03-01"),
        ("aqua", "2024-01-01")}  # fmt: skip


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("without-data"))
    (made.folder / "clouds.yaml").write_text(CLOUDS)
    return made


def snakemake(workspace, *words, config="clouds.yaml", check=True):
    command = ("-m", "snakemake", *words, "--configfile", config)
    return workspace.run(sys.executable, *command, check=check)


def jobs_of(done, rule):
    jobs = planned_jobs(done.stdout + done.stderr)
    return {job.wildcards for job in jobs if job.rule == rule}


def test_a_plan_has_every_day_asked_for_and_says_once_that_none_is_there(workspace):
    done = snakemake(workspace, "all", "-n")
    assert jobs_of(done, "fetch_day") == jobs_of(done, "tile") == DAYS
    text = done.stdout + done.stderr
    for dataset, days in (("terra", 3), ("aqua", 1)):
        words = f"dataset {dataset}: planned with {days} days assumed, no granule is there yet"
        assert text.count(words) == 1


def test_a_start_without_granules_is_refused_before_any_job(workspace):
    done = snakemake(workspace, "fetch_all", "--cores", "1", check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert "ask LAADS for them" in text
    assert "no MOD021KM granule from 2024-02-28 to 2024-03-01" in text
    assert "assumed" not in text
    assert not list((workspace.folder / "data").glob("manifests/*"))


def test_what_only_asks_needs_no_granule(workspace):
    shown = snakemake(workspace, "stale").stdout
    assert "tile terra 2024-02-29: not made yet" in shown
    graph = snakemake(workspace, "all", "--rulegraph", "mermaid-js").stdout
    assert graph.startswith("---\ntitle: DAG\n---\nflowchart TB")


# --- examples/frontier.yaml ----------------------------------------------------------------------


@pytest.fixture(scope="module")
def plan(workspace):
    """What planning the example prints where nobody has an account."""
    command = ("snakemake", "--profile", "profiles/frontier", "-n", "all")
    mine = [word for name in os.environ if name.startswith("ORBWEAVER_") for word in ("-u", name)]
    return workspace.run("env", *mine, *command, "--configfile", str(EXAMPLE))


def test_the_example_is_planned_without_data_and_without_an_account(plan):
    counts = dict(re.findall(r"^(\w+) +(\d+)$", plan.stdout, re.M))
    config = load_config(EXAMPLE)
    assert int(counts["tile"]) == 2 * 365
    assert int(counts["pretrain"]) == sum(config.runs[run].segments for run in config.all.runs)
    assert int(counts["probe"]) == int(counts["features"]) == 4 * 4 + 1
    assert int(counts["split"]) == 4
    assert int(counts["weights"]) == 1
    assert int(counts["total"]) == 1591  # as docs/frontier.md says


def test_the_plan_warns_of_the_account_and_tells_the_node_hours_beside_it(plan):
    assert "ORBWEAVER_ACCOUNT is not set" in plan.stdout
    profile = Profile(defaults={}, pretrain={"tasks_per_node": 8})
    assert table(rows(load_config(EXAMPLE), profile)) in plan.stderr


def test_the_plan_shows_the_nodes_and_minutes_of_every_segment(plan):
    blocks = re.split(r"^(?=(?:local)?rule \w+:$)", plan.stdout, flags=re.M)
    shown = {}
    for block in blocks:
        run = re.search(r"wildcards: run=([\w-]+), segment=1$", block, re.M)
        if run and block.startswith("rule pretrain:"):
            shown[run[1]] = dict(re.findall(r"(mpi|nodes|tasks_per_node|runtime)=(\w+)", block))
    assert shown == {
        row.laid.run: {"mpi": "srun", "nodes": f"{row.laid.nodes}", "tasks_per_node": "8",
                       "runtime": f"{row.laid.minutes}"}
        for row in rows(load_config(EXAMPLE))
    }  # fmt: skip


# Images or chips of an epoch and rate of a node, as the comments of the example have them: the
# published ones, else 70 TFLOP/s over the operations of a sample.
SAMPLES = {"mae": 995_848, "simmim": 9_000_000, "gfm": 587_954}
A_NODE = {
    "mae-base": 9927 / 8, "mae-huge": 70e3 / 290, "mae-1b": 3056 / 16, "mae-3b": 70e3 / 1236,
    "modis-100m": 70e3 / 10.7, "modis-200m": 70e3 / 35.9, "modis-600m": 70e3 / 134.7,
    "modis-1400m": 70e3 / 386, "gfm": 70e3 / 99,
}  # fmt: skip


@pytest.mark.parametrize("name", A_NODE)
def test_segments_are_enough_by_the_published_rates_with_half_as_much_again(name):
    run = load_config(EXAMPLE).runs[name]
    seconds = SAMPLES[run.objective] * run.epochs / (A_NODE[name] * run.launch.nodes)
    needed = 1.5 * seconds / (110 * 60)
    assert needed <= run.segments < needed + 1.2
    assert run.launch.nodes <= 91
    assert run.launch.walltime_minutes <= 120
