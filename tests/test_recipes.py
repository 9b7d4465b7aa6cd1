"""A recipe holds what determines a result, and nothing of how the work is laid out."""

import json

import pytest

from tests.test_config import changed
from workflow_scripts import fetch_recipe, recipes
from workflow_scripts.config_check import check_config, load_config
from workflow_scripts.digests import canonical
from workflow_scripts.report_recipe import config_digest
from workflow_scripts.wanted import wanted_runs

DEFAULT = load_config()


def test_canonical_text_does_not_depend_on_order_but_on_every_value():
    assert canonical({"a": 1, "b": [1, 2]}) == canonical({"b": [1, 2], "a": 1})
    assert canonical({"a": 1, "b": 2}) != canonical({"a": 2, "b": 1})


def test_every_objective_has_the_same_shape_of_recipe():
    found = {run: recipes.pretrain(DEFAULT, run) for run in DEFAULT.runs}
    keys = {run: set(recipe) for run, recipe in found.items()}
    assert len({frozenset(names) for names in keys.values()}) == 1, keys
    assert found["scenes-mae"]["encoder"]["depths"] == [4]
    assert found["scenes-gfm"]["gfm"] == {"alpha": 1.0}
    assert found["modis-simmim"]["mask"]["patch"] == 32


@pytest.mark.parametrize(
    ("path", "value", "same"),
    [
        ("runs.scenes-mae.launch", {"nodes": 4, "strategy": "ddp", "workers": 7}, True),
        ("runs.scenes-mae.segments", 3, True),
        ("runs.scenes-mae.label", "Another", True),
        ("runs.scenes-mae.seed", 1, False),
        ("runs.scenes-mae.optim", {"base_lr": 0.5}, False),
        ("runs.scenes-mae.precision", "bf16", False),
    ],
)
def test_layout_and_labels_are_not_in_the_recipe(path, value, same):
    config = check_config(changed(path, value))
    before, after = (recipes.pretrain(c, "scenes-mae") for c in (DEFAULT, config))
    assert (before == after) is same


def test_settings_of_protocols_that_a_benchmark_does_not_use_are_in_no_recipe_of_its():
    entry = {"dataset": "sample-scenes", "encoders": ["scenes-mae"]}

    def found(**keys):
        config = check_config(changed("benchmarks.scenes", {**entry, **keys}))
        return [make(config, "scenes-mae", "scenes") for make in (recipes.features, recipes.probe)]

    turned = {"augment": {"rotate": True}}
    assert found(lars=turned, ridge={"strengths": [1.0]}, finetune={"epochs": 30}) == found()
    crops = {"protocols": ["lars"], "lars": {"views": 0}}
    assert found(**crops) == found(**{**crops, "lars": {"views": 0, **turned}})
    seen = {"protocols": ["lars"], "lars": {"views": 2}}
    differ = found(**seen), found(**{**seen, "lars": {"views": 2, **turned}})
    assert all(one != other for one, other in zip(*differ, strict=True))


def test_a_probe_of_a_run_that_generated_data_taught_is_synthetic():
    raw = changed("benchmarks.ucm", {"dataset": "ucm", "encoders": ["scenes-gfm"]})
    raw["corpora"]["own"] = {"datasets": ["ucm"], "splits": ["train"]}
    raw["runs"]["scenes-gfm"]["corpus"] = "own"
    assert recipes.probe(check_config(raw), "scenes-gfm", "ucm")["synthetic"] is True
    raw["runs"]["scenes-gfm"]["teacher"] = "swin-base-in22k"
    assert recipes.probe(check_config(raw), "scenes-gfm", "ucm")["synthetic"] is False


def test_config_digest_leaves_out_the_machine_but_no_science():
    def digest(path, value):
        return config_digest(check_config(changed(path, value)))

    before = config_digest(DEFAULT)
    assert digest("runs.scenes-mae.launch", {"nodes": 4}) == before
    assert digest("paths.results", "elsewhere") == before
    assert digest("datasets.ucm.path", "/data/ucm") == before
    assert digest("runs.scenes-mae.epochs", 41) != before


def test_recipes_are_plain_json():
    found = [
        recipes.fetch(DEFAULT, "sample-scenes"),
        recipes.fetch(DEFAULT, "sample-modis", "2026-01-01"),
        recipes.tile(DEFAULT, "sample-modis", "2026-01-01"),
        recipes.pack(DEFAULT, "modis"),
        recipes.pack(DEFAULT, "bench-scenes"),
        recipes.split(DEFAULT, "scenes"),
        recipes.features(DEFAULT, "scenes-mae", "scenes"),
        recipes.probe(DEFAULT, "scenes-mae", "scenes"),
        recipes.finetune(DEFAULT, "scenes-mae", "scenes"),
        recipes.card(DEFAULT, "scenes-mae"),
        recipes.report(DEFAULT, {}),
    ]
    for recipe in found:
        assert json.loads(canonical(recipe)) == recipe


def test_teacher_comes_before_the_run_that_needs_it():
    wanted = wanted_runs(DEFAULT)
    assert wanted.index("scenes-teacher") < wanted.index("scenes-gfm")


def test_large_folder_is_compared_by_its_rescan_number_alone(tmp_path, monkeypatch):
    monkeypatch.setattr(fetch_recipe, "listing_digest", lambda folder, **how: None)
    fetch_recipe._listing.cache_clear()
    base = {"kind": "image-folder", "path": str(tmp_path)}
    first = check_config(changed("datasets.ucm", base))
    again = check_config(changed("datasets.ucm", {**base, "rescan": 1}))
    assert recipes.fetch(first, "ucm")["listing_digest"] is None
    assert recipes.fetch(first, "ucm") != recipes.fetch(again, "ucm")
