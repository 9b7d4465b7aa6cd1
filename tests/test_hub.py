"""The Hugging Face hub on a real server: what is asked, what is believed, where the token goes."""

import pytest
from source_cases import TOKEN, hub_source, named, obtained, recipe, stac_source
from source_servers import IMAGES, REVISION, Answer, sha256, zipped

from workflow_scripts.errors import UserError
from workflow_scripts.fetch.sources import hub as hub_module


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


def test_a_hub_that_redirects_its_questions_elsewhere_gives_no_token_away(
    hub, store, tmp_path, monkeypatch
):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    hub.first = [Answer(b"", 307, {"Location": f"{store.url}/paths-info"})]
    with pytest.raises(UserError, match="status 404"):
        obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "raw")
    assert [one.path for one in store.asked] == ["/paths-info"]
    assert TOKEN in hub.said()
    assert TOKEN not in store.said()


def test_the_hubs_token_goes_over_no_open_way(monkeypatch):
    monkeypatch.setenv("HF_TOKEN", TOKEN)
    monkeypatch.setenv("HF_ENDPOINT", "http://hub.example.org")
    assert hub_module.tokens() == {}
    monkeypatch.setenv("HF_ENDPOINT", "https://hub.example.org/")
    assert hub_module.tokens() == {"hub.example.org": TOKEN}


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


def test_a_socks_proxy_of_the_environment_hinders_neither_hub_nor_stac(
    hub, stac, tmp_path, monkeypatch
):
    monkeypatch.setenv("ALL_PROXY", "socks://127.0.0.1:9/")  # as on Frontier's compute nodes
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    stac.store.valid.add(None)
    assert obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "a")
    assert obtained(recipe(source=stac_source(stac)), {}, tmp_path / "b")


def test_a_proxy_that_is_not_there_is_told(hub, stac, tmp_path, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9/")
    with pytest.raises(UserError, match=r"at 7c5ef.*: the proxy of the environment"):
        obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "a")
    with pytest.raises(UserError, match=r"STAC API .*: the proxy of the environment"):
        obtained(recipe(source=stac_source(stac)), {}, tmp_path / "b")


def test_a_hub_switched_off_says_so(hub, tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    with pytest.raises(UserError, match="HF_HUB_OFFLINE is set"):
        obtained(recipe(source=hub_source(named("data/images.zip"))), {}, tmp_path / "raw")
