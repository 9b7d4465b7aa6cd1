"""Days of LAADS through the workflow: inside a budget, killed midway, listed again."""

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from tests.laads_server import TOKEN, LaadsServer, day_folder, put_granule
from tests.workspace import Workspace
from workflow_scripts.digests import file_sha256
from workflow_scripts.fetch.manifest import Item, write_manifest
from workflow_scripts.planned import planned_jobs
from workflow_scripts.tile.day import tile_day

pytestmark = pytest.mark.pipeline

INDEX = "data/shards/clouds/index.json"
DAYS = ["2026-01-01", "2026-01-02", "2026-01-03"]  # of the last the archive has nothing
CONFIG = """
all: {{runs: [six], benchmarks: []}}
datasets:
  terra:
    kind: modis-l1b
    first: "2026-01-01"
    last: "2026-01-03"
    source: {{kind: laads, url: "{url}"}}
    tile: {{bands: ["6", "31"], size: 16, stride: 16}}
transfer: {{budget_gb: {budget}, parallel: 2, retries: 3, timeout_s: 20, longest_wait_s: 2}}
corpora:
  clouds: {{datasets: [terra]}}
runs:
  six:
    objective: mae
    corpus: clouds
    encoder: {{family: vit, image_size: 16, patch: 8, width: 16, depth: 1, heads: 1}}
"""


class Site:
    """A copy of the workflow and a server; days 1 and 2 have two granules each."""

    def __init__(self, folder, top, server):
        self.workspace = Workspace(folder)
        self.folder, self.top, self.server = folder, top, server
        size = max(
            sum(path.stat().st_size for path in top.rglob(f"*.A2026{number:03d}.*.hdf"))
            for number in (1, 2)
        )
        self.budget = 1.5 * size
        text = CONFIG.format(url=server.url, budget=f"{self.budget / 1e9:.9f}")
        (folder / "laads.yaml").write_text(text)
        self.most = 0
        server.look = self._look

    def _look(self):
        files = [
            p for p in (self.folder / "data/raw").rglob("*") if p.name.endswith((".hdf", ".part"))
        ]
        size = 0
        for path in files:
            try:
                size += path.stat().st_size
            except FileNotFoundError:  # deleted meanwhile
                continue
        self.most = max(self.most, size)

    def command(self, *words):
        return [sys.executable, "-m", "snakemake", *words, "--configfile", "laads.yaml"]

    def run(self, *words, check=True):
        return self.workspace.run(*self.command(*words), check=check)

    def planned(self, target=INDEX):
        done = self.run(target, "-n")
        return {job.title for job in planned_jobs(done.stdout + done.stderr) if job.outputs}

    def chips(self, day):
        return self.folder / f"data/chips/terra/{day}.h5"

    def granules_left(self):
        return [path.name for path in (self.folder / "data/raw").rglob("*.hdf*")]

    def of_a_copy(self, day):
        """The chips of a day's granules as they lie at the source."""
        recipe = json.loads(self.chips(day).with_suffix(".json").read_text())["recipe"]
        manifest, chips = self.folder / "copied.jsonl", self.folder / "copied.h5"
        paths = [
            path
            for product in ("MOD021KM", "MOD03", "MOD35_L2")
            for path in day_folder(self.top, product, day).iterdir()
        ]
        items = [
            Item(key=path.name, path=str(path), sha256=file_sha256(path), bytes=path.stat().st_size)
            for path in paths
        ]
        write_manifest(manifest, items)
        tile_day(recipe, manifest, chips)
        return chips.read_bytes()


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    top = tmp_path_factory.mktemp("laads")
    for day in DAYS[:2]:
        for minute in (0, 5):
            put_granule(top, day, minute)
    patch = pytest.MonkeyPatch()
    with LaadsServer(top) as server, patch.context():
        patch.setenv("EARTHDATA_TOKEN", TOKEN)
        yield Site(tmp_path_factory.mktemp("workflow"), top, server)
        patch.undo()


def kill_while_it_downloads(site):
    site.server.gate.clear()
    driver = subprocess.Popen(
        site.command(INDEX, "--cores", "8"), cwd=site.folder, env=site.workspace.environment,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip
    deadline = time.monotonic() + 60
    while not site.server.given and driver.poll() is None and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(driver.pid, signal.SIGKILL)
    text, _ = driver.communicate()
    assert site.server.given, text.decode()
    site.server.gate.set()
    assert not any(site.chips(day).exists() for day in DAYS[:2])
    site.run("--unlock")


def test_days_roll_through_the_budget_and_only_what_changes_is_tiled_again(site):
    kill_while_it_downloads(site)
    done = site.run(INDEX, "--cores", "8")
    assert "dataset terra: 3 of 3 days are incomplete at their source" in done.stdout + done.stderr
    assert site.granules_left() == []
    assert 0 < site.most <= site.budget
    first = {day: site.chips(day).read_bytes() for day in DAYS}
    assert [first[day] == site.of_a_copy(day) for day in DAYS[:2]] == [True, True]
    empty = json.loads(site.chips(DAYS[2]).with_suffix(".json").read_text())
    assert (empty["chips_kept"], empty["granules_read"]) == (0, 0)
    count = json.loads((site.folder / INDEX).read_text())["count"]
    assert count > 0

    # What comes at the source is not noticed until it is asked again; then one day is.
    assert site.planned() == set()
    put_granule(site.top, DAYS[1], 10)
    assert site.planned() == set()
    told = site.run("relist").stdout
    assert "terra: 3 of 3 days asked for again, 1 changed, 3 incomplete" in told
    assert "2026-01-02: changed, will be tiled again; the source lacks 285 of 288" in told
    assert "2026-01-01: as it was" in told
    assert site.planned() == {"tile terra 2026-01-02", "pack clouds"}
    kept = site.chips(DAYS[0]).stat().st_mtime_ns
    site.server.given.clear()
    site.run(INDEX, "--cores", "8")
    assert {name.split(".")[1] for name in site.server.given} == {"A2026002"}
    assert site.chips(DAYS[0]).stat().st_mtime_ns == kept
    assert site.chips(DAYS[1]).read_bytes() == site.of_a_copy(DAYS[1])
    assert json.loads((site.folder / INDEX).read_text())["count"] == count + 12
    assert site.granules_left() == []
    assert site.planned() == set()

    # What is lost of the chips is had again where the network is.
    assert site.planned("fetch_all") == set()
    made = site.chips(DAYS[0]).read_bytes()
    site.chips(DAYS[0]).unlink()
    assert site.planned("fetch_all") == {"tile terra 2026-01-01"}
    site.run("fetch_all", "--cores", "8")
    assert site.chips(DAYS[0]).read_bytes() == made
    assert site.planned() == set()

    # A complete listing may name what the source has made anew since: relist finds that out.
    site.chips(DAYS[0]).unlink()
    for path in site.top.rglob("*.A2026001.1200.*.hdf"):
        path.rename(path.with_name(path.name.replace("2026100000000", "2026200000000")))
    done = site.run("fetch_all", "--cores", "8", check=False)
    assert "`snakemake relist` finds that out" in done.stdout + done.stderr
    assert "1 changed" in site.run("relist").stdout
    site.run("fetch_all", "--cores", "8")
    assert site.chips(DAYS[0]).read_bytes() == site.of_a_copy(DAYS[0])
    assert site.granules_left() == []

    # The token is nowhere, and went to the archive alone.
    assert set(site.server.tokens) == {"127.0.0.1"}
    for path in site.folder.rglob("*"):
        if path.is_file():
            assert TOKEN.encode() not in path.read_bytes(), path
