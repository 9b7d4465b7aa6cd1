"""What report and model card say of the data that were used: version, licence, citation, source."""

import json

import pytest

from tests.report_tree import TRAP, UNCITED
from tests.test_config import changed
from workflow_scripts import recipes
from workflow_scripts.card.text import citations, licence
from workflow_scripts.catalogue.entries import entries
from workflow_scripts.catalogue.words import cited
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.report.collect import Collected
from workflow_scripts.report.days import sum_manifests
from workflow_scripts.report.page import render
from workflow_scripts.report_recipe import scientific

SHA256 = "06c539ef28703a58fb07bd2837991ac7c48b813b00bb12ac197efd813a18daeb"
SUMMARY = {
    "synthetic": False, "items": 2099, "bytes": 10**9, "classes": ["a"], "duplicates": 0,
    "set_aside": [], "source": "a hub",
}  # fmt: skip


def named(**keys):
    """What is told of a dataset of the configuration."""
    entry = {"kind": "image-folder", "catalogue": "ucmerced", **keys}
    return cited(check_config(changed("datasets.mine", entry)).datasets["mine"])


def test_the_catalogue_tells_what_is_cited():
    told, entry = named(), entries()["ucmerced"]
    assert told["origin"] == f"hub torchgeo/ucmerced at {entry.source.revision}"
    for key in ("version", "licence", "citation", "homepage"):
        assert told[key] == getattr(entry, key)


def test_what_the_user_gives_comes_before_the_catalogue():
    told = named(path="/my/ucm", licence="mine-1.0", citation="Me")
    assert (told["licence"], told["citation"]) == ("mine-1.0", "Me")
    assert told["origin"] == "folder or archive on disk"
    assert told["version"] == "2010"
    own = named(catalogue=None, path="/my/fields")
    assert own == {**UNCITED, "origin": "folder or archive on disk"}


@pytest.mark.parametrize(
    ("source", "origin"),
    [
        ({"kind": "https", "files": [{"name": "a.zip", "urls": ["https://a.org/x/a.zip?t=1"]}]},
         "https a.org"),
        ({"kind": "stac", "api": "https://b.org/v1", "collection": "naip", "asset": "image"},
         "STAC collection naip of b.org"),
        ({"kind": "manual", "instructions": "Ask."}, "by hand"),
    ],
)  # fmt: skip
def test_a_source_is_told_in_words(source, origin):
    assert named(catalogue=None, source=source)["origin"] == origin


def test_granules_and_generated_data_are_told_too():
    days = {"kind": "modis-l1b", "catalogue": "modis-aqua-l1b", "platform": "Aqua",
            "first": "2019-01-01", "last": "2019-01-01"}  # fmt: skip
    aqua = cited(check_config(changed("datasets.mine", days)).datasets["mine"])
    assert aqua["origin"] == "LAADS collection 61"
    assert "MYD021KM.061" in aqua["citation"]
    assert cited(load_config().datasets["sample-scenes"]) == UNCITED


def with_used(*, path=None):
    raw = changed("datasets.mine", {"kind": "image-folder", "catalogue": "resisc45", "path": path})
    raw["corpora"]["mine"] = {"datasets": ["mine"]}
    raw["runs"]["scenes-mae"]["corpus"] = "mine"
    return check_config(raw)


def test_recipes_of_report_and_card_tell_the_same():
    config = with_used()
    rows = [
        *(row for row in recipes.report(config, {})["datasets"] if row["name"] == "mine"),
        *recipes.card(config, "scenes-mae")["datasets"],
    ]
    assert len(rows) == 2
    for row in rows:
        assert row.items() >= cited(config.datasets["mine"]).items()
    assert licence(rows) == {"license": "cc-by-nc-4.0"}


def test_the_card_cites_what_the_weights_were_judged_on_too():
    raw = changed("datasets.mine", {"kind": "image-folder", "catalogue": "ucmerced"})
    raw["benchmarks"]["scenes"]["dataset"] = "mine"
    config = check_config(raw)
    (judged,) = recipes.card(config, "scenes-mae")["benchmarks"]
    assert "Yang and Newsam" in judged["citation"]
    assert judged["homepage"] == cited(config.datasets["mine"])["homepage"]


def test_no_recipe_tells_where_data_lie():
    config = with_used(path="/home/me/secret-place")
    for recipe in (recipes.report(config, {}), recipes.card(config, "scenes-mae")):
        assert "secret-place" not in json.dumps(recipe)


def test_how_data_are_fetched_is_no_part_of_the_science():
    plain = {"kind": "modis-l1b", "source": {"kind": "laads"}, "first": "2019-01-01",
             "last": "2019-01-01"}  # fmt: skip
    near = {**plain, "source": {"kind": "laads", "url": "https://mirror.org/archive", "keep": True}}
    other = {**plain, "source": {"kind": "laads", "collection": 6}}
    told = [scientific(check_config(changed("datasets.mine", one))) for one in (plain, near, other)]
    assert told[0] == told[1] != told[2]
    assert "transfer" not in told[0]


def summed(tmp_path, *bodies):
    files = []
    for number, body in enumerate(bodies):
        files.append(tmp_path / f"{number}.json")
        files[-1].write_text(json.dumps(SUMMARY | body))
    return sum_manifests(files)


def shown(sums, **entry):
    """The page of one dataset."""
    row = {"name": "ucm", "label": "UCM", "kind": "x", "synthetic": False, **UNCITED, **entry}
    recipe = {
        "title": "t", "name": "n", "config_digest": "f" * 64, "config_yaml": "", "days": {},
        "datasets": [row], "corpora": [], "benchmarks": [], "runs": [], "probes": [],
        "studies": [], "plans": [], "digests": {},
    }  # fmt: skip
    return recipe, [(row, sums)]


def html(tmp_path, sums, **entry):
    recipe, manifests = shown(sums, **entry)
    return render(Collected(recipe=recipe, manifests=manifests), tmp_path)


def test_the_page_tells_citation_differences_and_files(tmp_path):
    archive = {"name": "UCM.zip", "bytes": 332468434, "sha256": SHA256}
    differing = ["2,099 items, expected 2,100", f"class {TRAP}: 99 items, expected 100"]
    sums = summed(tmp_path, {"files": [archive], "differences": differing})
    page = html(tmp_path, sums, **{**named(), "citation": f"Yang, {TRAP}"})
    section = page.partition("<h3>Data used</h3>")[2].partition("<h3>")[0]
    for text in ("public-domain", "2010", "hub torchgeo/ucmerced at 7c5ef345", SHA256, "UCM.zip",
                 "332.5 MB", "2,099 items, expected 2,100"):  # fmt: skip
        assert text in section
    assert TRAP not in page
    assert 'href="http:' not in page  # told, but no link


def test_the_page_tells_what_was_not_compared_and_what_agrees(tmp_path):
    assert "<td>not compared</td>" in html(tmp_path, summed(tmp_path, {}))
    agreeing = html(tmp_path, summed(tmp_path, {"differences": []}))
    assert "<td>not in number of items or classes</td>" in agreeing
    assert "as they were verified" not in agreeing  # no archive was fetched
    assert '<span class="address"><a href="https://a.org">https://a.org</a></span>' in html(
        tmp_path, summed(tmp_path, {}), homepage="https://a.org"
    )


def test_days_of_a_dataset_are_told_as_one(tmp_path):
    file = {"name": "a.zip", "bytes": 1, "sha256": SHA256}
    sums = summed(tmp_path, {"files": [file]}, {}, {"differences": ["few"]})
    assert sums["files"] == [file]
    assert sums["differences"] == ["few"]


def test_works_are_cited_once():
    told = {"citation": "A,\n  On sets", "homepage": "https://a.org"}
    rows = [{"label": "One", **told}, {"label": "Two", **told},
            {"label": "Three", "citation": None, "homepage": None}]  # fmt: skip
    assert citations(rows) == ["One, Two: A, On sets. <https://a.org>"]
