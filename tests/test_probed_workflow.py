"""Steps along a run and weights from elsewhere, as Snakemake plans and makes what is judged."""

import re
import shutil
from collections import Counter

import pytest

from tests.workspace import Workspace
from workflow_scripts.planned import planned_jobs

pytestmark = pytest.mark.pipeline

RUN = "results/runs/scenes-mae"


def judged_at(workspace, *steps):
    """Have the benchmark judge the run at these steps, and nothing else."""
    names = [f"scenes-mae@{step}" for step in steps]
    workspace.folder.joinpath("along.yaml").write_text(
        "runs: {scenes-mae: {launch: {strategy: no_shard, ranks_per_node: 1}}}\n"
        f"benchmarks: {{scenes: {{encoders: {names}}}}}\n"
    )


def snakemake(workspace, *steps, plan=False, check=True):
    """Ask for the run's model folders at some steps."""
    files = [f"{RUN}/steps/{step}/model.json" for step in steps]
    options = ["-n"] if plan else []
    words = [*files, *options, "--configfile", "tiny.yaml", "along.yaml"]
    return workspace.run("snakemake", *words, check=check)


def counted(printed):
    """How many jobs of each rule a plan has."""
    return dict(Counter(re.findall(r"^rule (\w+):", printed.stdout + printed.stderr, re.M)))


def test_a_run_is_judged_along_its_steps_without_being_trained_again(tmp_path):
    workspace = Workspace(tmp_path)
    judged_at(workspace, 4, 10)
    snakemake(workspace, 4)
    weights = tmp_path / RUN / "steps" / "4" / "weights.safetensors"
    made = weights.read_bytes()
    (folder,) = (tmp_path / RUN / "checkpoints").iterdir()
    # Every third step is saved, two of them are kept; the run has 15 steps.
    assert sorted(path.name for path in folder.glob("step-*")) == [
        f"step-{step:09d}" for step in (4, 10, 12, 15)
    ]

    judged_at(workspace, 4, 12)
    printed = snakemake(workspace, 4, 10, 12, plan=True)
    assert counted(printed) == {"snapshot": 2}

    judged_at(workspace, 4, 7, 99)
    shutil.rmtree(folder / "step-000000004")
    workspace.edit(
        "workflow_scripts/export/model.py", "import torch\n", "import torch\n\nNEW = 1\n"
    )
    assert counted(snakemake(workspace, 4, plan=True)) == {"snapshot": 1}
    refused = snakemake(workspace, 4, 7, 99, check=False)
    assert refused.returncode
    words = "which ended at step 15, has no checkpoint of step 4, 7, 99. Name steps that it has"
    assert words in refused.stdout + refused.stderr
    assert weights.read_bytes() == made


def test_weights_are_made_before_they_are_judged_and_missed_where_jobs_may_not_fetch(tmp_path):
    workspace = Workspace(tmp_path)
    (tmp_path / "judged.yaml").write_text(
        "weights: {hub: {architecture: test_vit.r160_in1k}}\n"
        "benchmarks: {scenes: {encoders: [hub], protocols: [linear]}}\n"
    )
    files = ("--configfile", "tiny.yaml", "judged.yaml")
    done = workspace.run("snakemake", "-n", "fetch_all", "probe_scenes", *files)
    jobs = {job.title: job for job in planned_jobs(done.stdout + done.stderr)}
    weights, features = jobs["weights hub"], jobs["features hub scenes"]
    assert {f"data/weights/hub/{name}" for name in ("weights.safetensors", "model.json")} <= (
        weights.outputs & features.inputs
    )
    assert weights.outputs & jobs["fetch_all"].inputs
    assert "probe hub scenes" in jobs
    assert not {title for title in jobs if "pretrain" in title}  # its `overlap` needs no corpus
    plan = workspace.run(
        "snakemake", "--profile", "profiles/frontier", "-n", "probe_scenes", *files
    )  # fmt: skip
    assert "data/weights/hub/model.json is not here" in plan.stdout + plan.stderr
