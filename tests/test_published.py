"""The file of published numbers: complete, sourced, and read by benchmark."""

import re

import pytest

from tests.test_config import changed
from workflow_scripts import recipes
from workflow_scripts.code_digest import import_closure
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.errors import UserError
from workflow_scripts.published import groups, key_of, number, published, value

GROUP = {"title", "metric", "source", "link", "place", "note", "rows"}
ROW = {"model", "data", "benchmark", "benchmark_key", "split", "protocol", "value"}
SCALES = {"images", "epochs", "image_size", "parameters", "co2_kg"}  # where they are stated
PROTOCOLS = {"linear probe", "fine-tuning", "supervised training", None}


def test_every_group_and_row_is_complete():
    assert len(groups()) > 5
    for group in groups():
        assert set(group) == GROUP
        assert group["title"]
        assert group["metric"]
        assert group["source"]
        assert group["link"] is None or re.fullmatch(r"https://\S+", group["link"])
        for row in group["rows"]:
            assert set(row) - {"top5", *SCALES} == ROW
            assert all(row[key] > 0 for key in SCALES & set(row))
            assert row["protocol"] in PROTOCOLS
            assert re.fullmatch(r"−?\d+(\.\d+)?(–\d+(\.\d+)?)?", row["value"])


def test_rows_of_a_benchmark_come_with_source_and_number():
    rows = published("ucm")
    assert {row["benchmark"] for row in rows} == {"UC Merced"}
    assert [row["number"] for row in rows] == sorted((r["number"] for r in rows), reverse=True)
    assert all(row["source"] and row["metric"] for row in rows)
    assert published("no-such-benchmark") == published(None) == []


@pytest.mark.parametrize(
    ("benchmark", "key"),
    [("ucm", "ucm"), ("ucm-50", "ucm"), ("millionaid-10k", "millionaid"), ("ucmerced", None),
     ("scenes", None), ("aid", "aid")],
)  # fmt: skip
def test_a_benchmark_is_found_by_its_name(benchmark, key):
    assert key_of(benchmark) == key


def test_ranges_have_no_number_and_minus_is_read():
    assert number({"value": "47.7–53.5"}) is None
    assert number({"value": "−5.53"}) == -5.53
    assert value({"value": "98.99", "top5": "99.82"}) == "98.99 (top-5 99.82)"


def test_a_benchmark_of_the_configuration_names_a_key_or_is_found_by_its_name():
    named = check_config(changed("benchmarks.scenes.published", "ucm"))
    assert recipes.report(named, {})["benchmarks"][0]["published"] == "ucm"
    assert recipes.report(load_config(), {})["benchmarks"][0]["published"] is None
    with pytest.raises(UserError, match="no published numbers have the key 'ucmm'; use aicca, aid"):
        check_config(changed("benchmarks.scenes.published", "ucmm"))


@pytest.mark.parametrize("stage", ["features", "finetune", "probe", "pretrain", "pack", "card"])
def test_a_new_citation_makes_no_number_stale(stage):
    assert "workflow_scripts.published" not in import_closure(stage)
    assert "workflow_scripts.published" in import_closure("report")
