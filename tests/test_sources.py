"""Datasets that come from somewhere, by the stage: what is written, and that no secret is."""

import json

import pytest
from source_cases import (
    TOKEN,
    contents_of,
    https_source,
    hub_source,
    manifest_of,
    named,
    obtained,
    recipe,
    run_fetch,
    stac_source,
    written_below,
)
from source_servers import IMAGES, REVISION, sha256, zipped

from workflow_scripts.errors import UserError


def test_files_come_by_https_from_the_mirror_that_has_them(store, tmp_path):
    data = zipped(IMAGES)
    store.files["new/images.zip"] = data
    told = recipe(source=https_source(named("images.zip", data)))
    urls = [f"{store.url}/old/images.zip", f"{store.url}/new/images.zip"]
    assert obtained(told, {"files": {"images.zip": urls}}, tmp_path / "raw") == IMAGES


@pytest.mark.parametrize("other", ["b", "a?id=2"])
def test_another_address_is_another_file_where_no_checksum_tells(store, tmp_path, other):
    def fetched(name, data):
        store.files[name.partition("?")[0]] = data
        url = f"{store.url}/{name}"
        told = recipe(source=https_source({**named("sea/x.jpg"), "url": url}))
        return obtained(told, {"files": {"sea/x.jpg": [url]}}, tmp_path)["sea/x.jpg"]

    assert fetched("a", b"one") == b"one"
    assert fetched("a", b"not asked for again") == b"one"
    assert fetched(other, b"two") == b"two"
    assert (tmp_path / "sea/x.jpg.rejected").read_bytes() == b"one"


def test_a_folder_in_the_place_of_a_file_is_told_and_stays(store, tmp_path):
    told = recipe(source=https_source(named("images.zip", zipped(IMAGES))))
    (tmp_path / "images.zip").mkdir()
    (tmp_path / ".generated").touch()
    with pytest.raises(UserError, match=r"images\.zip is a folder, and a file of that name"):
        obtained(told, {"files": {"images.zip": [f"{store.url}/a"]}}, tmp_path)
    assert (tmp_path / "images.zip").is_dir()


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


def test_a_file_without_a_checksum_is_not_taken_for_that_of_another_address(store, tmp_path):
    store.files |= {"v1": b"one" * 9, "v2": b"two" * 9}
    raw = tmp_path / "raw"

    def of(version):
        url = f"{store.url}/v{version}"
        told = recipe(source=https_source(named("sea/a.jpg", url=url)))
        return obtained(told, {"files": {"sea/a.jpg": [url]}}, raw)["sea/a.jpg"]

    assert of(1) == b"one" * 9
    assert of(1) == b"one" * 9
    assert len(store.asked) == 1
    assert of(2) == b"two" * 9
    assert (raw / "sea/a.jpg.rejected").read_bytes() == b"one" * 9
    (raw / "sea/a.jpg").write_bytes(b"by hand")  # in its place, of the address that is wanted
    assert of(2) == b"by hand"
    assert len(store.asked) == 2


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
