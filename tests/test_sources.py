"""Sources on real servers of the loopback: what is asked, what is believed, where a token goes."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
from source_servers import REVISION, Answer, Hub, Server, SignedStore, Stac, as_json, item, sha256

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.manifest import read_manifest
from workflow_scripts.fetch.obtain import obtain
from workflow_scripts.stored import read_stored

ROOT = Path(__file__).resolve().parent.parent
TOKEN = "hf_a-token-that-nobody-may-see"
QUICK = {"retries": 3, "timeout_s": 5.0, "longest_wait_s": 0.02}
IMAGES = {
    f"{name}/{name}{n}.jpg": f"{name}{n}".encode() * 40 for name in ("sea", "sand") for n in (1, 2)
}


@pytest.fixture(autouse=True)
def no_settings_of_this_machine(monkeypatch):
    """The hub's own variables, and proxies, would lead these tests elsewhere."""
    for name in [*os.environ]:
        if name.startswith("HF_") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)


@pytest.fixture
def store():
    with Server() as server:
        yield server


@pytest.fixture
def hub(store, monkeypatch, tmp_path):
    """A hub with one archive in LFS and one small file in git."""
    lfs = {"data/images.zip": zipped(IMAGES)}
    with Hub(store, lfs=lfs, plain={"README.md": b"# images\n"}) as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        # The library asks the public hub, whatever the endpoint, once a day for a list of its own.
        seen = tmp_path / "agent_harnesses.json"
        seen.write_text('{"harnesses": []}')
        monkeypatch.setattr("huggingface_hub.constants.AGENT_HARNESSES_PATH", str(seen))
        yield server


@pytest.fixture
def stac():
    """A search of five images on two and a half pages, signed."""
    data = {f"naip/{n}.tif": f"image {n}".encode() * 30 for n in range(5)}
    with SignedStore(data) as store, Stac(store, []) as api:
        api.items = [item(f"chip_{n}", f"{store.url}/naip/{n}.tif") for n in (3, 0, 4, 1, 2)]
        yield api


def zipped(files, method=zipfile.ZIP_DEFLATED):
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", method) as archive:
        for name, data in files.items():
            archive.writestr(zipfile.ZipInfo(name), data, method)
    return held.getvalue()


def recipe(**changes):
    return {
        "dataset": "places", "kind": "image-folder", "path": None, "source": None, "obtain": "Ask.",
        "root": None, "parquet": None, "expected": None, "listing_digest": None,
        "split": {"by": "none"}, **changes,
    }  # fmt: skip


def named(name, data=None, **changes):
    """A file of a source, with what is known of it."""
    size, total = (len(data), sha256(data)) if data is not None else (None, None)
    return {"name": name, "bytes": size, "sha256": total, "md5": None, **changes}


def hub_source(*files):
    return {"kind": "hub", "repo": "torchgeo/ucmerced", "revision": REVISION, "files": list(files)}


def https_source(*files):
    return {"kind": "https", "files": list(files)}


def stac_source(api, **changes):
    return {
        "kind": "stac", "api": api.url, "collection": "naip", "asset": "image", "bbox": None,
        "first": None, "last": None, "query": {}, "most": None, **changes,
    }  # fmt: skip


def run_fetch(told, transfer, cwd, **environment):
    """The stage from a shell; standard error and return code."""
    command = [
        sys.executable, "-m", "workflow_scripts.fetch", "--recipe", json.dumps(told),
        "--manifest", "data/manifests/places.jsonl", "--raw", "data/raw/places",
        "--transfer", json.dumps({**QUICK, **transfer}), "--log", "fetch.log", "--workers", "2",
    ]  # fmt: skip
    done = subprocess.run(
        command, cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT), **environment},
        capture_output=True, text=True, timeout=60,
    )  # fmt: skip
    return done


def manifest_of(cwd):
    return list(read_manifest(cwd / "data/manifests/places.jsonl"))


def contents_of(cwd, monkeypatch):
    monkeypatch.chdir(cwd)
    return {one.key: read_stored(one.path) for one in manifest_of(cwd)}


def written_below(folder):
    """All bytes of all files, to look for secrets in."""
    return b"\n".join(path.read_bytes() for path in folder.rglob("*") if path.is_file())


def obtained(told, transfer, raw):
    """What came, as bytes by key."""
    files = obtain(told, {**QUICK, **transfer}, raw).files()
    return {file.key: read_stored(str(file.path)) for file in files}


def test_files_come_by_https_from_the_mirror_that_has_them(store, tmp_path):
    data = zipped(IMAGES)
    store.files["new/images.zip"] = data
    told = recipe(source=https_source(named("images.zip", data)))
    urls = [f"{store.url}/old/images.zip", f"{store.url}/new/images.zip"]
    assert obtained(told, {"files": {"images.zip": urls}}, tmp_path / "raw") == IMAGES


def test_a_file_without_an_address_is_refused_with_the_option_to_give(tmp_path):
    told = recipe(source=https_source(named("images.zip")))
    with pytest.raises(UserError, match=r"images.zip: no address .*--transfer"):
        obtained(told, {}, tmp_path / "raw")


def test_a_token_goes_to_the_hosts_of_the_files_and_its_variable_is_asked_for(
    store, tmp_path, monkeypatch
):
    store.files["a.jpg"] = b"a" * 50
    told = recipe(source=https_source(named("sea/a.jpg", b"a" * 50)))
    transfer = {"files": {"sea/a.jpg": [f"{store.url}/a.jpg"]}, "token_env": "PLACES_TOKEN"}
    with pytest.raises(UserError, match="PLACES_TOKEN is not set"):
        obtained(told, transfer, tmp_path / "raw")
    monkeypatch.setenv("PLACES_TOKEN", TOKEN)
    assert obtained(told, transfer, tmp_path / "raw") == {"sea/a.jpg": b"a" * 50}
    assert store.asked[-1].headers["Authorization"] == f"Bearer {TOKEN}"
    monkeypatch.delenv("PLACES_TOKEN")  # nothing has to be fetched any more
    assert obtained(told, transfer, tmp_path / "raw") == {"sea/a.jpg": b"a" * 50}


def test_the_hub_tells_sizes_and_checksums_and_its_store_the_bytes(hub, store, tmp_path):
    told = recipe(source=hub_source(named("data/images.zip"), named("README.md")))
    assert obtained(told, {}, tmp_path / "raw") == IMAGES
    assert len([one for one in hub.asked if one.path.endswith(f"/paths-info/{REVISION}")]) == 1
    assert [one.path for one in store.asked] == [f"/{sha256(hub.lfs['data/images.zip'])}"]


def test_the_hub_is_not_asked_about_what_the_recipe_says(hub, tmp_path):
    told = recipe(source=hub_source(named("data/images.zip", hub.lfs["data/images.zip"])))
    assert obtained(told, {}, tmp_path / "raw") == IMAGES
    assert not [one for one in hub.asked if "paths-info" in one.path]


def test_the_hubs_token_goes_to_the_hub_alone(hub, store, tmp_path, monkeypatch):
    hub.token = TOKEN
    told = recipe(source=hub_source(named("data/images.zip")))
    with pytest.raises(UserError, match=r"refuses \(status 401\).*HF_TOKEN"):
        obtained(told, {}, tmp_path / "raw")
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    assert obtained(told, {}, tmp_path / "raw") == IMAGES
    assert TOKEN not in store.said()


def test_a_mirror_of_a_hub_file_gets_no_token(hub, store, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    data = zipped({"sea/1.jpg": b"only the mirror has it"})
    store.files["images.zip"] = data
    told = recipe(source=hub_source(named("images.zip", data)))
    transfer = {"files": {"images.zip": [f"{store.url}/images.zip"]}}
    assert obtained(told, transfer, tmp_path / "raw") == {"sea/1.jpg": b"only the mirror has it"}
    assert TOKEN in hub.said()
    assert TOKEN not in store.said()


def test_the_hub_is_asked_again_when_it_is_busy(hub, tmp_path):
    hub.first = [Answer(b"", 503), Answer(b"", 429, {"Retry-After": "0"})]
    told = recipe(source=hub_source(named("data/images.zip")))
    assert obtained(told, {}, tmp_path / "raw") == IMAGES


@pytest.mark.parametrize(
    ("change", "seen"),
    [
        ({"size": "many"}, "size is 'many'"),
        ({"lfs": {"oid": "../../etc", "size": 5, "pointerSize": 1}}, "is no sha256"),
        ({"lfs": {"oid": "0" * 64}}, "not the hub's"),
        ({"type": "directory"}, "there is no file data/images.zip"),
    ],
)
def test_a_wrong_answer_of_the_hub_is_refused(hub, tmp_path, change, seen):
    name = "README.md" if "size" in change else "data/images.zip"
    hub.told = {name: change}
    with pytest.raises(UserError, match=seen):
        obtained(recipe(source=hub_source(named(name))), {}, tmp_path / "raw")


def test_a_checksum_that_is_not_the_hubs_is_refused_before_anything_is_fetched(
    hub, store, tmp_path
):
    file = named("data/images.zip", sha256="0" * 64)
    with pytest.raises(UserError, match=r"has sha256 [0-9a-f]{64} there, and the recipe says 0000"):
        obtained(recipe(source=hub_source(file)), {}, tmp_path / "raw")
    assert not store.asked


@pytest.mark.parametrize("status", [404, 403, 500])
def test_a_hub_that_refuses_is_named_with_what_to_do(hub, tmp_path, status):
    hub.first = [Answer(b"{}", status)] * 5
    with pytest.raises(UserError, match=rf"torchgeo/ucmerced at {REVISION}: .*{status}"):
        obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "raw")


def test_a_hub_switched_off_says_so(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.is_offline_mode", lambda: True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "raw")


def test_a_search_is_signed_and_lists_all_pages(stac, tmp_path):
    told, transfer = recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}
    found = obtained(told, transfer, tmp_path / "raw")
    assert found == {f"chip_{n}.tif": stac.store.files[f"naip/{n}.tif"] for n in range(5)}
    assert stac.signatures == 1
    assert stac.store.refusals == 0


def test_a_search_asks_for_what_the_source_says_and_takes_the_first_by_name(stac, tmp_path):
    source = stac_source(
        stac, bbox=[-85, 33, -84, 34], first="2019-01-01", last="2019-12-31", most=2,
        query={"gsd": {"lte": 1}},
    )  # fmt: skip
    found = obtained(recipe(source=source), {"sign": f"{stac.url}/sas"}, tmp_path / "raw")
    assert sorted(found) == ["chip_0.tif", "chip_1.tif"]
    searched = json.loads(next(one.body for one in stac.asked if one.path == "/search"))
    assert searched["collections"] == ["naip"]
    assert searched["bbox"] == [-85, 33, -84, 34]
    assert searched["datetime"] == "2019-01-01T00:00:00Z/2019-12-31T23:59:59Z"
    assert searched["query"] == {"gsd": {"lte": 1}}


def test_a_second_start_neither_searches_nor_signs(stac, tmp_path):
    told, transfer = recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}
    first = obtain(told, {**QUICK, **transfer}, tmp_path / "raw")
    stac.stop(), stac.store.stop()
    again = obtain(told, {**QUICK, **transfer}, tmp_path / "raw")
    assert first.facts == again.facts
    assert first.facts["found"]["items"] == 5
    assert len(list(again.files())) == 5


def test_an_interrupted_search_goes_on_with_the_items_that_it_found(stac, tmp_path):
    told, transfer = recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}
    lost = stac.store.files.pop("naip/3.tif")
    with pytest.raises(UserError, match=r"chip_3.tif: could not be downloaded"):
        obtained(told, transfer, tmp_path / "raw")
    stac.store.files["naip/3.tif"] = lost
    stac.items.append(item("chip_9", f"{stac.store.url}/naip/1.tif"))  # the collection grew
    assert len(obtained(told, transfer, tmp_path / "raw")) == 5


def test_another_rescan_searches_again(stac, tmp_path):
    told, transfer = recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}
    obtained(told, transfer, tmp_path / "raw")
    stac.items.append(item("chip_9", f"{stac.store.url}/naip/1.tif"))
    assert len(obtained(told, transfer, tmp_path / "raw")) == 5
    assert len(obtained({**told, "rescan": 1}, transfer, tmp_path / "raw")) == 6


def test_a_signature_is_renewed_before_it_expires(stac, tmp_path):
    stac.lasts_s = 1  # less than what has to be left of it
    told = recipe(source=stac_source(stac))
    assert len(obtained(told, {"sign": f"{stac.url}/sas"}, tmp_path / "raw")) == 5
    assert stac.signatures == 5


def test_a_signature_that_is_refused_is_renewed(stac, tmp_path):
    sign = stac._signature

    def late():
        if stac.signatures == 1:
            stac.store.valid.clear()
        return sign()

    refused = Answer(b"<Error>expired</Error>", 403)
    stac.store.first = [refused]
    stac._signature = late
    told, transfer = recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas", "parallel": 1}
    assert len(obtained(told, transfer, tmp_path / "raw")) == 5
    assert stac.signatures == 2


def test_a_store_that_refuses_every_signature_ends_in_an_error_without_one(stac, tmp_path):
    stac.store.answer = lambda asked: Answer(b"", 403)
    with pytest.raises(UserError, match=r"chip_\d.tif: could not be downloaded") as caught:
        obtained(recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}, tmp_path / "raw")
    assert "secret" not in str(caught.value)


def test_a_signature_is_sent_to_one_host_only(stac, store, tmp_path):
    stac.items.append(item("elsewhere", f"{store.url}/naip/1.tif"))
    with pytest.raises(UserError, match="several hosts"):
        obtained(recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}, tmp_path / "raw")
    assert stac.signatures == 0


@pytest.mark.parametrize(
    ("bad", "seen"),
    [
        (item("../../up", "http://127.0.0.1/a.tif"), "has the id '../../up'"),
        (item(".hidden", "http://127.0.0.1/a.tif"), "has the id '.hidden'"),
        (item("line\nbreak", "http://127.0.0.1/a.tif"), "has the id"),
        ({"type": "Feature", "id": 5}, "has no id"),
        ("text", "has no id"),
        (item("file", "file:///etc/passwd"), r"lies at 'file:///etc/passwd'"),
        (item("s3", "s3://naip/a.tif"), r"lies at 's3://naip/a.tif'"),
        (item("a", "http://127.0.0.1/a.tif", **{"file:size": "much"}), "the size is 'much'"),
        (item("a", "http://127.0.0.1/a.tif", **{"file:checksum": "1220ab"}), "is no sha256"),
    ],
)
def test_an_item_that_cannot_be_is_refused(stac, tmp_path, bad, seen):
    stac.items = [bad]
    with pytest.raises(UserError, match=seen):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")
    assert not [one for one in (tmp_path / "raw").rglob("*") if not one.name.startswith(".")]


def test_the_size_and_checksum_that_an_item_tells_are_held_to(stac, tmp_path):
    data = stac.store.files["naip/0.tif"]
    stac.store.valid.add(None)
    told = {"file:size": len(data), "file:checksum": "1220" + "0" * 64}
    stac.items = [item("a", f"{stac.store.url}/naip/0.tif", **told)]
    with pytest.raises(UserError, match=r"its sha256 is [0-9a-f]{64}, expected 0000"):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")
    told["file:checksum"] = "1220" + sha256(data)
    stac.items = [item("a", f"{stac.store.url}/naip/0.tif", **told)]
    assert obtained(recipe(source=stac_source(stac)), {}, tmp_path / "new") == {"a.tif": data}


def test_items_without_the_asset_are_left_out_and_told(stac, tmp_path):
    stac.store.valid.add(None)
    stac.items.append(item("bare", "http://127.0.0.1/a.tif", asset="thumbnail"))
    found = obtain(recipe(source=stac_source(stac)), QUICK, tmp_path / "raw")
    assert found.facts["found"]["without_asset"] == ["bare"]
    with pytest.raises(UserError, match=r"none has an asset 'nir'; one has image"):
        obtain(recipe(source=stac_source(stac, asset="nir")), QUICK, tmp_path / "other")


def test_a_search_that_finds_nothing_says_where_to_look(stac, tmp_path):
    stac.items = []
    with pytest.raises(UserError, match=r"0 items of collection naip match"):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")


def test_a_search_that_never_ends_is_ended(stac, tmp_path):
    page = stac._page
    stac._page = lambda search: page({**search, "token": "0"})
    with pytest.raises(UserError, match="does not end"):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")


def test_a_next_page_on_this_machine_is_not_read(stac, tmp_path):
    def page(search):
        link = {"rel": "next", "href": "/etc/passwd"}
        return as_json({"type": "FeatureCollection", "features": stac.items[:2], "links": [link]})

    stac._page = page
    with pytest.raises(UserError, match=r"names '/etc/passwd'"):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (as_json({"hello": "world"}), "not that of a STAC API"),
        (Answer(b"<html>log in</html>"), "not that of a STAC API"),
        (Answer(b"gone", 404), "404"),
        (as_json([1, 2]), "not that of a STAC API"),
    ],
)
def test_an_api_that_is_none_is_refused(stac, tmp_path, answer, seen):
    stac.answer = lambda asked: answer
    with pytest.raises(UserError, match=seen):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")


def test_an_api_that_fails_for_the_moment_is_asked_again(stac, tmp_path):
    stac.store.valid.add(None)
    cut = as_json({"links": []})
    cut.headers["Content-Length"] = "500"  # the connection ends in the middle of the answer
    stac.first = [Answer(b"", 503, {"Retry-After": "0"}), cut]
    assert len(obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw")) == 5


@pytest.mark.parametrize("answer", [{"token": ""}, {"sas": "x"}, ["x"], {"token": 5}])
def test_a_service_that_gives_no_signature_is_refused(stac, tmp_path, answer):
    stac._signature = lambda: as_json(answer)
    with pytest.raises(UserError, match=r"/sas: answers without a signature"):
        obtained(recipe(source=stac_source(stac)), {"sign": f"{stac.url}/sas"}, tmp_path / "raw")


def test_addresses_that_the_api_signed_itself_are_not_kept(stac, tmp_path):
    stac.store.valid.add("its-own")
    for one in stac.items:
        one["assets"]["image"]["href"] += "?sig=its-own"
    told = recipe(source=stac_source(stac))
    lost = stac.store.files.pop("naip/3.tif")
    with pytest.raises(UserError, match=r"chip_3.tif"):
        obtained(told, {}, tmp_path / "raw")
    stac.store.files["naip/3.tif"] = lost
    assert len(obtained(told, {}, tmp_path / "raw")) == 5
    assert b"its-own" not in written_below(tmp_path)


def test_the_stage_fetches_from_the_hub_and_leaves_no_secret(hub, store, tmp_path, monkeypatch):
    hub.token = TOKEN
    told = recipe(source=hub_source(named("data/images.zip")))
    environment = {"HF_TOKEN": TOKEN, "HF_ENDPOINT": hub.url}
    done = run_fetch(told, {}, tmp_path, **environment)
    assert done.returncode == 0, done.stderr
    assert contents_of(tmp_path, monkeypatch) == IMAGES
    assert {one.label for one in manifest_of(tmp_path)} == {"sea", "sand"}
    body = json.loads((tmp_path / "data/manifests/places.json").read_text())
    data = hub.lfs["data/images.zip"]
    assert body["files"] == [
        {"name": "data/images.zip", "bytes": len(data), "sha256": sha256(data)}
    ]
    assert body["source"] == f"Hugging Face hub, dataset torchgeo/ucmerced at {REVISION}"
    for secret in (TOKEN, "of-the-store"):
        assert secret.encode() not in written_below(tmp_path)
        assert secret not in done.stderr + done.stdout
    before = written_below(tmp_path / "data/manifests/places.json")
    hub.stop(), store.stop()  # what is there and verified asks nothing
    again = run_fetch(told, {}, tmp_path, **environment)
    assert again.returncode == 0, again.stderr
    assert written_below(tmp_path / "data/manifests/places.json") == before


def test_the_stage_fetches_from_a_stac_api_and_leaves_no_secret(stac, tmp_path, monkeypatch):
    transfer = {"sign": f"{stac.url}/sas"}
    done = run_fetch(recipe(source=stac_source(stac)), transfer, tmp_path)
    assert done.returncode == 0, done.stderr
    assert len(contents_of(tmp_path, monkeypatch)) == 5
    body = json.loads((tmp_path / "data/manifests/places.json").read_text())
    assert body["found"]["items"] == 5
    assert b"secret" not in written_below(tmp_path)
    assert "secret" not in done.stderr + done.stdout


def test_counts_are_demanded_of_downloads_and_told_of_ones_own(store, tmp_path):
    data = zipped(IMAGES)
    store.files["images.zip"] = data
    expected = {"items": 4, "classes": 3, "per_class": None}
    told = recipe(source=https_source(named("images.zip", data)), expected=expected)
    done = run_fetch(told, {"files": {"images.zip": [f"{store.url}/images.zip"]}}, tmp_path)
    assert done.returncode == 1
    assert "2 classes, expected 3" in done.stderr
    assert not (tmp_path / "data/manifests/places.jsonl").exists()
    (tmp_path / "data/raw/places/.generated").unlink()  # as if somebody had put it there
    done = run_fetch(told, {}, tmp_path)
    assert done.returncode == 0, done.stderr
    assert "2 classes, expected 3" in done.stderr
    body = json.loads((tmp_path / "data/manifests/places.json").read_text())
    assert body["differences"] == ["2 classes, expected 3"]


def test_the_stage_makes_the_same_summary_from_whichever_mirror(store, tmp_path, monkeypatch):
    data = zipped(IMAGES)
    told = recipe(source=https_source(named("images.zip", data)))
    for name in ("one", "two"):
        store.files[f"{name}/images.zip"] = data
        (tmp_path / name).mkdir()
        transfer = {"files": {"images.zip": [f"{store.url}/{name}/images.zip"]}}
        done = run_fetch(told, transfer, tmp_path / name)
        assert done.returncode == 0, done.stderr
    for name in ("places.json", "places.jsonl"):
        one, two = (tmp_path / place / "data/manifests" / name for place in ("one", "two"))
        assert one.read_bytes() == two.read_bytes()
    made = json.loads((tmp_path / "two/data/manifests/places.provenance.json").read_text())
    assert made["urls"] == [f"{store.url}/two/images.zip"]
