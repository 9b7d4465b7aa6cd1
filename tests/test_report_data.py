"""`report.json`: everything that a comparing report reads."""

import json

import numpy as np
import pytest
import yaml

from tests.report_tree import make_tree
from tests.study_results import point
from workflow_scripts.digests import digest
from workflow_scripts.files import write_json
from workflow_scripts.report.collect import collect
from workflow_scripts.report.figure_data import Table
from workflow_scripts.report.report_data import MOST_LOSSES, loss_curve, report_data

POINT = point(None, status="failed")


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    recipe = {**make_tree(root), "studies": [{"name": "weak", "label": "Weak"}]}
    study = {"schema_version": 1, "stage": "study", "recipe": {}, "digests": {}, "study": "weak",
             "label": "Weak", "points": [POINT]}  # fmt: skip
    write_json(root / "results" / "scaling" / "weak.json", study)
    folders = {"results": root / "results", "data": root / "data"}
    return root, collect(recipe, **folders, records=root / "none")


def test_recipe_runs_probes_and_studies_are_in_it(tree):
    root, collected = tree
    found = report_data(collected, root / "results")
    assert found["stage"] == "report"
    assert found["recipe"] == collected.recipe
    assert found["digests"]["recipe"] == digest(collected.recipe)
    assert found["digests"]["inputs"]["run:scenes-mae"] == "d" * 64
    assert found["config"] == yaml.safe_load(collected.recipe["config_yaml"])
    assert [run["name"] for run in found["runs"]] == [run.name for run in collected.runs]
    run = next(run for run in found["runs"] if run["name"] == "scenes-mae")
    assert run["recipe_digest"] == digest(run["recipe"])
    # 600 steps of as many images in 450 / 600 + 150 / 640 of the time of one at 1 image/s.
    assert run["images_per_s"] == pytest.approx(600 / (450 / 600 + 150 / 640))
    assert run["peak_memory_bytes"] == 700_000_000
    assert {run["name"]: run["energy_j"] for run in found["runs"]} == {
        "scenes-mae": 180_000.0, "scenes-gfm": None, "modis-simmim": None, "scenes-teacher": None,
    }  # fmt: skip
    linear = [
        (row["mean"], row["std"], row["trials"], row["metric"])
        for row in found["probes"]
        if (row["encoder"], row["protocol"]) == ("scenes-mae", "linear")
    ]
    assert linear == [(78.0, pytest.approx(0.5), 3, "top-1")]
    assert found["studies"] == [{"study": "weak", "label": "Weak", "points": [POINT]}]
    assert found["made"]["versions"] == {"python": ["3.11.2"], "torch": ["2.15.0"]}


def test_tables_of_the_page_are_in_it_and_it_is_plain_json(tree):
    root, collected = tree
    table = Table(name="t", title="T", columns=["a"], rows=[[np.float64(1.5)]], synthetic=True)
    found = report_data(collected, root / "results", [table])
    assert found["tables"] == [table.as_data()]
    assert json.loads(json.dumps(found, allow_nan=False)) == found


def test_loss_curve_keeps_its_ends_and_few_points():
    rows = [{"step": step, "loss": 1 / step} for step in range(1, 5001)]
    found = loss_curve([*rows, {"step": 5001, "loss": None}])
    assert len(found) == MOST_LOSSES
    assert (found[0], found[-1]) == ([1, 1.0], [5000, 1 / 5000])
    assert loss_curve(rows[:7]) == [[row["step"], row["loss"]] for row in rows[:7]]
