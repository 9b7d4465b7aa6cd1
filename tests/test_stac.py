"""STAC searches on a real server: what is asked, what is believed, and signatures."""

import json

import pytest
from source_cases import QUICK, obtained, recipe, stac_source, written_below
from source_servers import Answer, as_json, item, sha256

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.obtain import obtain


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


def test_another_asset_is_not_taken_for_the_first(stac, tmp_path):
    stac.store.valid.add(None)
    for one in stac.items:
        one["assets"]["mask"] = {"href": f"{stac.store.url}/mask.tif"}
    stac.store.files["mask.tif"] = b"mask"
    assert b"mask" not in obtained(recipe(source=stac_source(stac)), {}, tmp_path / "raw").values()
    masks = obtained(recipe(source=stac_source(stac, asset="mask")), {}, tmp_path / "raw")
    assert list(masks.values()) == [b"mask"] * 5


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


def test_a_signature_is_sent_over_https_only(stac, tmp_path):
    stac.items = [item("a", "http://naip.test/a.tif")]
    with pytest.raises(UserError, match=r"http://naip\.test, and a signature is sent over https"):
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
        ({**item("a", "http://127.0.0.1/a.tif"), "collection": "other"}, "of collection 'other'"),
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


def test_conditions_that_an_api_would_ignore_are_refused(stac, tmp_path, monkeypatch):
    monkeypatch.setattr(stac, "CONFORMS", stac.CONFORMS[:2])
    with pytest.raises(UserError, match="does not know the extension `query`"):
        obtained(recipe(source=stac_source(stac, query={"gsd": {"lte": 1}})), {}, tmp_path / "raw")


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
