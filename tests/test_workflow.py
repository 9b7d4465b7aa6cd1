"""The commands of the README, as typed, on the embedded default or the tiny configuration."""

import re

import pytest

from tests.workspace import Workspace

pytestmark = pytest.mark.pipeline


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    return Workspace(tmp_path_factory.mktemp("commands"))


def test_probe_ucm_plans_without_the_data(workspace):
    done = workspace.run("snakemake", "probe_ucm", "-n")
    for job in ("fetch_folder", "split", "pretrain", "features", "probe"):
        assert f"rule {job}:" in done.stdout
    assert "encoder=scenes-mae, benchmark=ucm" in done.stdout
    assert "modis-simmim" not in done.stdout  # pretrains only what it needs


def test_probe_ucm_fails_first_and_says_where_to_get_the_data(workspace):
    nowhere = "datasets={ucm: {path: data/raw/ucm, obtain: Ask the library.}}"
    done = workspace.run("snakemake", "probe_ucm", "--cores", "1", "--config", nowhere, check=False)
    text = done.stdout + done.stderr
    assert done.returncode != 0
    assert re.findall(r"^(?:local)?rule (\w+):", text, re.M)[0] == "fetch_folder"
    assert "rule pretrain:" not in text
    for words in ("Ask the library.", "data/raw/ucm", "datasets.ucm.path"):
        assert words in text


def test_rulegraph_prints_nothing_but_the_graph(workspace):
    done = workspace.run("snakemake", "--rulegraph", "mermaid-js")
    assert done.stdout.startswith("---\ntitle: DAG\n---\nflowchart TB")


def test_dag_is_redrawn_each_time(workspace):
    path = workspace.folder / "results" / "dag.svg"
    workspace.run("snakemake", "dag")
    first = path.read_text()
    path.write_text("old")
    workspace.run("snakemake", "dag")
    assert path.read_text() == first
    for words in ("scenes-mae", "sample-modis", "report"):
        assert words in first


def test_mistyped_key_stops_before_any_job(workspace):
    done = workspace.run("snakemake", "all", "--config", "reprot={}", check=False)
    assert done.returncode != 0
    assert "reprot: unknown key" in done.stderr
    assert "did you mean 'report'?" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    "stage",
    [
        "fetch",
        "tile",
        "split",
        "pack",
        "weights",
        "pretrain",
        "export",
        "snapshot",
        "features",
        "probe",
        "probe.table",
        "finetune",
        "card",
        "scaling",
        "study",
        "forecast",
        "report",
        "compare",
        "crate",
        "catalogue",
        "mllog",
        "plan",
        "status",
        "stale",
    ],
)
def test_every_program_explains_itself(workspace, stage):
    done = workspace.run("python", "-m", f"workflow_scripts.{stage}", "--help")
    assert f"python -m workflow_scripts.{stage}" in done.stdout
