"""Probes in the report: tables, what is marked, and what their figures show."""

import json
import re
import xml.etree.ElementTree as ET
from dataclasses import replace

import matplotlib.pyplot as plt
import numpy as np
import pytest

from tests.probe_results import result, verdict
from tests.report_tree import chip, make_chip_index, make_day, make_probe, make_tree, probe_entry
from workflow_scripts.errors import UserError
from workflow_scripts.probe.pictures import write
from workflow_scripts.report import page, page_probes, tables_probes
from workflow_scripts.report.__main__ import draw_probes
from workflow_scripts.report.collect import collect
from workflow_scripts.report.figure_names import file_name, probe_figures
from workflow_scripts.report.figures_accuracy import _number
from workflow_scripts.report.figures_along import apart
from workflow_scripts.report.figures_embedding import class_looks, embedding_figure, moved_apart
from workflow_scripts.report.figures_mistakes import mistakes, mistakes_figure, true_names
from workflow_scripts.report.figures_probes import probe_figure
from workflow_scripts.report.probe_data import read_probe
from workflow_scripts.report.style import styled
from workflow_scripts.report.tables_published import differences, references
from workflow_scripts.shards.corpus import Corpus

SVG = "{http://www.w3.org/2000/svg}"


def only_probes(recipe):
    """The recipe without what is told elsewhere, so that tests are quick."""
    return {**recipe, "datasets": [], "corpora": [], "days": {}}


def gather(root, recipe):
    folders = {"results": root / "results", "data": root / "data"}
    return collect(recipe, **folders, records=root / "none")


def texts(path):
    """Every text of an SVG file."""
    return ["".join(text.itertext()) for text in ET.parse(path).iter(f"{SVG}text")]


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """A tree of results, its recipe, all of it read, and the folder of its probes' figures."""
    root = tmp_path_factory.mktemp("probes")
    recipe = only_probes(make_tree(root))
    collected = gather(root, recipe)
    with styled():
        draw_probes(collected, root / "figures")
    return root, recipe, collected, root / "figures"


def rendered(tree):
    html = page.render(tree[2], tree[3])
    section = html.split('<section id="probes">')[1].split('<section id="published">')[0]
    return section


def cells(html):
    """Rows of all tables as lists of texts."""
    rows = re.findall(r"<tr[^>]*>(.*?)</tr>", html, re.DOTALL)
    found = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", row, re.DOTALL) for row in rows]
    return [[" ".join(re.sub(r"<[^>]+>", " ", cell).split()) for cell in row] for row in found]


def test_files_are_those_that_the_rules_expect(tree):
    _, recipe, _, figures = tree
    assert sorted(path.stem for path in figures.glob("*.svg")) == sorted(
        probe_figures(recipe["probes"])
    )


def test_names_of_figures_hold_no_at_sign_and_steps_have_one_curve():
    probes = [
        probe_entry("a", "ucm"), probe_entry("a@5", "ucm"), probe_entry("a@9", "ucm"),
        probe_entry("b@7", "ucm", finetune=True), probe_entry("vit", "aid", run=False),
        probe_entry("tuned", "aid", features=False, finetune=True),
    ]  # fmt: skip
    names = probe_figures(probes)
    assert file_name("b@7", "ucm") == "b-at-7_ucm"
    assert names == [
        "accuracy_ucm", "accuracy_aid", "probe_a_ucm", "mistakes_a_ucm", "embedding_a_ucm",
        "probe_b-at-7_ucm", "mistakes_b-at-7_ucm", "embedding_b-at-7_ucm", "probe_vit_aid",
        "mistakes_vit_aid", "embedding_vit_aid", "probe_tuned_aid", "along_a_ucm", "along_b_ucm",
    ]  # fmt: skip


def test_a_table_holds_every_encoder_and_protocol_with_its_floors(tree):
    rows = cells(rendered(tree))
    assert ["scenes-mae synthetic", "linear", "78.0 ± 0.5", "98.0 ± 0.5", "25.0 ± 0.5",
            "15.0 ± 0.5"] in rows  # fmt: skip
    assert ["fine-tuning", "93.0 ± 0.5", "100.0 ± 0.5", "25.0 ± 0.5", "–"] in rows
    assert ["scenes-mae, step 300 synthetic", "linear", "60.0 ± 0.5", "80.0 ± 0.5", "25.0 ± 0.5",
            "15.0 ± 0.5"] in rows  # fmt: skip
    text = " ".join(rendered(tree).split())
    assert "1,680 training and 420 test samples, digest <code>eeeeeeeeeeee</code>" in text
    assert "8 classes; chance is 12.5 %" in text
    assert "normalisation standardize; pooling mean; strength 0.1" in text


def test_published_numbers_stand_below_with_what_differs(tree):
    (row,) = [row for row in cells(rendered(tree)) if "99.70" in row]
    assert row[:2] == ["RVSA ViT-B, MAE", "fine-tuning"]
    # Fine-tuning is among the protocols here, so that it is no difference.
    assert row[3].startswith("data: MillionAID; split: 50 % for training")
    assert 'href="https://arxiv.org/abs/2208.03987"' in rendered(tree)
    runs = {run.name: run for run in tree[2].runs}
    for group in references([tree[2].probes[1]], runs):
        assert all("protocol: fine-tuning" in one["differs"] for one in group["rows"])


def test_data_volume_epochs_and_sizes_that_differ_are_told_with_ours():
    row = {"data": "GeoPile", "split": None, "protocol": "fine-tuning", "images": 587954,
           "epochs": 100, "image_size": 192}  # fmt: skip
    ours = [{"images": 600, "epochs": 100, "image_size": 64, "parameters": 5_000_000},
            {"images": 1200, "epochs": 100, "image_size": 64, "parameters": 5_000_000}]  # fmt: skip
    assert differences(row, {"fine-tuning"}, ours) == [
        "data: GeoPile", "split: not stated", "images pretrained on: 587,954 (here 600 to 1,200)",
        "image size: 192 px (here 64 px)", "not stated: parameters",
    ]  # fmt: skip
    # Of weights from elsewhere nothing is known: what is published stands alone.
    assert "epochs of pretraining: 100" in differences(row, {None}, [{}])


def test_arp_is_told_against_the_baseline(tree):
    rows = cells(rendered(tree))
    assert ["scenes-mae", "linear", "+50.00", "Sample scenes", "none"] in rows
    assert ["GFM Swin-B", "fine-tuning", "4.47", "seven tasks"] in [row[:4] for row in rows]
    with pytest.raises(UserError, match="arp_baseline is 'other', which no benchmark"):
        tables_probes.arp_table(tree[2].probes, "other")
    assert tables_probes.arp_table(tree[2].probes, None) is None


@pytest.mark.parametrize(
    ("overlap", "mark", "text"),
    [
        ({"train": 0, "test": 0}, None, None),
        ({"train": 1680, "test": 3}, "test images seen", "saw 3 of 420 test images and 1,680 of"),
        ({"train": 9, "test": 0}, "training images seen", "saw 9 of 1,680 training images in"),
        (None, "pretraining data unknown", "it may have seen these images"),
    ],
)
def test_what_an_encoder_saw_in_pretraining_is_marked(tree, overlap, mark, text):
    probe = tree[2].probes[0]
    first = probe.results[0]
    told = {**first, "splits": [{**first["splits"][0], "overlap": overlap}]}
    found = tables_probes.seen(replace(probe, results=[told]))
    assert (found and found["mark"]) == mark
    assert text is None or text in found["text"]
    assert not found or found["loud"] == bool(overlap and overlap["test"])


def test_other_splits_in_one_table_are_told_apart(tree):
    probes = tree[2].probes[:2]
    other = {**probes[1].results[0]}
    other["splits"] = [{**other["splits"][0], "digest": "f" * 64}]
    mixed = [probes[0], replace(probes[1], results=[other])]
    assert tables_probes.same_splits(probes)
    assert not tables_probes.same_splits(mixed)
    assert [split["digest"] for split in tables_probes.splits(mixed)] == ["e" * 12, "f" * 12]


def test_a_curve_begins_at_the_random_floor_and_ends_at_the_run(tree):
    shown = texts(tree[3] / "along_scenes-mae_scenes.svg")
    assert "linear 78.0" in shown
    assert "few shot, 5 44.0" in shown
    assert not [text for text in shown if text.startswith("fine-tuning")]  # judged at one step only
    assert "optimiser step of pretraining (ring at 0: random weights)" in shown


def test_mistakes_are_the_wrong_ones_the_surest_first():
    pictures = {
        "labels": np.array([0, 1, 2, 0, 1]), "predicted": np.array([0, 0, 1, 1, 0]),
        "confidence": np.array([0.99, 0.4, 0.8, 0.4, 0.9], np.float32),
    }  # fmt: skip
    assert mistakes(pictures).tolist() == [4, 2, 1, 3]
    several = {**pictures, "labels": np.eye(3, dtype=bool)[[0, 1, 2, 0, 1]]}
    several["labels"][4] = [True, True, False]
    assert mistakes(several).tolist() == [2, 1, 3]
    assert true_names(several["labels"][4], ["a", "b", "c"]) == "a, b"
    assert true_names(np.zeros(3, bool), ["a", "b", "c"]) == "no class"
    assert true_names(np.array(2), ["a", "b", "c"]) == "c"


def test_mistakes_are_shown_with_their_images_and_classes(tree):
    probe = tree[2].probes[0]
    wrong = mistakes(probe.pictures)
    path = tree[3] / "mistakes_scenes-mae_scenes.svg"
    shown = texts(path)
    assert len(wrong) == 12
    assert "All 12 mistakes among 16 test samples" in shown
    first = int(wrong[0])
    classes = probe.classes
    assert shown[0] == classes[probe.pictures["labels"][first]]
    assert shown[1] == classes[probe.pictures["predicted"][first]]
    assert shown[2] == f"{100 * probe.pictures['confidence'][first]:.0f} %"
    assert len(list(ET.parse(path).iter(f"{SVG}image"))) == min(12, len(wrong))


def test_no_mistake_is_said_and_no_plane_too(tree, tmp_path):
    probe = tree[2].probes[0]
    right = {**probe.pictures, "predicted": probe.pictures["labels"]}
    right["embedding"] = np.zeros((0, 2), np.float32)
    right["embedding_rows"] = right["embedding_labels"] = np.arange(0)
    with styled():
        files = [draw(replace(probe, pictures=right), tmp_path)
                 for draw in (mistakes_figure, embedding_figure)]  # fmt: skip
    assert "None of 16 test samples was taken for another." in texts(files[0])
    assert any("several labels" in text for text in texts(files[1]))


def test_chips_are_shown_in_false_colour(tree, tmp_path):
    day = make_day(tmp_path, "modis", "2026-01-01", [chip(n) for n in range(3)])
    make_chip_index(tmp_path, "modis", {day: 3}, datasets=["modis"])
    samples = Corpus(tmp_path / "shards" / "modis" / "index.json")
    pictures = {**tree[2].probes[0].pictures, "labels": np.array([0, 1, 1], np.int32),
                "predicted": np.array([1, 1, 0], np.int32), "test_rows": np.arange(3),
                "confidence": np.ones(3, np.float32)}  # fmt: skip
    with styled():
        path = mistakes_figure(
            replace(tree[2].probes[0], samples=samples, pictures=pictures), tmp_path
        )
    assert len(list(ET.parse(path).iter(f"{SVG}image"))) == 2


def test_the_plane_names_each_class_once(tree):
    shown = texts(tree[3] / "embedding_scenes-mae_scenes.svg")
    for name in tree[2].probes[0].classes:
        assert shown.count(name) == 1
    assert "16 test images, 8 classes; t-SNE, perplexity 5" in shown


def test_ninety_six_classes_all_look_different():
    for count in (2, 8, 9, 45, 96):
        assert len(set(class_looks(count))) == count


def test_names_are_moved_apart_and_stay_inside():
    spots = np.array([[50.0, 50.0], [52.0, 50.0], [50.0, 50.0], [99.0, 99.0]])
    sizes = np.full((4, 2), [12.0, 5.0])
    frame = np.array([[0.0, 0.0], [100.0, 100.0]])
    found = moved_apart(spots, sizes, frame)
    gaps = np.abs(found[:, None] - found[None]) - (sizes[:, None] + sizes[None])
    assert ((gaps > -1e-6).any(axis=2) | np.eye(4, dtype=bool)).all()
    assert (found >= sizes).all()
    assert (found <= 100 - sizes).all()


def test_lines_names_are_moved_no_more_than_they_must():
    assert apart(np.array([10.0, 50.0, 30.0]), 5).tolist() == [10, 50, 30]
    np.testing.assert_allclose(apart(np.array([10.0, 10.0]), 4), [8, 12])
    np.testing.assert_allclose(apart(np.array([11.0, 10.0, 90.0]), 3), [12, 9, 90])
    assert apart(np.zeros(0), 1).tolist() == []


def test_several_labels_are_judged_by_precision_and_have_no_confusion(tree, tmp_path):
    probe = tree[2].probes[0]
    found = result("a", "scenes", {"linear": 60.0}, classes=probe.classes, several=True)
    with styled():
        shown = texts(probe_figure(replace(probe, results=[found]), tmp_path))
    assert "Average precision by class, linear" in shown
    assert "Confusion" not in shown
    row = tables_probes.rows(replace(probe, results=[found]))[0]
    assert row["cells"] == ["60.0 ± 0.5", "80.0 ± 0.5", "25.0 ± 0.5", "15.0 ± 0.5"]


def test_a_class_without_test_samples_is_said_so(tree, tmp_path):
    probe = tree[2].probes[0]
    found = json.loads(json.dumps(probe.results[0]))
    for who in found["protocols"]["linear"]["judged"].values():
        who["per_class"][probe.classes[0]] = None
    with styled():
        shown = texts(probe_figure(replace(probe, results=[found]), tmp_path))
    assert shown.count("no test sample") == 1


def test_the_headline_of_the_result_is_shown(tree):
    probe = tree[2].probes[0]
    assert probe.headline == "linear"
    found = {**probe.results[0], "headline": "knn"}
    assert replace(probe, results=[found]).headline == "knn"
    assert verdict(1.0, ["a"])["top1"]["mean"] == 1.0


def test_verdicts_of_another_packing_are_refused(tmp_path, tree):
    root, recipe, _, _ = tree
    entry = recipe["probes"][0]
    folders = {"results": tmp_path, "data": root / "data"}
    classes = tree[2].probes[0].classes
    digests = {"inputs": {"benchmark": "0" * 64}}
    make_probe(tmp_path, "scenes-mae", "scenes", classes, {"linear": 1.0}, digests=digests)
    alone = {**entry, "finetune": False}
    with pytest.raises(UserError, match=r"scenes\.npz: judged on another content .* probe again"):
        read_probe(alone, recipe, **folders)
    make_probe(tmp_path, "scenes-mae", "scenes", classes, {"linear": 1.0})
    assert read_probe(alone, recipe, **folders).pictures is not None
    write(tmp_path / "probes/scenes-mae/scenes.npz", {"labels": np.zeros(3)})
    with pytest.raises(UserError, match=r"scenes\.npz: not what a probe leaves"):
        read_probe(alone, recipe, **folders)
    tuned = {**entry, "features": False}
    assert read_probe(tuned, recipe, results=root / "results", data=root / "data").pictures is None


def test_an_older_result_asks_to_probe_again(tmp_path, tree):
    root, recipe, _, _ = tree
    path = tmp_path / "probes/scenes-mae/scenes.json"
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps({"benchmark": "scenes", "protocol": "linear", "run": "x"}))
    with pytest.raises(UserError, match=r"older form.*probe again"):
        read_probe(recipe["probes"][0], recipe, results=tmp_path, data=root / "data")


def test_an_encoder_that_is_only_fine_tuned_has_its_table_and_confusion(tree, tmp_path):
    root, recipe, _, _ = tree
    entry = probe_entry("scenes-mae", "scenes", features=False, finetune=True)
    alone = {**recipe, "probes": [entry], "arp_baseline": None}
    collected = gather(root, alone)
    with styled():
        draw_probes(collected, tmp_path)
    assert {path.stem for path in tmp_path.glob("*.svg")} == set(probe_figures([entry]))
    assert "mean colour" not in texts(tmp_path / "accuracy_scenes.svg")
    section = rendered((root, alone, collected, tmp_path))
    assert ["scenes-mae synthetic", "fine-tuning", "93.0 ± 0.5", "100.0 ± 0.5", "25.0 ± 0.5",
            "–"] in cells(section)  # fmt: skip
    assert "Most confident mistakes" not in section


def numbers_of(encoder, random):
    """Where the number of a lane stands: its edge in percent, and on which side of it."""
    figure, axes = plt.subplots()
    floor = None if random is None else {"mean": random[0], "std": random[1]}
    _number(axes, 0.0, {"mean": encoder[0], "std": encoder[1]}, floor, "k")
    (text,) = axes.texts
    plt.close(figure)
    return text.xy[0], text.get_horizontalalignment()


def test_a_number_keeps_off_its_floor_and_off_the_names_of_protocols():
    assert numbers_of((50, 2), (30, 1)) == (52, "left")
    assert numbers_of((50, 2), (60, 4)) == (48, "right")
    assert numbers_of((99, 1), (30, 1)) == (98, "right")
    # A poor encoder under a floor that reaches down to nothing.
    assert numbers_of((6, 0), (16, 13)) == (29, "left")
    assert numbers_of((2, 0), None) == (2.8, "left")


def test_few_mistakes_are_told_in_few_words(tree, tmp_path):
    (found,) = [one for one in tree[2].probes if one.file_name == "scenes-mae_scenes"]
    wrong = mistakes(found.pictures)
    for count, told in ((1, "The only mistake among"), (3, "All 3 mistakes among")):
        pictures = {**found.pictures, "predicted": found.pictures["labels"].copy()}
        some = wrong[:count]
        pictures["predicted"][some] = found.pictures["predicted"][some]
        with styled():
            path = mistakes_figure(replace(found, pictures=pictures), tmp_path)
        assert any(text.startswith(told) for text in texts(path))


def test_of_very_many_results_the_highest_of_each_benchmark_are_on_top(tree, monkeypatch):
    collected = tree[2]
    assert [card["among"] for card in page_probes.headlines(collected)] == [1, 1]
    monkeypatch.setattr(page_probes, "MOST_CARDS", 1)
    (card,) = page_probes.headlines(collected)
    assert (card["encoder"], card["value"], card["among"]) == ("scenes-mae", "78.0 ± 0.5", 2)
    assert "the highest of 2 encoders" in page.render(collected, tree[3])
