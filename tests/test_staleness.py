"""After one run of the tiny pipeline: what each edit makes stale, and nothing else."""

import os
import shutil

import pytest

from tests.workspace import Workspace
from workflow_scripts.planned import planned_jobs

pytestmark = pytest.mark.pipeline

MAE = {"pretrain scenes-mae 1", "export scenes-mae", "card scenes-mae"}
SIMMIM = {"pretrain modis-simmim 1", "export modis-simmim", "card modis-simmim"}
TEACHER = {"pretrain scenes-teacher 1", "export scenes-teacher", "card scenes-teacher"}
GFM = {"pretrain scenes-gfm 1", "export scenes-gfm", "card scenes-gfm"}
PROBED_CARDS = {"card scenes-mae", "card scenes-gfm"}
RUNS = MAE | SIMMIM | TEACHER | GFM


def probes(*pairs):
    """The features of encoders on benchmarks, and what is made of them."""
    return {f"{rule} {pair}" for rule in ("features", "probe") for pair in pairs}


MAE_PROBES = probes("scenes-mae scenes", "scenes-mae photos")
PROBES = MAE_PROBES | probes("scenes-gfm scenes")
PACKS = {"pack scenes-train", "pack modis", "pack bench-scenes", "pack bench-photos"}
TILE = {"tile sample-modis 2026-01-01"}
REPORT = {"report", "crate"}
NOTHING: set[str] = set()


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The tiny pipeline, run once."""
    workspace = Workspace(tmp_path_factory.mktemp("finished"))
    workspace.snakemake("all")
    return workspace


@pytest.fixture
def workspace(finished):
    """The finished pipeline; what a test edits is put back afterwards, with its times."""
    names = ("Snakefile", "rules", "workflow_scripts", "tiny.yaml", "photos")
    backup = finished.folder.with_name("backup")
    for name in names:
        source = finished.folder / name
        copy = shutil.copytree if source.is_dir() else shutil.copy2
        backup.mkdir(exist_ok=True)
        copy(source, backup / name)
    yield finished
    for name in names:
        target = finished.folder / name
        if target.is_dir():
            shutil.rmtree(target)
        shutil.move(backup / name, target)
    shutil.rmtree(backup)


def test_nothing_changed_nothing_runs(workspace):
    assert workspace.planned() == NOTHING
    assert "nothing is stale" in workspace.snakemake("stale").stdout


def test_snakemakes_own_report_has_the_figures(workspace):
    workspace.snakemake("--report", "snakemake.html")
    text = (workspace.folder / "snakemake.html").read_text()
    for name in ("dag.svg", "run_scenes-mae.svg", "probe_scenes-gfm_scenes.svg", "report.html"):
        assert name in text


EDITS = {
    "learning rate of one run": (
        ("tiny.yaml", "optim: {warmup_epochs: 1}", "optim: {warmup_epochs: 1, base_lr: 0.001}"),
        MAE | MAE_PROBES | REPORT,
    ),
    "two values swapped": (
        ("tiny.yaml", "decoder: {width: 16, depth: 1, heads: 2}",
         "decoder: {width: 16, depth: 2, heads: 1}"),
        MAE | MAE_PROBES | REPORT,
    ),
    "seed of a probe": (
        ("tiny.yaml", "seeds: [0, 1]}", "seeds: [0, 2]}"),
        probes("scenes-mae scenes", "scenes-gfm scenes") | PROBED_CARDS | REPORT,
    ),
    "setting of a protocol": (
        ("tiny.yaml", "seeds: [0, 1]}", "seeds: [0, 1], knn: {k: [3]}}"),
        {"probe scenes-mae scenes", "probe scenes-gfm scenes"} | PROBED_CARDS | REPORT,
    ),
    "division of a benchmark": (
        ("tiny.yaml", "dataset: photos,", "dataset: photos, split: ucm-50,"),
        {"split photos", "card scenes-mae"} | probes("scenes-mae photos") | REPORT,
    ),
    "a step along a run": (
        ("tiny.yaml", "seeds: [0, 1]}", "seeds: [0, 1], along: {scenes-mae: [3]}}"),
        {"snapshot scenes-mae 3", "dag_figure"} | probes("scenes-mae@3 scenes") | REPORT,
    ),
    "label in the report": (
        ("tiny.yaml", "label: Photos", "label: Snapshots"), {"card scenes-mae"} | REPORT
    ),
    "licence of a dataset": (
        ("tiny.yaml", "sample-modis: {granules", "sample-modis: {licence: mit, granules"),
        {"card modis-simmim"} | REPORT,
    ),
    "worker count": (
        ("tiny.yaml", "ranks_per_node: 2,", "ranks_per_node: 2, workers: 2,"), NOTHING
    ),
    "walltime": (
        ("tiny.yaml", "ranks_per_node: 2,", "ranks_per_node: 2, walltime_minutes: 5,"), NOTHING
    ),
    "nodes": (("tiny.yaml", "ranks_per_node: 2,", "ranks_per_node: 2, nodes: 2,"), NOTHING),
    "comment in the trainer": (
        ("workflow_scripts/pretrain/trainer.py", '"""', '# a remark\n"""'), NOTHING
    ),
    "real change in the trainer": (
        ("workflow_scripts/pretrain/schedule.py", "math.cos(", "0.5 * math.cos("),
        RUNS | PROBES | REPORT,
    ),
    "real change in the shard reader": (
        ("workflow_scripts/shards/reader.py", ".astype(np.float32)", ".astype(np.float32) * 2"),
        PACKS | RUNS | PROBES | REPORT,
    ),
    "real change in the probe": (
        ("workflow_scripts/features/extract.py", "GPU_BATCH = 16", "GPU_BATCH = 32"),
        PROBES | PROBED_CARDS | REPORT,
    ),
    "shell text of a rule": (
        ("rules/pack.smk", "python -m workflow_scripts.pack", "python  -m workflow_scripts.pack"),
        NOTHING,
    ),
    "new default of the report": (
        ("workflow_scripts/config.py", "samples_per_class: Positive = Field(4,",
         "samples_per_class: Positive = Field(3,"),
        REPORT,
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", EDITS)
def test_edit_reruns_exactly(workspace, name):
    edit, expected = EDITS[name]
    workspace.edit(*edit)
    assert workspace.planned() == expected


def test_replaced_image_reruns_what_uses_its_dataset(workspace):
    path = workspace.folder / "photos" / "dark" / "0.jpg"
    shutil.copy(workspace.folder / "photos" / "dark" / "1.jpg", path)
    assert workspace.planned() == (
        {"fetch_folder photos", "split photos", "pack bench-photos", "card scenes-mae"}
        | probes("scenes-mae photos")
        | REPORT
    )


def test_touched_shards_rerun_nothing(workspace):
    shards = [
        *workspace.folder.glob("data/chips/*/*.h5"),
        *workspace.folder.glob("data/shards/*/*.h5"),
    ]
    assert max(path.stat().st_size for path in shards) > 2**20
    for path in shards:
        os.utime(path)
    assert workspace.planned() == NOTHING


def test_unrelated_commit_reruns_nothing(workspace):
    git = ("git", "-c", "user.name=t", "-c", "user.email=t@example.org")
    (workspace.folder / "NOTES").write_text("unrelated")
    workspace.run("git", "init", "-q")
    workspace.run("git", "add", "NOTES")
    workspace.run(*git, "commit", "-q", "-m", "Add notes")
    assert workspace.planned() == NOTHING


def test_override_on_the_command_line_counts(workspace):
    override = ("--config", "runs={scenes-mae: {epochs: 4}}")
    assert workspace.planned(*override) == MAE | MAE_PROBES | REPORT


def test_rescan_asks_for_the_folder_again(workspace):
    workspace.edit("tiny.yaml", "path: photos", "path: photos\n    rescan: 1")
    assert "fetch_folder photos" in workspace.planned()


def test_results_without_records_are_refused_when_they_differ(workspace):
    records = workspace.folder / ".snakemake"
    hidden = workspace.folder / "hidden"
    records.rename(hidden)
    try:
        assert workspace.planned() == NOTHING  # copied from another site, and the same
        workspace.edit("tiny.yaml", "epochs: 3", "epochs: 4")
        refused = workspace.snakemake("all", "-n", check=False)
        assert refused.returncode != 0
        told = refused.stdout + refused.stderr
        assert "epochs 3 → 4" in told
        (command,) = (line.split() for line in told.splitlines() if "--forcerun" in line)
        assert command[-1] == "results/runs/scenes-mae/summary.json"
        again = workspace.run(*command, "-n").stdout  # the command exactly as printed
        titles = {job.title for job in planned_jobs(again) if job.outputs}
        assert titles == MAE | MAE_PROBES | REPORT
    finally:
        shutil.rmtree(records, ignore_errors=True)
        hidden.rename(records)


def test_pinned_run_survives_a_code_change(workspace):
    workspace.edit("workflow_scripts/pretrain/schedule.py", "math.cos(", "0.5 * math.cos(")
    workspace.edit("tiny.yaml", "epochs: 3", "epochs: 4\n    pinned: true")
    assert workspace.planned() == (RUNS - MAE) | probes("scenes-gfm scenes") | REPORT


def test_a_corpus_packed_anew_hides_nothing_that_is_asked_of_a_pinned_run(workspace):
    workspace.edit("tiny.yaml", "epochs: 3", "epochs: 3\n    pinned: true")
    workspace.edit("tiny.yaml", "seeds: [0, 1]}", "seeds: [0, 1], along: {scenes-mae: [3]}}")
    packed = ("--config", "corpora={scenes-train: {quality: 94}}")
    asked = {"snapshot scenes-mae 3", "dag_figure"} | probes("scenes-mae@3 scenes") | REPORT
    assert workspace.planned(*packed) == asked | {"pack scenes-train"} | (RUNS - MAE - SIMMIM) | (
        probes("scenes-gfm scenes")
    )


def test_pin_without_a_stored_run_is_refused(workspace):
    workspace.edit("tiny.yaml", "epochs: 3", "epochs: 3\n    pinned: abcd1234")
    refused = workspace.snakemake("all", "-n", check=False)
    assert refused.returncode != 0
    assert "runs.scenes-mae.pinned is 'abcd1234'" in refused.stdout + refused.stderr


def test_stale_explains_each_job_in_one_line(workspace):
    workspace.edit("tiny.yaml", "warmup_epochs: 1}", "warmup_epochs: 1, base_lr: 0.001}")
    workspace.edit("workflow_scripts/features/extract.py", "GPU_BATCH = 16", "GPU_BATCH = 32")
    lines = workspace.snakemake("stale").stdout.splitlines()
    told = dict(line.split(": ", 1) for line in lines if ": " in line)
    assert told["pretrain scenes-mae 1"] == "optim.base_lr 0.02 → 0.001"
    assert told["features scenes-gfm scenes"].startswith("code ")
    assert set(told) == MAE | PROBES | PROBED_CARDS | REPORT
