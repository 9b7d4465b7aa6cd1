"""The terminal's table: what it says, that it fits, and what it refuses."""

import json
import subprocess
import sys

import pytest

from tests.probe_results import protocol, result
from workflow_scripts.errors import UserError
from workflow_scripts.probe.protocol_order import in_order
from workflow_scripts.probe.reading import chosen_text, headline, read_result
from workflow_scripts.probe.table import WIDTH, cut, main, table

CLASSES = ["forest", "river", "sea"]


def split(name="dataset", digest="e", train=0, test=0, **more):
    return {"name": name, "digest": digest * 64, "n_train": 1680, "n_test": 420,
            "overlap": {"train": train, "test": test}, **more}  # fmt: skip


def row_of(text, *words):
    """The cells of the one line that holds all these words."""
    (line,) = [line for line in text.splitlines() if all(word in line for word in words)]
    return [cell.strip() for cell in line.split("  ") if cell.strip()]


def test_a_row_tells_both_metrics_and_both_floors():
    text = table([result("ucm-mae", "ucm", {"linear": 71.25, "knn": 60.0})])
    assert row_of(text, "ucm-mae", "linear") == [
        "ucm-mae", "linear", "71.2 ± 0.5", "91.2 ± 0.5", "25.0 ± 0.5", "15.0 ± 0.5"
    ]  # fmt: skip
    assert "split dataset: 1,680 training and 420 test samples, digest eeeeeeeeeeee" in text
    assert "linear: normalisation standardize; pooling mean; strength 0.1" in text
    assert "seeds 0, 1, 2" in text
    assert "!" not in text
    assert "synthetic" not in text


def test_fine_tuning_has_no_mean_colour_and_stands_beside_the_probes():
    text = table([result("a", "ucm", {"linear": 60.0}), result("a", "ucm", {"finetune": 98.0})])
    assert row_of(text, "fine-tuning", "98.0 ±")[-1] == "–"
    assert text.count("ucm: 3 classes") == 1


def test_images_seen_in_pretraining_are_marked_and_explained():
    text = table(
        [
            result("seen", "ucm", {"linear": 80.0}, splits=[split(test=7, train=30)]),
            result("trained-on", "ucm", {"linear": 70.0}, splits=[split(train=1680)]),
            result("clean", "ucm", {"linear": 60.0}, synthetic=True),
            result("hub", "ucm", {"linear": 60.0}, splits=[{**split(), "overlap": None}]),
        ]
    )
    assert row_of(text, "seen", "linear")[0] == "!"
    assert row_of(text, "trained-on", "linear")[0] == "t"
    assert row_of(text, "clean", "linear")[0] == "s"
    assert row_of(text, "hub", "linear")[0] == "?"
    assert "!  seen saw 7 of 420 test and 30 of 1,680 training images in pretraining" in text
    assert "t  trained-on saw 0 of 420 test and 1,680 of 1,680 training images" in text
    assert "?  what hub was pretrained on is not known here" in text
    assert "s  synthetic: of generated data" in text


def test_published_numbers_of_the_benchmark_follow_with_sources():
    text = table([result("a", "ucm-50", {"linear": 60.0})])
    source, value, told = row_of(text, "99.70")
    assert value == "99.70"
    assert told.startswith(
        "RVSA ViT-B, MAE; MillionAID, 1,000,848 images, 1,600 epochs; fine-tuning; 50 %"
    )
    assert f"{source} top-1, %: Wang et al., Advancing Plain Vision" in text
    assert "https://arxiv.org/abs/2208.03987" in text
    assert "94.73" not in text  # of AID
    assert "Published" not in table([result("a", "my-folder", {"linear": 60.0})])


def test_arp_is_told_against_a_baseline_that_was_judged():
    results = [
        result("ours", "ucm", {"linear": 90.0}), result("base", "ucm", {"linear": 75.0}),
        result("ours", "aid", {"linear": 50.0}), result("base", "aid", {"knn": 40.0}),
    ]  # fmt: skip
    text = table(results, baseline="base")
    assert row_of(text, "ours", "+20.00") == ["ours", "linear", "+20.00", "ucm"]
    assert "left out: ours, linear: aid the baseline was not judged so" in text
    assert row_of(text, "4.47", "GFM")[1:] == [
        "4.47",
        "GFM Swin-B; GeoPile, 587,954 images, 100 epochs, 8.56 kg CO2; fine-tuning; that of",
    ]  # fmt: skip
    assert "No ARP: the baseline imagenet is not among" in table(results, baseline="imagenet")


def test_results_on_other_splits_are_tables_of_their_own():
    text = table(
        [
            result("a", "ucm", {"linear": 60.0}),
            result("b", "ucm", {"linear": 60.0}, splits=[split(digest="f")]),
        ]
    )
    assert text.count("ucm: 3 classes") == 2


def test_several_labels_are_told_by_average_precision():
    text = table([result("a", "bigearthnet", {"linear": 60.0}, several=True)])
    assert "micro AP, %" in text
    assert "several labels a sample" in text
    assert "top-1" not in text.split("Published")[0]


def test_everything_fits_a_hundred_columns():
    chosen = {"strength": 0.1, "pooling": "mean+class", "normalisation": "standardize",
              "layers": list(range(24)), "temperature": 0.07, "epochs": 90}  # fmt: skip
    long = "a-run-with-a-very-long-name-indeed-that-nobody-types@123456"
    found = result(
        long, "ucm",
        {f"few_shot_{n}": protocol(99.0, CLASSES, chosen=chosen, second=100.0, random=100.0)
         for n in (1, 5, 100)},
        splits=[split(name) for name in ("one", "two", "three")],
    )  # fmt: skip
    text = table([found, result("base", "ucm", {"few_shot_100": 10.0})], baseline="base")
    assert max(map(len, text.splitlines())) <= WIDTH
    assert "…" in text
    assert "@123456" in text
    assert "\x1b" not in text


def test_protocols_stand_in_one_order():
    names = ["few_shot_10", "knn", "finetune", "own", "few_shot_5", "ridge", "lars", "linear"]
    ordered = ["linear", "lars", "ridge", "knn", "few_shot_5", "few_shot_10", "finetune", "own"]
    assert in_order(names) == ordered
    assert headline(result("a", "ucm", {"knn": 1.0, "ridge": 2.0})) == "ridge"
    assert headline(result("a", "ucm", {"knn": 1.0, "ridge": 2.0}, headline="knn")) == "knn"


def test_choices_of_all_trials_are_one_line():
    trials = [
        {"split": "a", "seed": 0, "strength": 0.1, "k": 20},
        {"split": "a", "seed": 1, "strength": 1.0, "k": 20},
        {"split": "b", "seed": 0, "strength": 0.1, "k": 20, "blocks": [10, 11]},
    ]
    assert chosen_text(trials) == "blocks 10+11; k 20; strength 0.1, 1"


def test_long_names_keep_both_ends():
    assert cut("abcdefghij", 7) == "abc…hij"
    assert cut("short", 7) == "short"


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({"benchmark": "ucm", "protocol": "linear", "top1": {}}, "older form.*probe again"),
        ({"corpus": "ucm"}, "no result of a probe .it has no encoder, benchmark"),
        ([1, 2], "no result of a probe"),
    ],
)
def test_files_that_are_no_result_are_named(tmp_path, content, told):
    path = tmp_path / "ucm.json"
    path.write_text(json.dumps(content))
    with pytest.raises(UserError, match=rf"ucm\.json: .*{told}"):
        read_result(path)


def test_the_command_prints_the_table_or_one_line_of_what_is_wrong(tmp_path, capsys):
    found = result("a", "ucm", {"linear": 60.0})
    path = tmp_path / "ucm.json"
    path.write_text(json.dumps(found))
    main([str(path)])
    assert capsys.readouterr().out == table([found])
    with pytest.raises(SystemExit, match=r"none\.json: no such file"):
        main([str(tmp_path / "none.json")])
    main([str(path), str(path)])  # as patterns of a shell give it that overlap
    assert capsys.readouterr().out == table([found])
    (tmp_path / "ucm.npz").write_bytes(b"\x89")
    for wrong in (tmp_path, tmp_path / "ucm.npz"):
        with pytest.raises(SystemExit, match="no result; give JSON files"):
            main([str(wrong)])


def test_reading_results_needs_neither_torch_nor_sklearn():
    code = (
        "import sys, workflow_scripts.probe.table; "
        "sys.exit(bool({'torch', 'sklearn'} & set(sys.modules)))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
