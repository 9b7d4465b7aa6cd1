"""Real MODIS archives through the workflow: what a granule that comes, goes or breaks costs."""

import json
import sys
from datetime import datetime, timedelta

import numpy as np
import pytest

from tests.workspace import Workspace
from workflow_scripts.modis.granule_writer import granule_file_name, tie_fields, write_granule
from workflow_scripts.modis.swath_geometry import SwathGeometry
from workflow_scripts.planned import planned_jobs

pytestmark = pytest.mark.pipeline

INDEX = "data/shards/clouds/index.json"
CONFIG = """
all: {runs: [six], benchmarks: []}
datasets:
  archive:
    kind: modis-l1b
    path: archive
    obtain: ask LAADS for them
    tile: {bands: ["6", "31"], size: 16, stride: 16}
corpora:
  clouds: {datasets: [archive]}
runs:
  six:
    objective: mae
    corpus: clouds
    encoder: {family: vit, image_size: 16, patch: 8, width: 16, depth: 1, heads: 1}
"""
YEAR = """
all: {runs: [six], benchmarks: []}
datasets:
  terra: {kind: modis-l1b, platform: Terra, path: /archive/terra, listing: terra.txt}
  aqua: {kind: modis-l1b, platform: Aqua, path: /archive/aqua, listing: aqua.txt}
corpora:
  clouds: {datasets: [terra, aqua]}
runs:
  six:
    objective: mae
    corpus: clouds
    encoder: {family: vit, image_size: 128, patch: 16, width: 16, depth: 1, heads: 1}
"""


@pytest.fixture(scope="module")
def workspace(tmp_path_factory):
    made = Workspace(tmp_path_factory.mktemp("archive"))
    (made.folder / "modis.yaml").write_text(CONFIG)
    return made


def granule(folder, day, minute):
    """A granule of noise of that day of January 2026, in the folders of LAADS."""
    time = datetime(2026, 1, day, 12, minute)
    shape, rng = (50, 70), np.random.default_rng(minute)
    path = folder / f"archive/2026/{day:03d}" / granule_file_name(
        "Terra", time, production="2026100000000"
    )  # fmt: skip
    counts = {name: rng.integers(3000, 30000, shape).astype(np.uint16) for name in ("6", "31")}
    swath = SwathGeometry(platform="Terra", time=time, latitude=10.0, shape=shape)
    write_granule(path, counts, **tie_fields(swath))
    return path


def snakemake(workspace, *words, check=True, config="modis.yaml"):
    return workspace.run(
        sys.executable, "-m", "snakemake", *words, "--configfile", config, check=check
    )


def planned(workspace):
    done = snakemake(workspace, INDEX, "-n")
    return {job.title for job in planned_jobs(done.stdout + done.stderr) if job.outputs}


def summary(workspace, day):
    return json.loads((workspace.folder / f"data/chips/archive/2026-01-{day:02d}.json").read_text())


def test_an_archive_is_told_of_when_missing_then_cut_and_only_what_changed_is_cut_again(workspace):
    missing = snakemake(workspace, INDEX, "-n", check=False)
    assert missing.returncode != 0
    for words in ("holds no MOD021KM granule", "ask LAADS for them", "datasets.archive.path"):
        assert words in missing.stdout + missing.stderr

    paths = [granule(workspace.folder, day, minute) for day in (1, 2) for minute in (0, 5)]
    assert len(planned(workspace)) == 5  # fetch and tile of two days, pack
    snakemake(workspace, INDEX)
    assert planned(workspace) == set()
    assert [summary(workspace, day)["granules_read"] for day in (1, 2)] == [2, 2]

    one = {"fetch_day archive 2026-01-02", "tile archive 2026-01-02", "pack clouds"}
    granule(workspace.folder, 2, 10)
    assert planned(workspace) == one
    snakemake(workspace, INDEX)
    assert summary(workspace, 2)["granules_read"] == 3

    # The truncated granule is set aside, its day goes on; put back, that day alone is cut again.
    whole = paths[3].read_bytes()
    paths[3].write_bytes(whole[: len(whole) // 2])
    assert planned(workspace) == one
    snakemake(workspace, INDEX)
    day = summary(workspace, 2)
    assert (day["granules_read"], day["granules_set_aside"]) == (2, 1)
    (reason,) = [row["reason"] for row in day["granules"] if "reason" in row]
    assert paths[3].name in reason
    assert str(workspace.folder) not in reason
    kept = json.loads((workspace.folder / INDEX).read_text())["count"]
    paths[3].write_bytes(whole)
    assert planned(workspace) == one
    snakemake(workspace, INDEX)
    assert json.loads((workspace.folder / INDEX).read_text())["count"] == kept + 12
    assert planned(workspace) == set()


def test_a_year_of_both_satellites_is_planned_from_listings(workspace):
    for satellite, prefix in (("terra", "MOD"), ("aqua", "MYD")):
        times = [datetime(2024, 1, 1) + timedelta(minutes=5 * n) for n in range(366 * 288)]
        rows = [f"{t:%Y/%j}/{prefix}021KM.A{t:%Y%j.%H%M}.061.{t:%Y%j}120000.hdf" for t in times]
        (workspace.folder / f"{satellite}.txt").write_text("\n".join(rows))
    (workspace.folder / "year.yaml").write_text(YEAR)
    done = snakemake(workspace, "all", "-n", "--quiet", "rules", config="year.yaml")
    counts = dict(line.split() for line in done.stdout.splitlines() if len(line.split()) == 2)
    assert (counts["tile"], counts["fetch_day"], counts["pack"]) == ("732", "732", "1")
