"""A study as the workflow makes it: each point once, and only those that are missing."""

import pytest

from tests.workspace import Workspace
from workflow_scripts.files import read_json, write_json
from workflow_scripts.planned import planned_jobs

pytestmark = pytest.mark.pipeline

STUDY = """
studies:
  local:
    encoders:
      tiny: {family: swin, image_size: 64, patch: 4, width: 8, depths: [1], heads: [1], window: 4}
    strategies: [ddp, full_shard]
    ranks_per_node: [1]
    modes: [synthetic]
    batch: [2]
    warmup: 1
    steps: 1
    repeats: 1
"""
TABLE = "results/scaling/local.json"
ALONE = "tiny_no_shard_1x1_b2_synthetic"


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    one = Workspace(tmp_path_factory.mktemp("study"))
    with (one.folder / "tiny.yaml").open("a") as file:
        file.write(STUDY)
    one.snakemake(TABLE)
    return one


def planned(workspace):
    done = workspace.snakemake(TABLE, "-n")
    return {job.title for job in planned_jobs(done.stdout + done.stderr) if job.outputs}


def test_a_study_is_made_once(workspace):
    (row,) = read_json(workspace.folder / TABLE)["points"]
    assert (row["point"], row["status"]) == (ALONE, "done")
    assert planned(workspace) == set()


def test_the_target_measures_a_point_that_was_lost_and_prints_the_table(workspace):
    workspace.edit("tiny.yaml", "photos]}", "photos], studies: [local]}")
    point = workspace.folder / "results" / "scaling" / "local" / f"{ALONE}.json"
    point.unlink()
    done = workspace.snakemake("scaling")
    assert point.is_file()
    assert "(local)" in done.stdout
    assert planned(workspace) == set()


def test_a_longer_list_adds_the_missing_points_and_a_failed_one_can_be_measured_again(workspace):
    workspace.edit(
        "tiny.yaml", "ranks_per_node: [1]\n    modes", "ranks_per_node: [1, 2]\n    modes"
    )
    added = {f"point local tiny_{name}_1x2_b2_synthetic" for name in ("ddp", "full_shard")}
    assert planned(workspace) == {*added, "study local"}
    path = workspace.folder / "results" / "scaling" / "local" / f"{ALONE}.json"
    write_json(path, read_json(path) | {"status": "timeout"})
    retry = ("python", "-m", "workflow_scripts.study", "--retry-failed", TABLE)
    assert ALONE in workspace.run(*retry).stdout
    assert planned(workspace) == {*added, "study local", f"point local {ALONE}"}
