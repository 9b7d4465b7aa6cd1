"""Days of LAADS through fetch and tile: what is downloaded, what is made of it, what stays."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT
from tests.laads_server import TOKEN, LaadsServer, put_granule
from tests.modis_day import RECIPE
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.laads.again import ask_again
from workflow_scripts.fetch.laads.archive import connect
from workflow_scripts.fetch.laads.write import write_day
from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.shards.reader import Shard
from workflow_scripts.tile.at_hand import at_hand
from workflow_scripts.tile.day import tile_day

DAY = "2026-01-01"


class Site:
    """A folder with a server of its own, where days are fetched and tiled."""

    def __init__(self, folder: Path, server: LaadsServer) -> None:
        self.folder, self.server = folder, server
        self.raw = folder / "raw" / "granules"
        self.manifest = folder / "manifests" / f"{DAY}.jsonl"
        self.chips = folder / "chips" / f"{DAY}.h5"
        self.options = {
            "url": server.url, "keep": False, "budget_gb": 0.01, "parallel": 2, "retries": 2,
            "timeout_s": 5.0, "first_wait_s": 0.01, "longest_wait_s": 1.0,
        }  # fmt: skip

    def list(self, **source):
        recipe = {
            "dataset": "granules", "kind": "modis-l1b", "platform": "Terra", "date": DAY,
            "source": {"kind": "laads", "collection": 61, "companions": ["03", "35_L2"],
                       "times": "any", "bbox": None, **source},
        }  # fmt: skip
        folder = self.raw / DAY
        client = connect(self.options)
        return write_day(
            recipe, client, url=self.options["url"], manifest=self.manifest, folder=folder
        )

    def tile(self, **change):
        items = list(read_manifest(self.manifest))
        with at_hand(items, {**self.options, **change}, manifest=self.manifest) as there:
            return tile_day(RECIPE, self.manifest, self.chips, items=there, may_be_empty=True)

    def stage(self):
        """The command line of the tile stage, in a process."""
        command = [
            sys.executable, "-m", "workflow_scripts.tile", "--recipe", json.dumps(RECIPE),
            "--manifest", str(self.manifest), "--chips", str(self.chips), "--workers", "1",
            "--transfer", json.dumps(self.options),
        ]  # fmt: skip
        return subprocess.Popen(
            command, cwd=ROOT, stderr=subprocess.PIPE, text=True, start_new_session=True
        )

    def left(self):
        """Files below raw, less the ledger's lock."""
        found = [path for path in self.raw.parent.rglob("*") if path.is_file()]
        return sorted(str(p.relative_to(self.raw.parent)) for p in found if p.name != ".lock")

    def from_a_copy(self):
        """The chips of the same granules where they lie, without any source."""
        copy = self.folder / "copy"
        shutil.copytree(self.server.top / "allData", copy)
        manifest = self.folder / "copied.jsonl"
        rows = []
        for item in read_manifest(self.manifest):
            (path,) = copy.rglob(item.key)
            row = {"key": item.key, "path": str(path), "sha256": file_sha256(path)}
            rows.append({**row, "bytes": item.bytes, "label": None, "split": None})
        manifest.write_text("".join(json.dumps(row) + "\n" for row in rows))
        body = tile_day(RECIPE, manifest, self.folder / "copied.h5")
        return body, (self.folder / "copied.h5").read_bytes()


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """A day with two granules and their companions."""
    top = tmp_path_factory.mktemp("laads")
    for minute in (0, 5):
        put_granule(top, DAY, minute)
    return top


@pytest.fixture
def site(tmp_path, archive, monkeypatch):
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    top = tmp_path / "top"
    shutil.copytree(archive, top)
    with LaadsServer(top) as server:
        yield Site(tmp_path, server)


def names(site, product="*"):
    return sorted(path.name for path in site.server.top.rglob(f"{product}.A*.hdf"))


@pytest.mark.parametrize("newer", [True, False])
def test_the_chips_are_those_of_a_copy_and_nothing_of_the_granules_stays(site, newer):
    site.server.newer = newer
    site.list()
    assert site.server.given == []  # listing downloads nothing
    assert [item.remote["md5"] is not None for item in read_manifest(site.manifest)] == [newer] * 6
    body = site.tile()
    copied, chips = site.from_a_copy()
    assert site.chips.read_bytes() == chips
    assert site.left() == []
    assert sorted(site.server.given) == names(site)
    told = {key: value for row in body["granules"] for key, value in row.pop("sha256").items()}
    assert told == {path.name: file_sha256(path) for path in site.server.top.rglob("*.hdf")}
    assert body["chips_kept"] > 0
    assert {**body, "shard": None} == {**copied, "shard": None}


def test_faults_of_the_server_change_nothing(site):
    site.list()
    for place, name in enumerate(names(site)):
        site.server.faults[name] = [["busy"], [1], ["busy", 1]][place % 3]
    site.tile()
    assert site.chips.read_bytes() == site.from_a_copy()[1]
    assert site.left() == []


def test_a_granule_that_cannot_be_had_fails_the_day_and_the_next_start_goes_on(site):
    site.list()
    (gone,) = (path for path in site.server.top.rglob(names(site, "MOD03")[1]))
    aside = gone.rename(site.folder / gone.name)
    with pytest.raises(UserError, match=rf"{gone.name}.*\n.*404 Not Found") as caught:
        site.tile(parallel=1)
    assert "`snakemake relist` finds that out" in str(caught.value)
    assert ask_again(site.manifest).exists()
    assert not site.chips.exists()
    came = [name for name in site.left() if name.endswith(".hdf")]
    assert 3 <= len(came) < 6  # those before it, and what was under way
    site.server.given.clear()
    aside.rename(gone)
    site.tile()
    assert len(site.server.given) == 6 - len(came)
    assert not ask_again(site.manifest).exists()
    assert site.chips.read_bytes() == site.from_a_copy()[1]
    assert site.left() == []


def test_a_manifest_that_changes_while_its_day_is_tiled_makes_no_chips(site):
    site.list()
    site.server.gate.clear()
    stage = site.stage()
    deadline = time.monotonic() + 60
    while not site.server.given and time.monotonic() < deadline:
        time.sleep(0.02)
    put_granule(site.server.top, DAY, 10)
    assert site.list()  # as relist does, beside a driver that works
    site.server.gate.set()
    _, log = stage.communicate(timeout=60)
    assert stage.returncode == 1
    assert "changed while the day was tiled; start again" in log
    assert not site.chips.exists()
    assert not site.chips.with_suffix(".json").exists()
    body = site.tile()
    assert body["granules_read"] == 3
    assert site.left() == []


@pytest.mark.parametrize("newer", [True, False])
def test_a_listing_in_the_other_form_names_the_same_granules(site, newer):
    site.server.newer = newer
    assert site.list()
    before = site.manifest.read_bytes()
    site.server.newer = not newer
    assert not site.list()
    assert site.manifest.read_bytes() == before
    (path,) = site.server.top.rglob("MOD03.A2026001.1205.*.hdf")
    path.write_bytes(path.read_bytes() + b"x")
    assert site.list()


def test_a_source_that_lists_none_of_a_companion_any_more_leaves_the_day_as_it_was(site):
    site.list()
    before = site.manifest.read_bytes()
    one, two = sorted(site.server.top.rglob("MOD35_L2.*.hdf"))
    one.unlink()
    two.unlink()
    with pytest.raises(UserError, match="lists no MOD35_L2 of this day any more"):
        site.list()
    assert site.manifest.read_bytes() == before
    assert site.list(companions=["03"])  # one that nobody asks for may go
    put_granule(site.server.top, DAY, 0)
    assert site.list()  # and come
    (path,) = site.server.top.rglob("MOD03.A2026001.1205.*.hdf")
    path.unlink()
    assert site.list()  # a single one that is gone is told of, and no reason to stop
    told = json.loads(site.manifest.with_suffix(".json").read_text())["at_source"]
    assert told["without"] == {"MOD03": ["12:05"], "MOD35_L2": ["12:05"]}


def test_granules_put_there_by_hand_are_used_and_never_deleted(site, monkeypatch):
    site.list()
    monkeypatch.delenv("EARTHDATA_TOKEN")
    place = site.raw / DAY
    place.mkdir(parents=True)
    for path in site.server.top.rglob("*.hdf"):
        shutil.copy(path, place)
    site.tile()
    assert site.server.given == []
    assert sorted(path.name for path in place.glob("*.hdf")) == names(site)
    assert site.chips.read_bytes() == site.from_a_copy()[1]
    # A wrong one is set aside and fetched.
    wrong = place / names(site)[0]
    wrong.write_bytes(b"wrong")
    site.chips.unlink()
    with pytest.raises(UserError, match="EARTHDATA_TOKEN"):
        site.tile()
    monkeypatch.setenv("EARTHDATA_TOKEN", TOKEN)
    site.tile()
    assert wrong.stat().st_size > 5
    assert site.chips.read_bytes() == (site.folder / "copied.h5").read_bytes()


def test_granules_that_are_kept_are_not_asked_for_again(site):
    site.list()
    site.tile(keep=True, budget_gb=1e-9)  # what stays takes no part in the budget
    assert len([name for name in site.left() if name.endswith(".hdf")]) == 6
    site.server.given.clear()
    first = site.chips.read_bytes()
    site.tile()
    assert site.server.given == []
    assert site.chips.read_bytes() == first
    assert site.left() == []


def test_a_day_without_granules_has_an_empty_shard(site):
    shutil.rmtree(site.server.top / "allData")
    site.list()
    summary = json.loads(site.manifest.with_suffix(".json").read_text())
    assert (summary["items"], summary["at_source"]["missing"]) == (0, 288)
    body = site.tile()
    assert (body["chips_kept"], body["granules_read"], body["granules"]) == (0, 0, [])
    assert len(Shard(site.chips)) == 0
    with pytest.raises(UserError, match="an empty day"):
        tile_day(RECIPE, site.manifest, site.chips)


def test_a_day_larger_than_the_budget_is_refused_before_anything_comes(site):
    site.list()
    with pytest.raises(UserError, match=r"more than the 1e-06 GB of transfer.budget_gb"):
        site.tile(budget_gb=1e-6)
    assert site.server.given == []


def test_a_refused_token_is_told_of_and_goes_nowhere_else(site, monkeypatch, caplog):
    site.list()
    monkeypatch.setenv("EARTHDATA_TOKEN", "another-secret")
    with caplog.at_level("DEBUG"), pytest.raises(UserError) as caught:
        site.tile()
    for words in ("login page", "Generate Token", "export EARTHDATA_TOKEN="):
        assert words in str(caught.value)
    assert set(site.server.tokens) == {"127.0.0.1"}  # not to the login page's host
    assert "another-secret" not in str(caught.value) + caplog.text
    assert not ask_again(site.manifest).exists()  # the day is not to blame
    monkeypatch.delenv("EARTHDATA_TOKEN")
    with pytest.raises(UserError, match="EARTHDATA_TOKEN is not set"):
        site.tile()
    with pytest.raises(UserError, match="EARTHDATA_TOKEN is not set"):
        site.list()


def test_a_stage_killed_while_it_downloads_goes_on(site):
    site.list()
    site.server.gate.clear()
    first = site.stage()
    deadline = time.monotonic() + 60
    while not site.server.given and time.monotonic() < deadline:
        time.sleep(0.02)
    time.sleep(0.2)
    os.killpg(first.pid, signal.SIGKILL)
    first.communicate()
    assert not site.chips.exists()
    site.server.gate.set()
    second = site.stage()
    _, log = second.communicate(timeout=60)
    assert second.returncode == 0, log
    assert site.chips.read_bytes() == site.from_a_copy()[1]
    assert site.left() == []
    everything = b"".join(p.read_bytes() for p in site.folder.rglob("*.json*")) + log.encode()
    assert TOKEN.encode() not in everything


def test_without_options_the_stage_says_what_is_missing(site):
    site.list()
    items = list(read_manifest(site.manifest))
    with (
        pytest.raises(UserError, match="--transfer is missing"),
        at_hand(items, None, manifest=site.manifest),
    ):
        pass
