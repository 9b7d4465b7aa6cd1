"""Where datasets come from, as the configuration says: refused, in recipes, and on a site."""

import copy

import pytest

from tests.test_config import changed
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.corpora import required_days
from workflow_scripts.errors import UserError
from workflow_scripts.fetch_recipe import fetch, transfer
from workflow_scripts.network import fetch_targets, missing_downloads, needs_network

SHA256 = "0" * 64
HTTPS = {
    "kind": "https",
    "files": [{"name": "a.zip", "urls": ["https://a.org/a.zip", "https://b.org/a.zip"]}],
}
DAYS = {
    "kind": "modis-l1b", "first": "2020-02-28", "last": "2020-03-01", "source": {"kind": "laads"},
}  # fmt: skip


def refusal(entry):
    with pytest.raises(UserError) as error:
        check_config(changed("datasets.mine", entry))
    return str(error.value)


def test_a_dataset_comes_from_somewhere():
    assert "datasets.mine.path: missing; say where it lies" in refusal({"kind": "image-folder"})


def test_a_dataset_comes_from_one_place():
    entry = {"kind": "image-folder", "path": "x", "source": HTTPS}
    assert "datasets.mine.source: path is set too" in refusal(entry)


def test_an_unknown_entry_is_told_with_the_nearest():
    text = refusal({"kind": "image-folder", "catalogue": "ucmercet"})
    assert "no entry is called 'ucmercet'; did you mean 'ucmerced'?" in text


def test_an_entry_of_another_kind_is_refused():
    text = refusal({"kind": "aicca", "catalogue": "ucmerced", "chips": ["sample-modis"]})
    assert "datasets.mine.kind: aicca, but ucmerced of the catalogue is image-folder" in text


def test_granules_by_day_have_a_first_and_a_last_day():
    text = refusal({"kind": "modis-l1b", "source": {"kind": "laads"}})
    assert "datasets.mine.first: missing" in text
    assert "datasets.mine.last: missing" in text


def test_sources_are_of_what_the_dataset_holds():
    text = refusal({"kind": "image-folder", "source": {"kind": "laads"}})
    assert "datasets.mine.source: laads has granules" in text
    text = refusal({"kind": "modis-l1b", "source": HTTPS})
    assert "datasets.mine.path: missing, and the source has no granules by day" in text


@pytest.mark.parametrize(
    ("file", "said"),
    [
        ({"name": "../a", "urls": ["https://a.org/a"]}, "'../a' is no path below a folder"),
        ({"name": "a", "urls": ["ftp://a.org/a"]}, "'ftp://a.org/a' is no URL"),
        ({"name": "a", "urls": ["https://me:secret@a.org/a"]}, "'https://a.org/a' is no URL"),
        ({"name": "a", "urls": []}, "file 'a' has no urls"),
        ({"name": "a", "urls": ["https://a.org/a"], "sha256": "12"}, "should match pattern"),
        ({"name": "a", "url": "https://a.org/a"}, "files.0.url: unknown key"),
        ({"name": "a", "url": "https://a.org/a"}, "did you mean 'urls'?"),
        ({"name": ".generated", "urls": ["https://a.org/a"]}, "cannot be the name of a file"),
        ({"name": "a.rejected", "urls": ["https://a.org/a"]}, "cannot be the name of a file"),
        ({"name": "a\nb", "urls": ["https://a.org/a"]}, "cannot be the name of a file"),
    ],
)
def test_a_wrong_file_of_a_source_is_refused(file, said):
    source = {"kind": "https", "files": [file]}
    assert said in refusal({"kind": "image-folder", "source": source})


@pytest.mark.parametrize(
    "query",
    [
        "sv=2021&sig=hidden", "X-Amz-Signature=hidden&X-Amz-Date=1", "x-goog-signature=hidden",
        "access_token=hidden", "token=hidden", "api_key=hidden", "apikey=hidden",
        "subscription-key=hidden", "password=hidden",
    ],
)  # fmt: skip
def test_an_address_with_a_secret_is_refused_without_showing_it(query):
    url = f"https://a.org/a.zip?{query}"
    text = refusal({"kind": "image-folder", "source": {
        "kind": "https", "files": [{"name": "a.zip", "urls": [url]}]}})  # fmt: skip
    assert "'https://a.org/a.zip' has '" in text
    assert "hidden" not in text
    stac = {"kind": "stac", "api": url, "collection": "naip", "asset": "image"}
    assert "hidden" not in refusal({"kind": "image-folder", "source": stac})
    assert "hidden" not in refusal({"kind": "image-folder", "unknown": {"urls": [url]}})


def test_a_password_in_an_address_is_refused_without_showing_it():
    file = {"name": "a", "urls": ["https://me:hidden@a.org/a"]}
    text = refusal({"kind": "image-folder", "source": {"kind": "https", "files": [file]}})
    assert "without user or password" in text
    assert "hidden" not in text


def test_other_queries_are_part_of_an_address():
    url = "https://a.org/get?file=a.zip&persistentId=doi:1&download=1&key=a/b&design=2"
    assert fetch(with_source(urls=[url]), "mine")["source"]["files"][0]["url"] == url


@pytest.mark.parametrize(
    ("names", "said"),
    [(["a", "a"], "'a' is listed twice"), (["a", "a/b"], "'a' is a file, and the folder of 'a/b'")],
)
def test_files_of_a_source_do_not_stand_in_each_others_way(names, said):
    files = [{"name": name, "urls": ["https://a.org/a"]} for name in names]
    assert said in refusal({"kind": "image-folder", "source": {"kind": "https", "files": files}})


@pytest.mark.parametrize(
    "change",
    [
        {"urls": ["https://me:geheim@a.org/a"]},
        {"urls": ["https://a.org/a?se=1&sig=geheim"]},
        {"urls": ["https://a.org/a?X-Amz-Signature=geheim"]},
        {"urls": ["ftp://a.org/a?token=geheim"]},
        {"token": "geheim"},
    ],
)
def test_no_secret_of_a_configuration_is_told(change):
    file = {"name": "a", "urls": ["https://a.org/a"]} | change
    for source in ({"kind": "https", "files": [file]}, {**HTTPS, "token_env": "geheim"}):
        assert "geheim" not in refusal({"kind": "image-folder", "source": source})


def test_an_address_with_an_open_query_is_one():
    assert with_source(urls=["https://zenodo.org/a.zip?download=1"])


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"bbox": [1, 5, 2, 4]}, "source.bbox: south 5 is above north 4"),
        ({"first": "2020-02-01", "last": "2020-01-01"}, "first 2020-02-01 is after last"),
    ],
)
def test_a_search_of_nothing_is_refused(change, said):
    source = {"kind": "stac", "api": "https://a.org", "collection": "c", "asset": "image"}
    assert said in refusal({"kind": "image-folder", "source": source | change})


def test_a_path_is_no_address():
    text = refusal({"kind": "image-folder", "path": "https://a.org/a.zip?sig=geheim"})
    assert "datasets.mine.path: https://a.org/a.zip; a path is on disk" in text
    assert "datasets.mine.path: empty" in refusal({"kind": "image-folder", "path": ""})


def test_an_entry_of_the_catalogue_is_no_dataset_yet():
    with pytest.raises(UserError, match=r"add `ucmerced: {kind: image-folder, catalogue: ucmerc"):
        check_config(changed("corpora.scenes-train.datasets", ["ucmerced"]))
    with pytest.raises(UserError, match=r"as a union: add naip, rsd46-whu"):
        check_config(changed("corpora.scenes-train.datasets", ["geopile"]))


def with_source(**file):
    source = copy.deepcopy(HTTPS)
    source["files"][0] |= file
    return check_config(changed("datasets.mine", {"kind": "image-folder", "source": source}))


def test_an_address_is_of_the_recipe_only_without_a_checksum():
    assert fetch(with_source(), "mine")["source"]["files"][0]["url"] == "https://a.org/a.zip"
    first, other = with_source(sha256=SHA256), with_source(sha256=SHA256, urls=["https://c.org/a"])
    assert fetch(first, "mine") == fetch(other, "mine")
    assert transfer(first, "mine")["files"] == {
        "a.zip": ["https://a.org/a.zip", "https://b.org/a.zip"]
    }
    assert transfer(other, "mine")["files"] == {"a.zip": ["https://c.org/a"]}


def test_limits_of_transfers_are_of_no_recipe():
    raw = changed("datasets.mine", {"kind": "image-folder", "source": HTTPS})
    slow = check_config({**raw, "transfer": {"parallel": 1}})
    assert fetch(slow, "mine") == fetch(check_config(raw), "mine")
    assert transfer(slow, "mine")["parallel"] == 1


def test_what_is_put_by_hand_makes_the_manifest_stale_and_what_is_fetched_does_not(
    tmp_path, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    config = with_source()
    assert fetch(config, "mine")["listing_digest"] is None
    raw = tmp_path / "data" / "raw" / "mine"
    raw.mkdir(parents=True)
    (raw / ".generated").touch()
    (raw / "a.zip").touch()
    assert fetch(config, "mine")["listing_digest"] is None
    (raw / ".generated").unlink()
    assert fetch(config, "mine")["listing_digest"] is not None


def test_days_that_are_fetched_need_no_granule_to_be_planned():
    config = check_config(changed("datasets.mine", DAYS))
    assert required_days(config, "mine") == ["2020-02-28", "2020-02-29", "2020-03-01"]
    recipe = fetch(config, "mine", "2020-02-29")
    assert recipe["source"] == {
        "kind": "laads", "collection": 61, "companions": ["03", "35_L2"], "times": "any",
        "bbox": None,
    }  # fmt: skip
    assert transfer(config, "mine")["keep"] is False
    assert transfer(config, "mine")["budget_gb"] == 500


def test_days_are_told_together_and_images_by_their_manifest(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = changed("datasets.mine", DAYS)
    raw["datasets"]["images"] = {"kind": "image-folder", "source": HTTPS}
    config = check_config(raw)
    jobs = [
        ("fetch_day", ("mine", "2020-02-29")), ("tile", ("mine", "2020-02-29")),
        ("tile", ("mine", "2020-02-28")), ("tile", ("sample-modis", "2026-01-01")),
        ("fetch_folder", ("images",)), ("pack", ("x",)),
    ]  # fmt: skip
    assert needs_network(config, jobs) == [
        "data/manifests/images.jsonl is not here: dataset images comes from the web",
        "data/chips/mine/2020-02-28.h5 is not here (2 days): dataset mine comes from LAADS, "
        "day by day",
    ]
    chips = tmp_path / "data" / "chips" / "mine"
    chips.mkdir(parents=True)
    (chips / "2020-02-28.h5").touch()
    assert needs_network(config, jobs[2:3]) == [
        "data/chips/mine/2020-02-28.h5 is there, and to be made anew: dataset mine comes from "
        "LAADS, day by day"
    ]
    assert fetch_targets(config, jobs) == [
        "data/chips/mine/2020-02-29.h5",
        "data/chips/mine/2020-02-28.h5",
        "data/manifests/images.jsonl",
    ]
    (tmp_path / "data" / "raw" / "images").mkdir(parents=True)
    (tmp_path / "data" / "raw" / "images" / "a.zip").touch()
    assert needs_network(config, [("fetch_folder", ("images",))]) == []


def test_what_only_a_person_can_get_is_told_before_jobs_are_submitted(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    raw = changed("datasets.ucm", {"kind": "image-folder", "catalogue": "rsd46-whu"})
    raw["all"]["benchmarks"] = ["ucm"]
    config = check_config(raw)
    jobs = [("fetch_folder", ("ucm",))]
    assert missing_downloads(config) == jobs
    assert fetch_targets(config, jobs) == []
    assert needs_network(config, jobs) == [
        "data/raw/ucm is empty: dataset ucm has to be fetched by hand"
    ]
    (tmp_path / "data/raw/ucm/airport").mkdir(parents=True)
    assert missing_downloads(config) == needs_network(config, jobs) == []


def test_all_of_the_default_is_made_without_the_network():
    assert missing_downloads(load_config()) == []


def test_what_nothing_reads_is_fetched_and_of_no_corpus():
    raw = changed("datasets.oscd", {"kind": "files", "catalogue": "oscd"})
    config = check_config(raw)
    assert len(fetch(config, "oscd")["source"]["files"]) == 3
    raw["corpora"]["changes"] = {"datasets": ["oscd"]}
    raw["benchmarks"]["changes"] = {"dataset": "oscd", "encoders": ["scenes-mae"]}
    with pytest.raises(UserError) as error:
        check_config(raw)
    assert "corpora.changes.datasets: nothing reads 'oscd' yet" in str(error.value)
    assert "benchmarks.changes.dataset: nothing reads 'oscd' yet" in str(error.value)
