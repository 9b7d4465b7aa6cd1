"""From the configuration to what packing is told, and what the report says of it."""

import pytest

from tests.report_tree import make_tree
from tests.test_config import changed
from workflow_scripts import recipes
from workflow_scripts.config_check import check_config
from workflow_scripts.corpora import judged_datasets, judging_benchmarks
from workflow_scripts.errors import UserError
from workflow_scripts.files import read_json, write_json
from workflow_scripts.jobs import Jobs
from workflow_scripts.report.collect import collect
from workflow_scripts.report.page import context, render


def with_corpus(**keys):
    return check_config(changed("corpora.mine", {"datasets": ["sample-scenes", "ucm"], **keys}))


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ({}, {"handling": "exclude", "benchmarks": {"scenes": "sample-scenes", "ucm": "ucm"}}),
        ({"splits": ["train", "test"], "benchmark_test": "keep", "datasets": ["ucm"]},
         {"handling": "keep", "benchmarks": {"ucm": "ucm"}}),
        ({"splits": ["train"]}, {"handling": "exclude", "benchmarks": {}}),
    ],
)  # fmt: skip
def test_test_images_of_every_benchmark_go_unless_told_otherwise(keys, expected):
    config = with_corpus(**keys)
    assert recipes.pack(config, "mine")["benchmark_test"] == expected
    names = judged_datasets(config, "mine")
    assert names == {dataset: [name] for name, dataset in expected["benchmarks"].items()}


def test_a_dataset_without_a_benchmark_keeps_its_test_images():
    raw = changed("corpora.mine", {"datasets": ["ucm"]})
    del raw["benchmarks"]["ucm"]
    raw["all"]["benchmarks"] = [name for name in raw["all"]["benchmarks"] if name != "ucm"]
    recipe = recipes.pack(check_config(raw), "mine")
    assert recipe["benchmark_test"] == {"handling": "exclude", "benchmarks": {}}


def test_splits_of_a_benchmark_s_own_concern_a_corpus_of_training_images_too():
    """The dataset's training images are test images of other splits."""
    raw = changed("corpora.mine", {"datasets": ["sample-scenes", "ucm"], "splits": ["train"]})
    raw["benchmarks"]["half"] = {"dataset": "ucm", "encoders": [], "split": "ucm-50"}
    config = check_config(raw)
    assert judging_benchmarks(config, "mine") == {"half": "ucm"}
    assert judged_datasets(config, "mine") == {"ucm": ["half"]}
    job = Jobs(config).pack("mine")
    assert job.recipe["benchmark_test"]["benchmarks"] == {"half": "ucm"}


def test_the_job_compares_the_tables_of_splits(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = Jobs(with_corpus(datasets=["ucm"])).pack("mine")
    assert job.inputs() == {}
    (tmp_path / "data" / "splits").mkdir(parents=True)
    (tmp_path / "data" / "splits" / "ucm.csv").write_text("key,sha256,label,dataset\n")
    assert set(job.inputs()) == {"split:ucm"}


def test_a_benchmark_s_own_corpus_keeps_its_test_images():
    recipe = recipes.pack(with_corpus(), "bench-ucm")
    assert recipe["benchmark_test"]["benchmarks"] == {}
    assert recipe["across_splits"] == "keep"  # its own splits say on which side an image stands
    assert recipes.pack(with_corpus(), "mine")["across_splits"] == "protect"


def test_a_benchmark_s_packing_keys_are_of_its_corpus_and_not_of_its_probe():
    config = check_config(changed("benchmarks.ucm.bands", [3, 2, 1]))
    before = check_config(changed("name", "sample"))
    assert recipes.pack(config, "bench-ucm")["bands"] == [3, 2, 1]
    run = before.benchmarks["scenes"].encoders[0]
    assert recipes.probe(config, run, "ucm") == recipes.probe(before, run, "ucm")


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        ("corpora.scenes-train.large", "tile", "max_side, the size of a tile, is not set"),
        ("corpora.scenes-train.value_range", [5, 5], "the smaller first"),
        ("corpora.scenes-train.bands", [3, 2], "bands"),
        ("corpora.scenes-train.splits", [], r"corpora.scenes-train.splits: .*at least 1 item"),
        (
            "corpora.scenes-train.datasets",
            ["sample-scenes", "ucm", "ucm"],
            r"corpora.scenes-train.datasets: 'ucm' is listed twice",
        ),
        ("corpora.scenes-train.bands", [3, 2, 0], "greater than 0"),
        ("corpora.modis.duplicates", "drop", "corpora.modis.duplicates: does not apply to chips"),
        ("benchmarks.aicca.bands", [1, 2, 3], "benchmarks.aicca.bands: does not apply to chips"),
    ],
)
def test_keys_that_cannot_be_are_refused(path, value, words):
    raw = changed(path, value) if "aicca" not in path else changed("name", "sample")
    if "aicca" in path:
        scenes = raw["benchmarks"]["scenes"]
        raw["benchmarks"]["aicca"] = {
            "dataset": "aicca",
            "encoders": scenes["encoders"],
            "bands": value,
        }
    with pytest.raises(UserError, match=words):
        check_config(raw)


@pytest.mark.parametrize("handling", ["exclude", "keep"])
def test_the_report_tells_what_was_left_out_and_which_test_images(tmp_path, handling):
    recipe = make_tree(tmp_path)
    recipe["corpora"][0]["judged"] = {"scenes": ["Sample scenes"]}
    path = tmp_path / "data" / "shards" / "scenes" / "index.json"
    test = {"handling": handling, "images": {"scenes": 1234}}
    left_out = {"duplicate": 3, "test image of a benchmark": 1234}
    write_json(path, read_json(path) | {"left_out": left_out, "benchmark_test": test})
    places = {name: tmp_path / name for name in ("results", "data")}
    collected = collect(recipe, **places, records=tmp_path / "none")
    (corpus, *_) = context(collected, tmp_path)["corpora"]
    assert "1,234 × test image of a benchmark; 3 × duplicate." in render(collected, tmp_path)
    assert corpus["left_out"] == [("test image of a benchmark", 1234), ("duplicate", 3)]
    fate = {"exclude": "are left out of", "keep": "were in pretraining"}[handling]
    (line,) = corpus["test_images"]
    assert line.startswith(f"1,234 test images of scenes (benchmark Sample scenes) {fate}")
