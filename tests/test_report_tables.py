"""Tables of the report as files: all of them, in three forms, with the numbers of the page."""

import csv
import re
from dataclasses import replace

import pytest

from tests.report_tree import TRAP, make_tree
from tests.test_table_forms import check_latex
from workflow_scripts.config_check import load_config
from workflow_scripts.energy.climate import co2_kg
from workflow_scripts.published import groups
from workflow_scripts.report import figure_names
from workflow_scripts.report.__main__ import all_tables
from workflow_scripts.report.collect import collect
from workflow_scripts.report.run_tables import co2_table
from workflow_scripts.report.table_forms import write_table
from workflow_scripts.report_recipe import report, shown

FORMS = ("csv", "md", "tex")


def gather(root, recipe):
    folders = {"results": root / "results", "data": root / "data"}
    return collect(recipe, **folders, records=root / "results" / "records")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("tables")
    names = [TRAP, "a|b & c_d", "=1+1", "日本 ünï", "50 %", "\\input{x}", "[b]", "plain"]
    recipe = make_tree(root, class_names=names)
    collected = gather(root, recipe)
    for table in all_tables(collected):
        write_table(table, root / "tables")
    return root, recipe, collected


def rows(tree, name):
    with (tree[0] / "tables" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_every_table_is_there_in_three_forms_under_the_names_that_the_rules_declare(tree):
    root, recipe, _ = tree
    expected = [f"{name}.{form}" for name in figure_names.tables(recipe) for form in FORMS]
    assert sorted(path.name for path in (root / "tables").iterdir()) == sorted(expected)


def test_names_follow_from_the_part_of_the_recipe_that_needs_no_day(tree):
    config = load_config()
    whole, part = report(config, {}), shown(config)
    assert part.items() <= whole.items()
    assert figure_names.tables(part) == figure_names.tables(whole)
    assert figure_names.figures(part) == figure_names.figures(whole)


def test_without_runs_probes_and_days_names_and_tables_agree_too(tree):
    _, recipe, collected = tree
    bare = {**recipe, "runs": [], "probes": [], "corpora": recipe["corpora"][:1], "days": {},
            "arp_baseline": None}  # fmt: skip
    few = replace(collected, recipe=bare, runs=[], probes=[], corpora=collected.corpora[:1])
    assert [table.name for table in all_tables(few)] == figure_names.tables(bare)


def test_latex_of_every_table_keeps_its_form(tree):
    for path in (tree[0] / "tables").glob("*.tex"):
        check_latex(path.read_text())


def test_markdown_of_every_table_has_as_many_cells_in_each_row(tree):
    for path in (tree[0] / "tables").glob("*.md"):
        lines = [line for line in path.read_text().splitlines() if line.startswith("| ")]
        assert len({len(re.findall(r"(?<!\\)\|", line)) for line in lines}) == 1, path


def test_classes_and_runs_hold_the_numbers_of_index_and_summary(tree):
    table = rows(tree, "classes_scenes")
    assert {row["class"] for row in table} >= {"'=1+1", TRAP}
    assert {(row["train"], row["test"], row["all"]) for row in table} == {("4", "2", "6")}
    run = next(row for row in rows(tree, "runs") if row["name"] == "scenes-mae")
    assert (run["images of the corpus"], run["epochs"], run["batch"]) == ("48", "40", "32")
    assert float(run["speed (images/s)"]) == pytest.approx(600 / (450 / 600 + 150 / 640))
    stages = {row["stage"]: row for row in rows(tree, "stages")}
    assert stages["pretrain"]["wall time (s)"] == "215.9"
    assert stages["pack"]["peak memory (MB)"] == ""


def test_ours_stand_beside_what_is_published_with_source_and_difference(tree):
    table = rows(tree, "probes_scenes")
    ours = [row for row in table if row["source"] == "here"]
    (linear,) = [
        r for r in ours if (r["encoder"], r["protocol"]) == ("scenes-mae", "linear")
    ]  # fmt: skip
    assert float(linear["top-1 (%)"]) == 78.0
    assert float(linear["top-1, deviation (%)"]) == pytest.approx(0.5)
    assert (linear["images pretrained on"], linear["synthetic"]) == ("48", "yes")
    theirs = [row for row in table if row["source"] != "here"]
    printed = [row["value"] for group in groups() for row in group["rows"]
               if row["benchmark_key"] == "ucm"]  # fmt: skip
    assert sorted(row["published top-1"] for row in theirs) == sorted(printed)
    assert all(row["top-1 (%)"] == "" and row["what differs"] for row in theirs)
    gfm = next(row for row in theirs if row["encoder"] == "GFM Swin-B")
    assert "images pretrained on: 587,954 (here 48)" in gfm["what differs"]
    assert "epochs of pretraining: 100 (here 40)" in gfm["what differs"]


def test_arp_and_co2_stand_beside_the_published_ones(tree):
    arp = rows(tree, "arp")
    assert {row["ARP (%)"] for row in arp if row["source"] == "here"} >= {"50.0", "53.75"}
    gfm = next(row for row in arp if row["encoder"] == "GFM Swin-B")
    assert (gfm["ARP (%)"], gfm["CO2e of pretraining (kg)"]) == ("4.47", "8.56")
    co2 = rows(tree, "co2")
    ours, theirs = [row["CO2e (kg)"] for row in co2[:4]], [row["CO2e (kg)"] for row in co2[4:]]
    assert theirs == ["8.56", "17.76", "12.64", "50.56"]
    assert [ours[0], *ours[2:]] == ["", "", ""]  # one of the four runs was measured
    assert float(ours[1]) == pytest.approx(0.05 * 0.473 * 1.1)
    text = (tree[0] / "tables" / "co2.md").read_text()
    assert text.count("not measured") >= 3
    assert "473 g CO2e a kWh (Ember 2025), PUE 1.1" in text


def test_co2_is_told_only_of_runs_whose_whole_energy_is_known(tree):
    recipe, collected = tree[1:]

    def row(facts):
        run = replace(collected.runs[0], facts=facts)
        return co2_table(replace(collected, runs=[run])).rows[0]

    segments = [{"energy_j": 1.8e6}]
    assert row({"energy_j": 3.6e6, "segments": segments})[5] == 1.0  # kWh, a killed segment's too
    assert row({"energy_j": 3.6e6})[6] == pytest.approx(0.473 * 1.1)
    assert row({"energy_j": 3.6e6})[6] == co2_kg(3.6e6, recipe["energy"])
    for facts in (None, {}, {"energy_j": None, "segments": segments}):
        assert row(facts)[5:7] == (None, None)
