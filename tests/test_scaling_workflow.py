"""A study as the workflow makes it: each point once, and only those that are missing."""

import json
from base64 import urlsafe_b64encode

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


def planned(workspace, *more):
    done = workspace.snakemake(TABLE, "-n", *more)
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


def test_a_point_that_outlived_its_driver_is_kept(workspace):
    """The driver's mark that it is half made stands; only what it is now may be kept."""
    path = workspace.folder / "results" / "scaling" / "local" / f"{ALONE}.json"
    marks = [
        workspace.folder / ".snakemake" / "incomplete"
        / urlsafe_b64encode(str(file.relative_to(workspace.folder)).encode()).decode()
        for file in (path, path.with_suffix(".mllog"))
    ]  # fmt: skip
    recorded = [mark.parent.with_name("metadata") / mark.name for mark in marks]
    assert all(record.is_file() for record in recorded)  # this is where Snakemake would have them

    def killed():
        for mark in marks:
            mark.write_text('{"external_jobid": null}')

    before, name = path.read_bytes(), str(path.relative_to(workspace.folder))
    killed()
    told = json.loads(recorded[0].read_text())
    recorded[0].write_text(json.dumps({**told, "params": ["of the point before"]}))
    assert planned(workspace) == set()
    assert not any(file.exists() for file in (*marks, *recorded))
    killed()
    write_json(path, {**json.loads(before), "digests": {}})
    assert f"point local {ALONE}" in planned(workspace, "--forcerun", name)
    assert all(mark.exists() for mark in marks)
    path.write_bytes(before)
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
