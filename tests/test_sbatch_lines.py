"""The sbatch and srun lines of every rule of the shipped Slurm profiles, without a Slurm."""

import os
import re
import shlex
from base64 import b64decode

import pytest

from tests.instant_slurm import InstantSlurm, drive
from tests.workspace import Workspace

pytestmark = pytest.mark.pipeline

CONFIG = """
runs:
  scenes-mae: {batch: 32, segments: 2, launch: {nodes: 2, walltime_minutes: 90}}
  modis-simmim: {batch: 16, segments: 2}
"""
WEIGHTS = [f"results/runs/{run}/weights.safetensors" for run in ("scenes-mae", "modis-simmim")]
TARGETS = ["results/probes/scenes-mae/photos.json", *WEIGHTS]
RULES = {
    "fetch_folder", "fetch_generated", "fetch_day", "tile", "split", "pack", "pretrain", "export",
    "features", "probe",
}  # fmt: skip
OVER = "results/runs/modis-simmim/segments/1.json"  # this run ends in its first segment


def driven(folder, profile, *, account, partition, pinned_to=None):
    """Every rule's call of sbatch, by rule and wildcards, and what Snakemake printed."""
    (folder / "work").mkdir()
    workspace = Workspace(folder / "work")
    (workspace.folder / "more.yaml").write_text(CONFIG)
    slurm = InstantSlurm(folder / "slurm", accounts=(account, "another"))
    printed = drive(
        workspace, slurm, *TARGETS, "--profile", f"profiles/{profile}",
        "--configfile", "tiny.yaml", "more.yaml", over=(OVER,), pinned_to=pinned_to,
        ORBWEAVER_ACCOUNT=account, ORBWEAVER_PARTITION=partition, ORBWEAVER_PROJECT=str(folder),
    )  # fmt: skip
    return workspace, slurm, {f"{one.rule} {one.wildcards}": one for one in slurm.lines()}, printed


@pytest.fixture(scope="module")
def frontier(tmp_path_factory):
    """As on a login node of which the driver may use one core."""
    core = str(min(os.sched_getaffinity(0)))
    folder = tmp_path_factory.mktemp("frontier")
    return driven(folder, "frontier", account="abc-123", partition="batch", pinned_to=core)


@pytest.fixture(scope="module")
def other(tmp_path_factory):
    folder = tmp_path_factory.mktemp("other")
    return driven(folder, "slurm", account="123-45", partition="gpu-a100")


def options(line):
    """All that a job asks for; its name, log, folder and command are Snakemake's."""
    own = [*line.words[: line.words.index("-D")]]
    plain = [word for word in own if not word.startswith("--export")]
    for flag in ("--job-name", "--output", "--comment"):
        place = plain.index(flag)
        del plain[place : place + 2]
    return " ".join(plain)


def test_every_rule_that_is_no_local_one_is_submitted(frontier, other):
    for _, _, lines, _ in (frontier, other):
        assert {title.split()[0] for title in lines} == RULES


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("pretrain scenes-mae_1",
         "-t 90 -C nvme --nodes=2 --no-requeue --ntasks-per-node=8 --cpus-per-task=7 --core-spec=8 "
         "--gpus-per-node=8 --signal=USR1@300 --network=disable_rdzv_get"),
        ("fetch_folder photos", "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("fetch_generated sample-scenes",
         "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("fetch_day sample-modis_2026-01-01",
         "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("tile sample-modis_2026-01-01",
         "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("pack bench-photos", "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("export scenes-mae", "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
        ("features scenes-mae_photos",
         "-t 120 -C nvme --nodes=1 --no-requeue --ntasks-per-node=8 --cpus-per-task=7"),
        ("probe scenes-mae_photos", "-t 120 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=56"),
    ],
)  # fmt: skip
def test_a_line_of_frontier(frontier, title, asked):
    line = frontier[2][title]
    asked += "" if title.startswith("pretrain") else " --core-spec=8"
    asked += " --gpus-per-node=8" if title.startswith("features") else ""
    assert options(line) == f"--parsable -A abc-123 -p batch {asked}"


@pytest.mark.parametrize(
    ("title", "asked"),
    [
        ("pretrain scenes-mae_1",
         "-t 90 --nodes=2 --no-requeue --ntasks-per-node=4 --cpus-per-task=8 --gpus-per-node=4 "
         "--signal=USR1@300"),
        ("tile sample-modis_2026-01-01",
         "-t 60 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=32"),
        ("export scenes-mae", "-t 60 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=32"),
        ("features scenes-mae_photos",
         "-t 60 --nodes=1 --no-requeue --ntasks-per-node=4 --cpus-per-task=8 --gpus-per-node=4"),
        ("probe scenes-mae_photos", "-t 60 --nodes=1 --no-requeue --ntasks=1 --cpus-per-task=32"),
    ],
)  # fmt: skip
def test_a_line_of_another_site(other, title, asked):
    assert options(other[2][title]) == f"--parsable -A 123-45 -p gpu-a100 {asked}"


def test_what_all_lines_have_and_what_none_has(frontier, other):
    for workspace, _, lines, _ in (frontier, other):
        for title, line in lines.items():
            rule = title.split()[0]
            assert not [word for word in line.words if word.startswith(("--mem", "--gres"))], title
            assert line.option("--output").startswith(f"{workspace.folder}/logs/slurm/rule_{rule}/")
            on_gpus = rule in ("pretrain", "features")
            assert (line.option("--gpus-per-node") is not None) == on_gpus, title
            assert (line.option("--signal") is None) == (rule != "pretrain"), title


def test_a_segment_after_the_end_asks_for_one_node_and_minutes(frontier):
    late = frontier[2]["pretrain modis-simmim_2"]
    assert (late.option("--nodes"), int(late.option("-t"))) == ("1", 10)


def test_jobs_use_the_cores_they_ask_for_whatever_the_drivers_host_has(frontier):
    shell = frontier[3]
    assert "threads: 2" not in shell  # the driver has one core, and Snakemake cut them
    for stage in ("tile", "pack", "fetch"):
        assert re.search(rf"workflow_scripts\.{stage} .* --workers 56 ", shell), stage
    assert re.search(r"workflow_scripts\.probe .* --threads 56 ", shell)
    assert re.search(r"workflow_scripts\.features .* --device auto --threads 7\b", shell)
    assert "OMP_NUM_THREADS" not in shell


def test_a_job_gets_the_profiles_resources_to_evaluate_again_on_its_node(frontier):
    command = frontier[2]["tile sample-modis_2026-01-01"].option("--wrap")
    handed_on = re.search(r"--set-resources (.*?) --", command)[1]
    words = [b64decode(word.strip("'")[len("base64//") :]).decode() for word in handed_on.split()]
    assert "tile:cpus_per_task=56" in words


def test_the_ranks_are_started_with_the_sites_flags(frontier, tmp_path):
    workspace, slurm, _, printed = frontier
    line = next(
        line.strip().removeprefix("Shell command: ") for line in printed.splitlines()
        if "workflow_scripts.pretrain" in line and "runs/scenes-mae/segments/1.json" in line
    )  # fmt: skip
    srun = slurm.folder / "srun"
    srun.write_text(f'#!/bin/bash\nprintf "%q " "$@" >> {tmp_path}/srun; echo >> {tmp_path}/srun\n')
    srun.chmod(0o755)
    modules = "module() { :; }; export -f module"
    words = slurm.environment(SLURM_JOB_ID="41", ORBWEAVER_PROJECT=str(tmp_path))
    workspace.run(*words, "bash", "-c", f"{modules}; {line}")
    called = shlex.split((tmp_path / "srun").read_text())
    assert called[: called.index("python")] == shlex.split(
        "--nodes=2 --ntasks-per-node=8 --cpus-per-task=7 --kill-on-bad-exit=1 --gpus-per-task=1 "
        "--gpu-bind=closest --network=disable_rdzv_get"
    )
    assert called[called.index("--ranks") + 1] == "16"
    assert called[called.index("--walltime-s") + 1] == "5400"
