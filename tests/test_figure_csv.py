"""The data behind each figure: there for every picture, and what the picture shows."""

import csv
import json
from collections import defaultdict

import numpy as np
import pytest

from tests.report_tree import BANDS, make_tree
from workflow_scripts.files import read_json
from workflow_scripts.report import figure_names
from workflow_scripts.report.__main__ import draw
from workflow_scripts.report.collect import collect
from workflow_scripts.shards.corpus import Corpus


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    root = tmp_path_factory.mktemp("data")
    recipe = make_tree(root)
    collected = collect(
        recipe, results=root / "results", data=root / "data", records=root / "results" / "records"
    )
    draw(collected, root / "figures")
    return root, recipe, collected


def rows(tree, name):
    with (tree[0] / "figures" / f"{name}.csv").open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def numbers(table, column):
    return [float(row[column]) for row in table if row[column]]


def test_every_picture_has_its_data_under_the_names_that_the_rules_declare(tree):
    root, recipe, _ = tree
    names = [name for group in figure_names.figures(recipe).values() for name in group]
    there = sorted(path.name for path in (root / "figures").iterdir())
    assert there == sorted(f"{name}.{form}" for name in names for form in ("svg", "csv"))


def test_all_rows_say_that_they_are_synthetic(tree):
    for path in (tree[0] / "figures").glob("*.csv"):
        ours = [row for row in rows(tree, path.stem) if not row.get("published in")]
        assert {row["synthetic"] for row in ours} <= {"yes"}, path


def test_a_run_s_curve_is_its_history(tree):
    history = [
        json.loads(line)
        for line in (tree[0] / "results/runs/scenes-gfm/history.jsonl").read_text().splitlines()
    ]
    table = rows(tree, "run_scenes-gfm")
    for column, key in (
        ("step", "step"), ("loss", "loss"), ("learning rate", "lr"), ("cosine", "cosine"),
        ("reconstruction", "reconstruction"), ("speed (images/s)", "images_per_s"),
    ):  # fmt: skip
        assert numbers(table, column) == [row[key] for row in history]


def test_a_confusion_matrix_has_its_sums_and_its_accuracies(tree):
    result = read_json(tree[0] / "results/probes/scenes-mae/scenes.json")
    verdict = result["protocols"]["linear"]["judged"]["encoder"]
    table = rows(tree, "probe_scenes-mae_scenes")
    assert [row["class"] for row in table] == result["classes"]
    counts = [[int(row[f"taken for {name}"]) for name in result["classes"]] for row in table]
    assert counts == verdict["confusion"]
    assert np.sum(counts) == np.sum(verdict["confusion"]) > 0
    assert numbers(table, "accuracy (%)") == [verdict["per_class"][n] for n in result["classes"]]


def test_shares_of_a_histogram_sum_to_one_by_band_and_satellite(tree):
    shares, pixels = defaultdict(float), defaultdict(int)
    table = rows(tree, "bands_modis")
    for row in table:
        key = row["band"], row["satellite"]
        shares[key] += float(row["share (%)"])
        pixels[key] += int(row["pixels"])
    assert set(shares) == {(band, name) for band in BANDS for name in ("Terra", "Aqua")}
    assert list(shares.values()) == pytest.approx([100.0] * len(shares))
    assert set(pixels.values()) == {8 * 64 * 64}  # chips × pixels, all with a value
    unit = "(W m-2 sr-1 µm-1)"
    inner = [row for row in table if row[f"from {unit}"] and row[f"to {unit}"]]
    assert all(float(row[f"from {unit}"]) < float(row[f"to {unit}"]) for row in inner)
    assert len(table) - len(inner) == 2 * len(shares)


def test_a_map_has_centres_and_corners_of_every_chip(tree):
    table = rows(tree, "map_modis")
    assert len(table) == 16
    for row in table:
        for word in ("latitude (degrees north)", "longitude (degrees east)"):
            corners = [float(row[f"corner {number} {word}"]) for number in range(1, 5)]
            assert np.mean(corners) == pytest.approx(float(row[f"centre {word}"]))


def test_pictures_of_samples_name_the_samples(tree):
    scenes = Corpus(tree[0] / "data/shards/scenes/index.json")
    for name in ("data_scenes", "mistakes_scenes-mae_scenes"):
        table = rows(tree, name)
        assert table
        for row in table:
            number = int(row["sample"])
            assert row["key"] == scenes.key(number)
            assert row.get("true class", row.get("class")) == scenes.classes[scenes.labels[number]]
    chips = rows(tree, "data_modis")
    assert {row["satellite"] for row in chips} == {"Terra", "Aqua"}
    assert chips[0]["granule begins (UTC)"] == "2026-01-01 10:05"
    assert 0 <= float(chips[0]["cloudy (%)"]) <= 100


def test_an_embedding_has_a_place_for_each_test_sample(tree):
    probe = next(one for one in tree[2].probes if one.encoder == "scenes-mae")
    table = rows(tree, "embedding_scenes-mae_scenes")
    assert [int(row["sample"]) for row in table] == probe.pictures["embedding_rows"].tolist()
    places = np.array([[float(row["x"]), float(row["y"])] for row in table], np.float32)
    np.testing.assert_array_equal(places, probe.pictures["embedding"])


def test_a_reconstruction_s_error_is_that_of_the_hidden_pixels(tree):
    with np.load(tree[0] / "results/runs/scenes-mae/reconstructions.npz") as arrays:
        given, predicted, mask = (arrays[name] for name in ("input", "prediction", "mask"))
    table = rows(tree, "reconstruction_scenes-mae")
    assert [row["channel"] for row in table[:3]] == ["red", "green", "blue"]
    for number, row in enumerate(table):
        picture, channel = divmod(number, 3)
        hidden = mask[picture]
        assert float(row["hidden (%)"]) == pytest.approx(100 * hidden.sum() / hidden.size)
        true, found = (values[picture, ..., channel][hidden] for values in (given, predicted))
        assert float(row["RMS error"]) == pytest.approx(np.sqrt(np.mean((true - found) ** 2)))
        # The prediction of the tree pulls every pixel to the mean of its picture: it errs by 0.6
        # of what the true values lie off that mean.
        mean = given[picture, ..., channel].mean()
        assert float(row["RMS error"]) == pytest.approx(
            0.6 * np.sqrt(np.mean((true - mean) ** 2)), rel=1e-4
        )


def test_dropped_chips_add_up(tree):
    table = rows(tree, "dropped_modis")
    of_terra = {row["fate"]: int(row["chips"]) for row in table if row["satellite"] == "Terra"}
    assert of_terra == {"kept": 8, "dropped: night": 5, "dropped: saturated": 3}
    shares = [float(row["share (%)"]) for row in table if row["satellite"] == "Terra"]
    assert sum(shares) == pytest.approx(100)


def test_accuracy_and_curve_hold_means_deviations_and_trials(tree):
    result = read_json(tree[0] / "results/probes/scenes-mae/scenes.json")
    judged = result["protocols"]["linear"]["judged"]
    (row,) = [
        row for row in rows(tree, "accuracy_scenes")
        if (row["name"], row["protocol"]) == ("scenes-mae", "linear")
    ]  # fmt: skip
    top1 = judged["encoder"]["top1"]
    assert float(row["top-1 (%)"]) == top1["mean"]
    assert float(row["top-1, deviation (%)"]) == top1["std"]
    assert int(row["trials"]) == len(top1["values"])
    assert float(row["top-1 of random weights (%)"]) == judged["random"]["top1"]["mean"]
    curve = [row for row in rows(tree, "along_scenes-mae_scenes") if row["protocol"] == "linear"]
    assert [(int(row["step"]), row["weights"]) for row in curve] == [
        (0, "random weights"), (300, "encoder"), (600, "encoder"),
    ]  # fmt: skip
    assert numbers(curve, "top-1 (%)") == [judged["random"]["top1"]["mean"], 60.0, top1["mean"]]
