"""The probe: what it chooses from, what it never looks at, and what it refuses."""

import argparse
import io
import json
import threading

import numpy as np
import pytest
import timm
import torch
from PIL import Image
from safetensors.torch import save_file
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from workflow_scripts.digests import file_sha256
from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.models.encoders import random_encoder, timm_architecture
from workflow_scripts.probe import features
from workflow_scripts.probe.__main__ import device_of, overlap, probe
from workflow_scripts.probe.encoder import Features, load_model, set_image_size
from workflow_scripts.probe.features import extract, read_chip, read_image
from workflow_scripts.probe.sklearn_linear import (
    Split,
    check_labels,
    choose_strength,
    fit,
    hold_out,
    linear_probe,
    summarise,
)
from workflow_scripts.shards.corpus import Corpus, content_digest
from workflow_scripts.shards.layout import SPLIT_NAMES
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)

PROTOCOL = {"strengths": [0.001, 0.1, 10.0], "holdout": 0.2, "normalisation": "standardize"}
RECIPE = {
    "benchmark": "stripes", "dataset": "stripes", "synthetic": True, "protocol": "linear",
    "pooling": "mean", "image_size": None, "layers": 1, "seeds": [0, 1],
    "pretraining_dataset_overlap": False, **PROTOCOL,
}  # fmt: skip
VIT = {
    "family": "vit", "image_size": 16, "patch": 8, "width": 16, "depths": [2], "heads": [2],
    "mlp_ratio": 2.0, "window": None,
}  # fmt: skip
SWIN = {
    "family": "swinv2", "image_size": 32, "patch": 4, "width": 12, "depths": [1, 2],
    "heads": [1, 2], "mlp_ratio": 2.0, "window": 4,
}  # fmt: skip


def clusters(classes=3, per_class=20, dimensions=5, distance=8.0, seed=0):
    random = np.random.default_rng(seed)
    centres = distance * np.eye(classes, dimensions)
    labels = np.arange(classes).repeat(per_class)
    return Split(centres[labels] + random.normal(size=(len(labels), dimensions)), labels)


def write_index(folder, file, *, kind, classes, bands, count):
    index = {
        "format_version": 1, "kind": kind, "synthetic": True, "count": count, "classes": classes,
        "channels": len(bands), "bands": bands,
        "shards": [{"file": file.name, "sha256": file_sha256(file), "count": count}],
    }  # fmt: skip
    write_json(folder / "index.json", {**index, "content": content_digest(index)})
    return folder / "index.json"


def jpeg(pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


@pytest.fixture
def stripes(tmp_path):
    """Three classes: flat, horizontal stripes, vertical stripes."""
    random = np.random.default_rng(0)
    samples = []
    for split, count in (("train", 6), ("test", 3)):
        for label in range(3):
            for number in range(count):
                image = random.integers(0, 20, (24, 16, 3), dtype=np.uint8)
                if label == 1:
                    image[::4] += 200
                if label == 2:
                    image[:, ::4] += 200
                data = jpeg(image)
                samples.append(
                    ImageSample(
                        key=f"{split}/{label}/{number}",
                        data=data,
                        height=24,
                        width=16,
                        label=label,
                        split=SPLIT_NAMES.index(split),
                    )
                )
    folder = tmp_path / "bench-stripes"
    classes = ["flat", "rows", "columns"]
    write_image_shard(folder / "shard-00000.h5", samples, classes=classes)
    return write_index(
        folder, folder / "shard-00000.h5", kind="images", classes=classes,
        bands=["red", "green", "blue"], count=len(samples),
    )  # fmt: skip


def export(run, encoder=VIT, *, channels=3, spoil=None):
    name, kwargs = timm_architecture(encoder, channels)
    model = random_encoder(encoder, channels, 7)
    state = {key: value.clone().contiguous() for key, value in model.state_dict().items()}
    if spoil is not None:
        spoil(state)
    run.mkdir(parents=True, exist_ok=True)
    save_file(state, run / "weights.safetensors")
    write_json(
        run / "model.json",
        {
            "schema_version": 1, "architecture": name, "kwargs": kwargs,
            "family": encoder["family"], "image_size": encoder["image_size"],
            "channels": channels, "encoder": encoder, "objective": "mae", "synthetic": False,
            "corpus": "stripes", "bands": ["red", "green", "blue"][:channels],
            "normalisation": {"mean": [0.2] * channels, "std": [0.3] * channels, "scale": "unit"},
            "run_digest": "0" * 64, "classes": None,
        },
    )  # fmt: skip
    return run


def run_probe(tmp_path, index, *, name="result", corpus=None, threads=1, run=None, **changes):
    output = tmp_path / f"{name}.json"
    arguments = argparse.Namespace(
        run=run or export(tmp_path / "run"), index=index, output=output, corpus=corpus,
        device="cpu", threads=threads,
    )  # fmt: skip
    probe(arguments, {**RECIPE, **changes})
    return output


def test_separable_classes_score_100():
    result = linear_probe(clusters(), clusters(seed=1), recipe=PROTOCOL, seed=0)
    assert (result["top1"], result["top5"], result["per_class"]) == (100.0, 100.0, [100.0] * 3)


def test_shuffled_labels_stay_near_chance():
    random = np.random.default_rng(3)
    train, test = clusters(4, 50), clusters(4, 50, seed=1)
    train = Split(train.features, random.permutation(train.labels))
    result = linear_probe(train, test, recipe=PROTOCOL, seed=0)
    assert 5 < result["top1"] < 50


def test_accuracy_equals_sklearn_called_directly():
    train, test = clusters(6, 15, 8, distance=1.5), clusters(6, 15, 8, distance=1.5, seed=1)
    recipe = {**PROTOCOL, "strengths": [0.1]}
    result = linear_probe(train, test, recipe=recipe, seed=0)
    mean, std = train.features.mean(0), train.features.std(0)
    direct = LogisticRegression(C=0.1, max_iter=5000).fit(
        (train.features - mean) / std, train.labels
    )
    chances = direct.predict_proba((test.features - mean) / std)
    ranks = (chances > chances[np.arange(len(chances)), test.labels][:, None]).sum(1)
    assert result["top1"] == pytest.approx(100 * (ranks < 1).mean())
    assert result["top5"] == pytest.approx(100 * (ranks < 5).mean())
    expected = np.zeros((6, 6), int)
    for true, predicted in zip(test.labels, chances.argmax(1), strict=True):
        expected[true, predicted] += 1
    assert result["confusion"].tolist() == expected.tolist()
    assert result["top1"] < result["top5"]


def test_chosen_strength_is_the_best_on_the_held_out_part():
    train = clusters(8, 30, 40, distance=2.0)
    strengths = [1e-5, 1e-3, 0.1, 10.0]
    held = hold_out(train.labels, share=0.25, seed=4)
    scaler = StandardScaler().fit(train.features[~held])
    right = []
    for strength in strengths:
        model = LogisticRegression(C=strength, max_iter=5000)
        model.fit(scaler.transform(train.features[~held]), train.labels[~held])
        right.append(model.score(scaler.transform(train.features[held]), train.labels[held]))
    expected = strengths[int(np.argmax(right))]  # argmax: the first, the smallest C, of equals
    chosen = choose_strength(
        train, strengths[::-1], share=0.25, seed=4, normalisation="standardize"
    )
    assert chosen == expected
    assert expected != min(strengths)


def test_equal_strengths_choose_the_stronger_regularisation():
    chosen = choose_strength(
        clusters(distance=50), [10.0, 0.5, 2.0], share=0.2, seed=0, normalisation="none"
    )
    assert chosen == 0.5


def test_test_labels_change_neither_the_strength_nor_the_fit():
    train, test = clusters(5, 12, 30, distance=1.0), clusters(5, 12, 30, distance=1.0, seed=1)
    wrong = Split(test.features, (test.labels + 1) % 5)
    ours, theirs = (linear_probe(train, part, recipe=PROTOCOL, seed=0) for part in (test, wrong))
    assert ours["chosen"] == theirs["chosen"]
    assert ours["confusion"].sum(axis=0).tolist() == theirs["confusion"].sum(axis=0).tolist()
    assert ours["top1"] != theirs["top1"]


def test_held_out_part_has_every_class_on_both_sides():
    labels = np.array([0] * 10 + [1] * 2 + [2] * 5)
    held = hold_out(labels, share=0.2, seed=0)
    assert np.bincount(labels[held]).tolist() == [2, 1, 1]
    assert np.bincount(labels[~held]).tolist() == [8, 1, 4]
    assert (held != hold_out(labels, share=0.2, seed=1)).any()


def test_two_classes_work_and_l2_ignores_the_length_of_features():
    train, test = clusters(2), clusters(2, seed=1)
    recipe = {**PROTOCOL, "normalisation": "l2"}
    longer = Split(test.features * 7.0, test.labels)
    results = [linear_probe(train, part, recipe=recipe, seed=0) for part in (test, longer)]
    assert results[0]["top1"] == 100
    assert results[0]["confusion"].tolist() == results[1]["confusion"].tolist()


def test_summary_is_mean_and_sample_deviation():
    results = [
        {"top1": top1, "top5": 90.0, "chosen": 1.0, "per_class": [top1, None],
         "confusion": np.array([[1, 2], [0, 0]])}
        for top1 in (50.0, 60.0, 70.0)
    ]  # fmt: skip
    summary = summarise(results, ["a", "b"])
    assert summary["top1"] == {"mean": 60.0, "std": 10.0, "values": [50.0, 60.0, 70.0]}
    assert summary["top5"]["std"] == 0.0
    assert summary["per_class"] == {"a": 60.0, "b": None}
    assert summary["confusion"] == [[3, 6], [0, 0]]


@pytest.mark.parametrize(
    ("train", "test", "message"),
    [
        ([0, 0, 2, 2], [0], "class 'b' is missing"),
        ([0, 0, 1, 2, 2], [0], "class 'b' has one sample"),
        ([0, 0, 1, 1, 2, 2], [], "no test sample"),
        ([0, 0, 1, 1, 2, -1], [0], "1 of 6 train samples have no class"),
        ([0, 0, 1, 1, 2, 2], [-1, 0], "1 of 2 test samples have no class"),
    ],
)
def test_splits_that_cannot_be_judged_are_refused(train, test, message):
    with pytest.raises(UserError, match=message):
        check_labels(np.array(train), np.array(test, int), ["a", "b", "c"])


def test_unknown_normalisation_is_refused():
    with pytest.raises(UserError, match="'zca'"):
        fit(clusters(), strength=1.0, normalisation="zca")


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"protocol": "knn"}, "'knn'"),
        ({"seeds": []}, "seeds is empty"),
        ({"strengths": []}, "strengths is empty"),
        ({"holdout": 0.0}, "holdout is 0.0"),
        ({"pooling": "max"}, "'max'"),
        ({"layers": 3}, "has 2 blocks"),
        ({"image_size": 20}, "multiple of 8"),
    ],
)
def test_recipes_that_cannot_work_are_refused(tmp_path, stripes, change, message):
    with pytest.raises(UserError, match=message):
        run_probe(tmp_path, stripes, **change)
    assert not (tmp_path / "result.json").exists()


def test_features_of_one_layer_are_timms_own(stripes, tmp_path):
    model, encoder = load_model(export(tmp_path / "run"))
    corpus = Corpus(stripes, "test")
    reference = timm.create_model(model["architecture"], **model["kwargs"]).eval()
    reference.load_state_dict(encoder.state_dict())
    images = torch.stack([(read_image(corpus, row, 16) - 0.2) / 0.3 for row in range(len(corpus))])
    with torch.no_grad():
        tokens = reference.forward_features(images)
    expected = {"mean": tokens[:, 1:].mean(1), "class": tokens[:, 0]}
    expected["mean+class"] = torch.cat([expected["mean"], expected["class"]], dim=1)
    for pooling, wanted in expected.items():
        pooled = Features(encoder, pooling=pooling, layers=1)
        found = extract(corpus, pooled, model=model, size=16)
        np.testing.assert_allclose(found, wanted.numpy(), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(("device", "most"), [("cpu", 2), ("cpu:0", 1)])
def test_a_device_encodes_one_batch_at_a_time_and_cores_one_each(
    stripes, tmp_path, monkeypatch, device, most
):
    """Batches of one sample; `cpu:0` stands for a device that is not the cores."""
    model, encoder = load_model(export(tmp_path / "run"))
    corpus = Corpus(stripes, "test")
    monkeypatch.setattr(features, "BATCH", 1)
    pooled = Features(encoder, pooling="mean", layers=1)
    counting, all_here, at_once = threading.Lock(), threading.Event(), [0, 0]

    def counted(images):
        with counting:
            at_once[0] += 1
            at_once[1] = max(at_once)
            if at_once[0] == 2:
                all_here.set()
        all_here.wait(30 if most == 2 else 0.02)
        with counting:
            at_once[0] -= 1
        return pooled(images)

    counted.to = pooled.to
    found = extract(corpus, counted, model=model, size=16, device=device, threads=2)
    assert at_once[1] == most
    np.testing.assert_array_equal(found, extract(corpus, pooled, model=model, size=16))


def test_auto_is_a_gpu_where_there_is_one(monkeypatch):
    for there, device in ((True, "cuda"), (False, "cpu")):
        monkeypatch.setattr(torch.cuda, "is_available", lambda there=there: there)
        assert device_of("auto") == device
        assert device_of("cpu") == "cpu"


@pytest.mark.parametrize("encoder", [VIT, SWIN])
def test_last_layers_are_joined_each_after_the_norm(encoder):
    model = random_encoder(encoder, 3, 0)
    for name, parameter in model.named_parameters():  # SwinV2's blocks start as the identity
        if "blocks" in name and "norm" in name and "weight" in name:
            torch.nn.init.constant_(parameter, 0.5)
    images = torch.randn(2, 3, encoder["image_size"], encoder["image_size"])
    both = Features(model, pooling="mean", layers=2)(images)
    last = Features(model, pooling="mean", layers=1)(images)
    width = both.shape[1] // 2
    np.testing.assert_allclose(both[:, width:], last, rtol=1e-5)
    assert np.abs(both[:, :width] - last).max() > 1e-3
    # With the norm's weight at 1 and bias at 0 every token has mean 0, so has each layer's mean.
    np.testing.assert_allclose(both[:, :width].mean(axis=1), 0, atol=1e-5)


def test_swin_has_no_class_token():
    with pytest.raises(UserError, match="no class token"):
        Features(random_encoder(SWIN, 3, 0), pooling="class", layers=1)


def test_larger_images_interpolate_the_position_table():
    encoder = random_encoder(VIT, 3, 0)
    before = encoder.pos_embed.detach().clone()
    model = {"image_size": 16, "architecture": "vit", "kwargs": {}}
    set_image_size(encoder, model, 32)
    assert encoder.pos_embed.shape == (1, 1 + 16, 16)
    torch.testing.assert_close(encoder.pos_embed[:, :1], before[:, :1])
    # The first half of the channels encodes the column and stays constant down a column.
    grid = encoder.pos_embed[0, 1:].reshape(4, 4, 16)
    torch.testing.assert_close(grid[0, :, :8], grid[3, :, :8], atol=1e-5, rtol=1e-4)
    assert torch.isfinite(encoder(torch.zeros(1, 3, 32, 32))).all()


def test_swin_keeps_its_window_at_another_size():
    encoder = random_encoder(SWIN, 3, 0)
    model = {"image_size": 32, "architecture": "swinv2", "kwargs": {"window_size": 4}}
    set_image_size(encoder, model, 64)
    assert encoder.layers[0].blocks[0].window_size == (4, 4)
    assert Features(encoder, pooling="mean", layers=1)(torch.zeros(1, 3, 64, 64)).shape == (1, 24)
    with pytest.raises(UserError, match="multiple of 8"):
        set_image_size(encoder, model, 36)


def test_images_are_scaled_by_the_shorter_side_and_cropped_in_the_middle(tmp_path):
    image = np.zeros((40, 20, 3), np.uint8)
    image[10:30] = 255  # the middle square
    sample = ImageSample(key="a", data=jpeg(image), height=40, width=20)
    write_image_shard(tmp_path / "s.h5", [sample], classes=[])
    index = write_index(
        tmp_path, tmp_path / "s.h5", kind="images", classes=[], bands=["r", "g", "b"], count=1
    )
    assert (read_image(Corpus(index), 0, 20) == 1).all()
    halved = read_image(Corpus(index), 0, 10)
    assert halved.shape == (3, 10, 10)
    assert halved[:, 2:-2].min() == 1


def test_chips_are_read_in_physical_units(tmp_path):
    counts = np.full((2, 8, 8), 1000, np.uint16)
    chip = ChipSample(
        key="c", counts=counts, scale=np.array([0.01, 0.5]), offset=np.array([0.0, 200.0])
    )
    write_chip_shard(tmp_path / "c.h5", [chip], bands=["a", "b"], size=8, attributes={})
    index = write_index(
        tmp_path, tmp_path / "c.h5", kind="chips", classes=[], bands=["a", "b"], count=1
    )
    for size in (8, 16):
        found = read_chip(Corpus(index), 0, size, [0.0, 0.0])
        assert found.shape == (2, size, size)
        np.testing.assert_allclose(found[0], 10.0, rtol=1e-5)
        np.testing.assert_allclose(found[1], 400.0, rtol=1e-5)


def test_result_is_complete_and_the_same_bytes_again(tmp_path, stripes):
    first = run_probe(tmp_path, stripes)
    again = run_probe(tmp_path, stripes, name="again", threads=3)
    assert first.read_bytes() == again.read_bytes()
    result = json.loads(first.read_text())
    assert (result["run"], result["benchmark"], result["synthetic"]) == ("run", "stripes", True)
    assert (result["n_train"], result["n_test"], result["image_size"]) == (18, 9, 16)
    assert result["overlap"] is None
    assert len(result["random"]["top1"]["values"]) == len(result["encoder"]["chosen"]) == 2
    assert np.sum(result["encoder"]["confusion"]) == 2 * 9
    assert set(result["digests"]["inputs"]) == {"model", "weights", "benchmark"}
    assert (tmp_path / "result.provenance.json").is_file()


def test_floor_differs_by_seed_and_is_not_the_trained_encoder(tmp_path, stripes):
    def flatten(state):
        state["norm.weight"].zero_()  # every feature equal: chance for the trained encoder

    run = export(tmp_path / "dull", spoil=flatten)
    result = json.loads(run_probe(tmp_path, stripes, run=run).read_text())
    assert result["encoder"]["top1"]["mean"] == pytest.approx(100 / 3)
    assert result["random"]["top1"]["mean"] > 50


def test_weights_that_give_nan_are_refused(tmp_path, stripes):
    def spoil(state):
        state["norm.bias"][0] = float("nan")

    with pytest.raises(UserError, match=r"sample 0 .*not finite"):
        run_probe(tmp_path, stripes, run=export(tmp_path / "nan", spoil=spoil))


def test_weights_of_another_architecture_are_refused(tmp_path, stripes):
    def spoil(state):
        del state["norm.bias"]

    with pytest.raises(UserError, match=r"norm\.bias"):
        run_probe(tmp_path, stripes, run=export(tmp_path / "short", spoil=spoil))
    (tmp_path / "short" / "weights.safetensors").unlink()
    with pytest.raises(UserError, match="no such file"):
        load_model(tmp_path / "short")


def test_runs_of_other_bands_are_refused(tmp_path, stripes):
    with pytest.raises(UserError, match=r"channels 1, benchmark 'stripes' has 3"):
        run_probe(tmp_path, stripes, run=export(tmp_path / "grey", channels=1))
    run = export(tmp_path / "run")
    model = json.loads((run / "model.json").read_text())
    model["bands"] = ["6", "7", "20"]
    write_json(run / "model.json", model)
    with pytest.raises(UserError, match="bands"):
        run_probe(tmp_path, stripes, run=run)


def test_benchmark_without_test_split_is_refused(tmp_path):
    sample = ImageSample(
        key="a", data=jpeg(np.zeros((8, 8, 3), np.uint8)), height=8, width=8, label=0, split=0
    )
    write_image_shard(tmp_path / "s.h5", [sample], classes=["a", "b"])
    index = write_index(
        tmp_path, tmp_path / "s.h5", kind="images", classes=["a", "b"],
        bands=["red", "green", "blue"], count=1,
    )  # fmt: skip
    with pytest.raises(UserError, match="no sample of split 'test'"):
        run_probe(tmp_path, index)


def test_overlap_counts_test_samples_of_the_pretraining_corpus(tmp_path, stripes):
    test = Corpus(stripes, "test")
    shared = [test.image(0), test.image(4), jpeg(np.full((8, 8, 3), 9, np.uint8))]
    rows = [ImageSample(key=str(i), data=d, height=8, width=8) for i, d in enumerate(shared)]
    folder = tmp_path / "corpus"
    write_image_shard(folder / "s.h5", rows, classes=[])
    index = write_index(
        folder, folder / "s.h5", kind="images", classes=[], bands=["red", "green", "blue"], count=3
    )
    assert overlap(test, Corpus(index)) == 2
    assert overlap(test, test) == 9
    result = json.loads(run_probe(tmp_path, stripes, corpus=index).read_text())
    assert result["overlap"] == 2
    assert "corpus" in result["digests"]["inputs"]
