"""The probe's stage: every protocol on every split and seed, its floors, and what it refuses."""

import argparse
import json
import shutil

import numpy as np
import pytest
import torch

from tests.feature_cases import extract_here, model_folder, png, write_index
from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.features.store import open_set
from workflow_scripts.files import read_json, write_json
from workflow_scripts.probe.__main__ import work
from workflow_scripts.probe.judging import Judge
from workflow_scripts.probe.trial import InMemory, OfSome
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.writer import ImageSample, write_image_shard
from workflow_scripts.split.samples import read_benchmark
from workflow_scripts.split.table import split_digest, write_table

CLASSES = ["columns", "flat", "rows"]
SEEDS = [0, 1]
VIEWS = {"scale": [0.5, 1.0], "ratio": [0.75, 1.25], "flip": True, "rotate": False}
SHARED = {"poolings": ["mean"], "holdout": 0.25}
LINEAR = {
    "protocol": "linear", "strengths": [0.1, 10.0], "normalisations": ["standardize"], **SHARED,
}  # fmt: skip
KNN = {"protocol": "knn", "k": [1, 3], "temperatures": [0.07], **SHARED}
RIDGE = {"protocol": "ridge", "strengths": [1.0, 100.0], **SHARED}
FEW = {
    "protocol": "few_shot", "shots": [1, 2], "strength": 1.0, "normalisation": "standardize",
    "poolings": ["mean"],
}  # fmt: skip
LARS = {
    "protocol": "lars", "epochs": 4, "warmup_epochs": 1, "base_lr": 0.1, "batch": 16384,
    "momentum": 0.9, "trust": 0.001, "pooling": "class", "poolings": ["class"], "views": 2,
    "augment": VIEWS,
}  # fmt: skip


def recipe(*protocols, **changes):
    return {
        "encoder": "stripes-mae", "run": "stripes-mae", "step": None, "benchmark": "stripes",
        "synthetic": True, "image_size": None, "seeds": SEEDS, "layers": 1,
        "protocols": list(protocols or (KNN, RIDGE)), **changes,
    }  # fmt: skip


def stripes(folder, each=9):
    """A benchmark of three classes with a table of two splits, and one sample in neither."""
    random, samples = np.random.default_rng(0), []
    for number in range(each):
        for label, name in enumerate(CLASSES):
            image = random.integers(0, 20, (24, 16, 3), dtype=np.uint8)
            if name == "rows":
                image[::4] += 200
            if name == "columns":
                image[:, ::4] += 200
            samples.append(
                ImageSample(
                    key=f"stripes/{name}/{number}", data=png(image), height=24, width=16,
                    label=label, split=-1,
                )
            )  # fmt: skip
    folder.mkdir(parents=True, exist_ok=True)
    write_image_shard(folder / "shard-00000.h5", samples, classes=CLASSES)
    index = write_index(folder, [folder / "shard-00000.h5"], [len(samples)], classes=CLASSES)
    keys = [one.key.removeprefix("stripes/") for one in samples]
    labels = [CLASSES[one.label] for one in samples]
    sides = {"seed-0": ["train" if n % each < 6 else "test" for n in range(len(keys))],
             "seed-1": ["test" if n % each < 3 else "train" for n in range(len(keys))]}  # fmt: skip
    for side in sides.values():
        side[0] = ""
    return index, table(folder / "stripes.csv", keys, labels, sides)


def table(path, keys, labels, sides, *, classes=CLASSES, multi_label=False):
    """A table of splits as the stage `split` writes it."""
    write_table(path, keys, [f"{n:064d}" for n in range(len(keys))], labels, sides)
    rows = [
        {"name": name, "digest": split_digest(keys, cells, labels)} for name, cells in sides.items()
    ]
    body = {"dataset": "stripes", "classes": classes, "multi_label": multi_label,
            "table": {"sha256": file_sha256(path)}, "splits": rows}  # fmt: skip
    write_json(path.with_suffix(".json"), body)
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A benchmark with the features of a tiny encoder, its floors and its views."""
    folder = tmp_path_factory.mktemp("stripes")
    index, splits = stripes(folder / "bench-stripes")
    wanted = {
        "encoder": "stripes-mae", "benchmark": "stripes", "image_size": None, "layers": 1,
        "poolings": ["mean", "class"], "seeds": SEEDS,
        "views": {"count": 2, "augment": VIEWS, "seeds": SEEDS},
    }  # fmt: skip
    output = folder / "features.json"
    extract_here(wanted, model_folder(folder / "run"), index, output, "--splits", str(splits))
    return {"index": index, "splits": splits, "features": output, "store": folder / "store"}


def judge(made, output, wanted, *, corpora=(), threads=1, **changes):
    arguments = argparse.Namespace(**(made | changes), output=output, corpora=corpora,
                                   threads=threads)  # fmt: skip
    work(arguments, wanted)
    return read_json(output)


def test_a_result_tells_all_trials_of_all_protocols_beside_their_floors(made, tmp_path):
    wanted = recipe(LINEAR, KNN, RIDGE, FEW, LARS)
    found = judge(made, tmp_path / "stripes.json", wanted, corpora=[made["index"]])
    assert list(found["protocols"]) == ["few_shot_1", "few_shot_2", "knn", "lars", "linear",
                                        "ridge"]  # fmt: skip
    assert found["headline"] == "linear"
    assert found["classes"] == CLASSES
    for name, protocol in found["protocols"].items():
        assert set(protocol["judged"]) == {"encoder", "random", "mean-colour"}, name
        for who in protocol["judged"].values():
            assert len(who["top1"]["values"]) == 4
            assert np.array(who["confusion"]).sum() == sum(s["n_test"] for s in found["splits"]) * 2
            trials = [(row["split"], row["seed"]) for row in who["chosen"]]
            assert trials == [("seed-0", 0), ("seed-0", 1), ("seed-1", 0), ("seed-1", 1)]
    sizes = [(s["name"], s["n_train"], s["n_test"]) for s in found["splits"]]
    assert sizes == [("seed-0", 17, 9), ("seed-1", 18, 8)]
    # Its own benchmark was the corpus: all samples are shared.
    assert [s["overlap"] for s in found["splits"]] == [
        {"train": train, "test": test} for _, train, test in sizes
    ]
    lars = found["protocols"]["lars"]["judged"]
    assert {row["views"] for row in lars["encoder"]["chosen"]} == {2}
    assert {row["views"] for row in lars["mean-colour"]["chosen"]} == {0}
    assert found["digests"]["inputs"]["weights"] == file_sha256(
        made["features"].parent / "run" / "weights.safetensors"
    )


def test_a_result_is_the_same_bytes_again_with_any_threads(made, tmp_path):
    wanted = recipe(LINEAR, KNN, RIDGE, LARS)
    judge(made, tmp_path / "a.json", wanted)
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        judge(made, tmp_path / "b.json", wanted, threads=2)
    finally:
        torch.set_num_threads(before)
    for ending in ("json", "npz"):
        assert (tmp_path / f"a.{ending}").read_bytes() == (tmp_path / f"b.{ending}").read_bytes()


def test_the_floor_of_each_seed_has_weights_of_its_own(made):
    sets = read_json(made["features"])["sets"]
    seen = Judge(
        benchmark=read_benchmark(made["index"], made["splits"]),
        sets={name: open_set(made["store"], row["digest"]) for name, row in sets.items()},
        layers=1,
        seeds=SEEDS,
    )

    def first(who):
        trials = seen.trials(who, RIDGE)
        return [one.features["mean"].take(slice(0, 3)) for one in trials]

    trained, floor, colour = first("encoder"), first("random"), first("mean-colour")
    for values in (trained, colour):
        assert all(np.array_equal(values[0], one) for one in values)
    assert [one.shape for one in (trained[0], colour[0])] == [(3, 16), (3, 3)]
    assert np.array_equal(floor[0], floor[2])  # the same seed on the other split
    assert not np.array_equal(floor[0], floor[1])
    assert not np.array_equal(floor[0], trained[0])


def test_features_without_a_wanted_view_or_seed_are_refused(made, tmp_path):
    for changes, lacking in (({"views": 3}, "trained/view-002"), ({}, "random-7")):
        wanted = recipe({**LARS, "epochs": 1, **changes}, seeds=[0, 7] if not changes else SEEDS)
        with pytest.raises(UserError, match=f"no set '{lacking}', only mean-colour, random-0"):
            judge(made, tmp_path / "r.json", wanted)


def test_shots_that_a_class_has_not_are_refused_before_anything_is_fitted(made, tmp_path):
    wanted = recipe(KNN, {**FEW, "shots": [1, 40]})
    with pytest.raises(UserError, match="class 'columns' has 5 training samples, 40 are asked"):
        judge(made, tmp_path / "r.json", wanted)
    assert not (tmp_path / "r.npz").exists()


def test_views_are_of_training_samples_alone(made):
    sets = read_json(made["features"])["sets"]
    benchmark = read_benchmark(made["index"], made["splits"])
    assert sets["trained/view-000"]["shape"][0] == len(benchmark.trained) == 26
    seen = OfSome(InMemory(np.arange(6, dtype=np.float32)[:, None]), np.array([1, 2, 5, 7, 8, 9]))
    assert seen.take(np.array([9, 2])).tolist() == [[5.0], [1.0]]
    for lacking in (np.array([3]), np.array([12])):
        with pytest.raises(KeyError):
            seen.take(lacking)


def test_pictures_are_of_the_first_split_and_name_rows_of_the_packed_corpus(made, tmp_path):
    judge(made, tmp_path / "r.json", recipe(KNN))
    corpus = Corpus(made["index"])
    with np.load(tmp_path / "r.npz", allow_pickle=False) as arrays:
        rows, labels = arrays["test_rows"], arrays["labels"]
        assert arrays["embedding"].shape == (9, 2)
        right = float((arrays["predicted"] == labels).mean())
    assert [corpus.labels[row] for row in rows] == labels.tolist()
    found = read_json(tmp_path / "r.json")["protocols"]["knn"]["judged"]["encoder"]
    assert found["top1"]["values"][0] == pytest.approx(100 * right)


def test_several_labels_are_judged_by_average_precision(made, tmp_path):
    keys = [key.removeprefix("stripes/") for key in Corpus(made["index"]).keys]
    labels = [{"rows": "lines;rows", "columns": "columns;lines", "flat": "flat"}[key.split("/")[0]]
              for key in keys]  # fmt: skip
    # Sides as in the first split, so that the features have the same rows.
    sides = {"seed-0": ["" if n == 0 else "train" if n % 9 < 6 else "test"
                        for n in range(len(keys))]}  # fmt: skip
    splits = table(tmp_path / "several.csv", keys, labels, sides, multi_label=True,
                   classes=["columns", "flat", "lines", "rows"])  # fmt: skip
    found = judge(made, tmp_path / "r.json", recipe(LINEAR, KNN, RIDGE), splits=splits)
    assert found["multi_label"] is True
    for protocol in found["protocols"].values():
        judged = protocol["judged"]["encoder"]
        assert 0 < judged["map_micro"]["mean"] <= 100
        assert set(judged["per_class"]) == {"columns", "flat", "lines", "rows"}
        assert "top1" not in judged


@pytest.mark.parametrize(
    ("wanted", "message"),
    [
        (recipe({"protocol": "nearest"}), "protocol 'nearest' is none of linear"),
        (recipe(protocols=[]), "protocols is empty"),
        (recipe(seeds=[]), "seeds is empty"),
        (recipe({**FEW, "shots": [7]}), "class 'columns'.*5"),
        (recipe({**KNN, "k": [500]}), "k"),
        (recipe({**LINEAR, "poolings": ["mean"]}, layers=2), "layers"),
    ],
)
def test_recipes_that_cannot_be_judged_are_refused(made, tmp_path, wanted, message):
    with pytest.raises(UserError, match=message):
        judge(made, tmp_path / "r.json", wanted)
    assert not (tmp_path / "r.json").exists()


def changed_table(made, path, change):
    keys = [key.removeprefix("stripes/") for key in Corpus(made["index"]).keys]
    labels = [key.split("/")[0] for key in keys]
    cells = ["" if n == 0 else "train" if n % 9 < 6 else "test" for n in range(len(keys))]
    change(cells, labels)
    return table(path, keys, labels, {"seed-0": cells})


def test_a_class_without_training_samples_is_named(made, tmp_path):
    def no_rows(cells, labels):
        cells[:] = ["" if side == "train" and label == "rows" else side
                    for side, label in zip(cells, labels, strict=True)]  # fmt: skip

    splits = changed_table(made, tmp_path / "t.csv", no_rows)
    with pytest.raises(UserError, match=r"split 'seed-0': class 'rows' is missing from"):
        judge(made, tmp_path / "r.json", recipe(), splits=splits)


def test_a_class_of_one_training_sample_is_judged_by_every_protocol(made, tmp_path):
    def one_row(cells, labels):
        learnt = [n for n, side in enumerate(cells) if side == "train" and labels[n] == "rows"]
        for n in learnt[1:]:
            cells[n] = "test"

    splits = changed_table(made, tmp_path / "t.csv", one_row)
    few, lars = {**FEW, "shots": [1]}, {**LARS, "views": 0}
    found = judge(made, tmp_path / "r.json", recipe(LINEAR, KNN, RIDGE, few, lars), splits=splits)
    (split,) = found["splits"]
    assert (split["n_train"], split["n_test"]) == (12, 14)
    for protocol in ("linear", "knn", "ridge", "few_shot_1"):
        assert found["protocols"][protocol]["judged"]["encoder"]["top1"]["mean"] > 100 / 3


def test_a_table_of_another_state_of_the_dataset_is_refused(made, tmp_path):
    keys = ["columns/0", "flat/0"]
    splits = table(tmp_path / "t.csv", keys, ["columns", "flat"], {"seed-0": ["train", "test"]})
    with pytest.raises(UserError, match=r"has no row for 'rows/0'.*make both again"):
        judge(made, tmp_path / "r.json", recipe(), splits=splits)


def test_a_table_with_another_class_than_was_packed_is_refused(made, tmp_path):
    keys = [key.removeprefix("stripes/") for key in Corpus(made["index"]).keys]
    labels = ["rows" if key == "flat/2" else key.split("/")[0] for key in keys]
    sides = {"seed-0": ["train" if n % 9 < 6 else "test" for n in range(len(keys))]}
    splits = table(tmp_path / "t.csv", keys, labels, sides)
    with pytest.raises(UserError, match=r"stripes/flat/2 has class 'rows', but .* as 'flat'"):
        judge(made, tmp_path / "r.json", recipe(), splits=splits)


def test_features_of_other_samples_than_the_splits_use_are_refused(made, tmp_path):
    def one_less(cells, labels):
        cells[1] = ""

    splits = changed_table(made, tmp_path / "t.csv", one_less)
    with pytest.raises(UserError, match="features of 26 samples, but the splits use 25"):
        judge(made, tmp_path / "r.json", recipe(), splits=splits)


def test_features_that_are_gone_or_damaged_are_told_with_the_way_out(made, tmp_path):
    body = json.loads(made["features"].read_text())
    body["sets"]["trained"]["digest"] = "0" * 64
    write_json(tmp_path / "features.json", body)
    with pytest.raises(UserError, match=r"set.json: no such file; delete the result of the stage"):
        judge(made, tmp_path / "r.json", recipe(), features=tmp_path / "features.json")


def test_a_flipped_byte_of_a_feature_is_noticed(made, tmp_path):
    store = shutil.copytree(made["store"], tmp_path / "store")
    digest = read_json(made["features"])["sets"]["random-1"]["digest"]
    array = store / digest / "features.npy"
    damaged = bytearray(array.read_bytes())
    damaged[-3] ^= 1
    array.write_bytes(damaged)
    with pytest.raises(UserError, match=f"{digest}/features.npy: does not match its checksum"):
        judge(made, tmp_path / "r.json", recipe(), store=store)


def test_features_made_again_as_others_are_not_those_of_an_older_result(made, tmp_path):
    body = json.loads(made["features"].read_text())
    body["sets"]["trained"]["sha256"] = "0" * 64
    write_json(tmp_path / "features.json", body)
    with pytest.raises(UserError, match=r"not the array of 'trained' that .*features.json names"):
        judge(made, tmp_path / "r.json", recipe(), features=tmp_path / "features.json")
