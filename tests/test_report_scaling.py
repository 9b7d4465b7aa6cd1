"""Studies, plans and runs together in the report: files, tables and page agree with the recipe."""

import csv
import json
import re
from argparse import Namespace
from dataclasses import asdict
from pathlib import Path

import pytest

from tests.plan_options import option, too_large
from tests.report_tree import make_tree
from tests.study_results import point, small_points, write_study
from workflow_scripts.config_check import load_config
from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.report import figure_names
from workflow_scripts.report.__main__ import work
from workflow_scripts.report.plan_data import read_plan
from workflow_scripts.report_recipe import shown
from workflow_scripts.study.points import read_study
from workflow_scripts.study_shape import study_shape

EVERY = {
    "modes": ["real", "synthetic", "no_communication", "io"], "ranks": [1, 2], "patches": [],
    "strategies": ["ddp", "full_shard"], "readers": [[0, None], [1, 2], [2, 2], [2, 4]],
    "batches": [16], "ahead": [0],
}  # fmt: skip


def make_plan(results, study):
    """A plan of a made-up machine that is fitted to a study."""
    options = [option("ddp"), option("full_shard", 2, total_s=1900.0), too_large("no_shard")]
    rows = [{"point": "p", "mode": "synthetic", "strategy": "ddp", "nodes": 1, "ranks": 2,
             "images_per_s": 100.0, "predicted_images_per_s": 104.0, "memory_bytes": 1e9,
             "predicted_memory_bytes": 1.1e9}]  # fmt: skip
    plain = [asdict(one) for one in options]
    write_json(results / "plans" / "trip.json", {
        "plan": "trip", "label": "A trip", "machine": {"name": "here", "memory_bytes": 4e9},
        "constants": {"source": study}, "images": 1000, "epochs": 10, "parameters": 5,
        "usable_bytes": 4e9, "options": plain, "recommended": {**plain[0], "why": "It is cheap."},
        "measured": rows,
    })  # fmt: skip


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    root = tmp_path_factory.mktemp("report")
    recipe, results = make_tree(root), root / "results"
    recipe |= {"corpora": [], "datasets": [], "days": {}, "arp_baseline": None}
    recipe["runs"] = [run for run in recipe["runs"] if run["name"].startswith("scenes")]
    recipe["probes"] = [one for one in recipe["probes"] if one["encoder"] == "scenes-gfm"]
    rows = [*small_points(ranks=(1, 2)),
            point(None, strategy="shard_grad_op", local=2, status="out_of_memory")]  # fmt: skip
    label = "Study <b> here"
    write_study(results, "sample", rows, label)
    recipe["studies"] = [{"name": "sample", "label": label, **EVERY}]
    recipe["plans"] = [{"name": "trip", "label": "A trip", "study": "sample"}]
    make_plan(results, "sample")
    folders = {name: results / name for name in ("figures", "tables", "records")}
    work(Namespace(results=results, data=root / "data", html=results / "report.html",
                   json=results / "report.json", **folders), recipe)  # fmt: skip
    return results, recipe, (results / "report.html").read_text()


def test_what_is_named_is_there_and_nothing_else(made):
    results, recipe, _ = made
    names = [name for group in figure_names.figures(recipe).values() for name in group]
    for suffix in ("svg", "csv"):
        assert sorted(path.stem for path in (results / "figures").glob(f"*.{suffix}")) == sorted(
            names
        )
    assert {path.stem for path in (results / "tables").glob("[!.]*")} == set(
        figure_names.tables(recipe)
    )


def test_the_page_has_a_part_for_each(made):
    html = made[2]
    for anchor in ("scaling-sample", "plan-trip", "together-losses",
                   "together-accuracy-parameters"):  # fmt: skip
        assert html.count(f'id="{anchor}"') == 1
    section = re.search(r'<section id="scaling">.*?</section>', html, re.S)[0]
    assert "Study &lt;b&gt; here" in section
    assert "<b> here" not in section
    assert re.search(r"\d+ points, \d+ measured \(1 out of memory\)", section)
    assert "rank 0: out_of_memory" in section
    plan = re.search(r'<section id="plans">.*?</section>', html, re.S)[0]
    assert "It is cheap." in plan
    assert "images/s 4.0 %, memory 10.0 %" in plan


def test_the_table_has_every_point(made):
    results, _, _ = made
    with (results / "tables" / "study_sample.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == len(small_points(ranks=(1, 2))) + 1
    assert [row["status"] for row in rows].count("out of memory") == 1


def test_the_recipe_names_what_the_points_of_a_study_fill():
    config = load_config(Path("config.yaml"))
    assert study_shape(config, "sample") == {
        "modes": ["real", "synthetic", "no_communication", "io"], "ranks": [1, 2],
        "strategies": ["ddp", "full_shard"], "readers": [[0, None]], "patches": [],
        "batches": [16], "ahead": [0],
    }  # fmt: skip
    plans = config.all.model_copy(update={"plans": ["sample-here", "vit-1b-frontier"]})
    recipe = shown(config.model_copy(update={"all": plans}))
    assert [one["name"] for one in recipe["studies"]] == ["sample"]
    found = figure_names.figures(recipe)
    assert found["Scaling"] == [f"{kind}_sample" for kind in
                                ("scaling", "strategies", "memory", "modes", "time")]  # fmt: skip
    assert found["Plans"] == ["plan_sample-here", "plan_vit-1b-frontier", "planned_sample-here"]


@pytest.mark.parametrize(
    "damage", [3, {"step_s": "fast"}, {"strategy": [1]}, {"kwh": {}}, {"nodes": "two"}]
)
def test_a_plan_whose_layouts_are_not_as_written_is_refused_by_name(made, tmp_path, damage):
    results, recipe, _ = made
    (entry,) = recipe["plans"]
    found = json.loads((results / "plans" / "trip.json").read_text())
    first = found["options"][0]
    found["options"][0] = {**first, **damage} if isinstance(damage, dict) else damage
    (tmp_path / "plans").mkdir()
    (tmp_path / "plans" / "trip.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=r"trip\.json: a layout is "):
        read_plan(entry, tmp_path)


@pytest.mark.parametrize("damage", [{"ranks": "two"}, {"device": 3}, {"peak_memory_bytes": [1]}])
def test_a_point_whose_values_are_not_of_their_kind_is_refused_by_name(made, tmp_path, damage):
    found = json.loads((made[0] / "scaling" / "sample.json").read_text())
    found["points"][0] |= damage
    (tmp_path / "sample.json").write_text(json.dumps(found))
    with pytest.raises(UserError, match=rf"sample\.json: damaged, .* {next(iter(damage))} is "):
        read_study(tmp_path / "sample.json")
