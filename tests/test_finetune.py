"""Fine-tuning: that it learns what there is, that a kill changes nothing, and what is refused."""

import io
import json
import math
import multiprocessing
import signal
import time

import numpy as np
import pytest
import torch
from finetune_cases import (
    CLASSES,
    PLAIN_SWIN,
    SWIN,
    VIT,
    benchmark,
    network,
    options,
    picture,
    png,
    recipe,
    result_of,
    table_of,
    trial,
    write_index,
)  # fmt: skip
from PIL import Image

from workflow_scripts.errors import UserError
from workflow_scripts.files import write_json
from workflow_scripts.finetune.__main__ import finetune
from workflow_scripts.finetune.pixels import Pixels
from workflow_scripts.finetune.saved import Saved
from workflow_scripts.finetune.train import Training, run_trial
from workflow_scripts.loader.order import Order
from workflow_scripts.shards.corpus import Corpus
from workflow_scripts.shards.layout import MAX_COUNT
from workflow_scripts.shards.writer import (
    ChipSample,
    ImageSample,
    write_chip_shard,
    write_image_shard,
)  # fmt: skip

pytestmark = pytest.mark.usefixtures("one_thread")


@pytest.fixture(scope="module")
def separable(tmp_path_factory):
    return benchmark(tmp_path_factory.mktemp("bench-looks"))


# What is learnt


@pytest.mark.parametrize("encoder", [VIT, SWIN, PLAIN_SWIN], ids=lambda e: e["family"])
def test_classes_that_look_different_are_told_apart(tmp_path, separable, encoder):
    written = result_of(tmp_path, separable, encoder=encoder, epochs=8, drop_path=0.0, mixup=0.0)
    result = json.loads(written.read_text())
    found = result["protocols"]["finetune"]["judged"]["encoder"]
    assert found["top1"]["mean"] >= 95
    assert np.array(found["confusion"]).sum() == 24
    assert found["chosen"][0]["split"] == "dataset"


def test_labels_that_say_nothing_give_chance(tmp_path):
    index = benchmark(tmp_path / "b", test=40, label_of=lambda label, number: (label + number) % 3)
    written = result_of(tmp_path, index, epochs=4)
    found = json.loads(written.read_text())["protocols"]["finetune"]["judged"]["encoder"]
    assert found["top1"]["mean"] == pytest.approx(100 / 3, abs=15)


def test_the_head_alone_decides_before_training(tmp_path, separable):
    made = trial(separable)
    training = Training(made, device="cpu", threads=2)
    own, _ = network()
    own.eval()
    with torch.inference_mode():
        expected = own(training.pixels.of_test(made.sides.test)).numpy()
    np.testing.assert_allclose(training.scores(), expected, atol=1e-7)
    assert np.abs(training.scores()).max() < 1e-3  # weights of the head near zero, no bias


def test_result_tells_encoder_floor_splits_and_settings(tmp_path, separable):
    made = options(tmp_path, separable)
    made.corpora = [separable]
    finetune(made, recipe(epochs=1, warmup_epochs=0, seeds=[3, 4], floor=True))
    result = json.loads(made.output.read_text())
    judged = result["protocols"]["finetune"]["judged"]
    assert set(judged) == {"encoder", "random"}
    for who in judged.values():
        assert [one["seed"] for one in who["chosen"]] == [3, 4]
        assert len(who["top1"]["values"]) == 2
    assert judged["encoder"]["chosen"] != judged["random"]["chosen"]
    (split,) = result["splits"]
    assert (split["n_train"], split["n_test"]) == (72, 24)
    assert split["overlap"] == {"train": 72, "test": 24}
    assert result["classes"] == CLASSES
    assert not result["multi_label"]
    assert set(result["digests"]["inputs"]) == {"model", "weights", "benchmark", "corpus"}
    assert (tmp_path / "result.provenance.json").is_file()
    assert list((tmp_path / "work-result").iterdir()) == []


def test_a_table_says_what_is_learnt_from_and_judged(tmp_path):
    index = benchmark(tmp_path / "b", train=12, test=4)
    keys = [key.partition("/")[2] for key in Corpus(index).keys]
    # The other way round than packed, and the fourth of each left out.
    sides = {"train": "test", "test": "train"}
    cells = {
        key: (
            "" if key.endswith("/3") else sides[key.split("/")[0]],
            CLASSES[int(key.split("/")[1])],
        )
        for key in keys
    }
    table = table_of(tmp_path, cells, classes=CLASSES)
    written = result_of(tmp_path, index, splits=table, epochs=1, warmup_epochs=0, batch=8)
    result = json.loads(written.read_text())
    (split,) = result["splits"]
    assert (split["name"], split["digest"]) == ("seed-0", "d" * 64)
    assert (split["n_train"], split["n_test"], split["overlap"]) == (9, 33, None)
    assert "splits" in result["digests"]["inputs"]


def test_several_labels_are_learnt(tmp_path):
    random, samples, cells = np.random.default_rng(0), [], {}
    for number in range(64):
        named = [name for bit, name in ((1, "red"), (2, "striped")) if number & bit]
        both = picture(0, random)
        for name in named:
            both = np.maximum(both, picture(CLASSES.index(name), random))
        image = png(both.astype(np.uint8))
        samples.append(ImageSample(key=f"looks/{number}", data=image, height=20, width=20))
        cells[str(number)] = ("train" if number < 44 else "test", ";".join(named))
    write_image_shard(tmp_path / "s.h5", samples, classes=[])
    index = write_index(tmp_path, tmp_path / "s.h5", count=64, classes=[])
    table = table_of(tmp_path, cells, classes=["red", "striped"], multi_label=True)
    written = result_of(tmp_path, index, splits=table, epochs=15, batch=22)
    result = json.loads(written.read_text())
    assert result["multi_label"]
    found = result["protocols"]["finetune"]["judged"]["encoder"]
    assert found["map_micro"]["mean"] > 95
    assert set(found["per_class"]) == {"red", "striped"}


# What the network sees

WHOLE = {"scale": (1.0, 1.0), "ratio": (1.0, 1.0), "flip": False, "rotate": False}


def test_a_view_of_the_whole_image_is_what_is_judged(separable):
    corpus, rows = Corpus(separable), np.array([3, 40])
    how = {"scale": "unit", "missing": None, "mean": [0.3, 0.2, 0.1], "std": [0.3] * 3}
    pixels = Pixels(corpus, how, size=20, device="cpu")
    views = pixels.views(_order(corpus), WHOLE, paths=4)
    batch = views.of(rows, epoch=0)
    assert torch.allclose(pixels.of_views(batch), pixels.of_test(rows), atol=1e-6)
    assert batch["noise"].shape == (2, 4)
    first = (np.asarray(Image.open(io.BytesIO(corpus.image(3)))) / 255).transpose(2, 0, 1)
    expected = (first - np.array([0.3, 0.2, 0.1])[:, None, None]) / 0.3
    np.testing.assert_allclose(pixels.of_test(rows)[0], expected, atol=1e-5)


def test_pixels_that_a_chip_misses_are_what_the_encoder_takes_them_for(tmp_path):
    counts = np.full((2, 8, 8), 1000, np.uint16)
    counts[1, :4] = MAX_COUNT + 1
    chip = ChipSample(
        key="c", counts=counts, scale=np.array([0.01, 0.5]), offset=np.array([0.0, 200.0])
    )
    write_chip_shard(tmp_path / "c.h5", [chip], bands=["a", "b"], size=8, attributes={})
    index = write_index(
        tmp_path, tmp_path / "c.h5", kind="chips", bands=["a", "b"], count=1, classes=[]
    )
    how = {"scale": "physical", "missing": [8.0, 300.0], "mean": [5.0, 300.0], "std": [5.0, 100.0]}
    corpus = Corpus(index)
    pixels = Pixels(corpus, how, size=8, device="cpu")
    batch = pixels.views(_order(corpus), WHOLE, paths=0).of(np.array([0]), epoch=0)
    for seen in (pixels.of_views(batch), pixels.of_test(np.array([0]))):
        np.testing.assert_allclose(seen[0, 0], 1.0, atol=1e-5)  # (10 − 5) / 5
        np.testing.assert_allclose(seen[0, 1, :4], 0.0, atol=1e-5)
        np.testing.assert_allclose(seen[0, 1, 4:], 1.0, atol=1e-5)  # (400 − 300) / 100


def _order(corpus):
    return Order(np.array([len(corpus)]), batch=1, epochs=1, seed=0)


def test_the_rate_of_each_step_equals_maes(separable, monkeypatch):
    made = trial(separable, epochs=3, warmup_epochs=1, batch=18, layer_decay=0.5, min_lr=1e-3)
    training = Training(made, device="cpu", threads=1)
    seen = []
    step = training.optimizer.step

    def noting():
        seen.append({group["lr_scale"]: group["lr"] for group in training.optimizer.param_groups})
        step()

    monkeypatch.setattr(training.optimizer, "step", noting)
    for epoch in range(3):
        training.epoch(epoch)
    peak, least = 0.02 * 18 / 36, 1e-3
    epochs = np.arange(12) / 4  # MAE's util/lr_sched.py counts fractions of an epoch
    expected = np.where(
        epochs < 1, peak * epochs,
        least + (peak - least) * 0.5 * (1 + np.cos(np.pi * (epochs - 1) / 2)),
    )  # fmt: skip
    assert len(seen) == 12
    for scale in (1.0, 0.5, 0.0625):
        assert [one[scale] for one in seen] == pytest.approx(scale * expected)


# Determinism and resume


def test_pieces_add_up_to_the_gradient_of_the_batch(separable):
    training = Training(trial(separable, drop_path=0.2, batch=40), device="cpu", threads=2)
    images, targets = torch.randn(40, 3, 16, 16), torch.randn(40, 3).softmax(1)
    noise = torch.rand(40, 4)
    pieces = list(zip(*(part.split(32) for part in (images, targets, noise)), strict=True))
    loss = training._backward(pieces)
    found = [parameter.grad.clone() for parameter in training.parameters]
    training.optimizer.zero_grad()
    training.draws.numbers = noise
    whole = torch.nn.functional.cross_entropy(training.network(images), targets)
    whole.backward()
    assert float(loss) == pytest.approx(float(whole.detach()), rel=1e-5)
    for parameter, gradient in zip(training.parameters, found, strict=True):
        torch.testing.assert_close(gradient, parameter.grad, rtol=1e-4, atol=1e-7)


def test_threads_do_not_change_the_result(tmp_path, separable):
    shapes = {"epochs": 2, "batch": 70, "clip": 1.0}  # three pieces, the last of six samples
    one = result_of(tmp_path, separable, threads=1, name="one", **shapes)
    three = result_of(tmp_path, separable, threads=3, name="three", **shapes)
    assert one.read_bytes() == three.read_bytes()


def test_a_trial_ended_after_any_epoch_goes_on_to_the_same_end(tmp_path, separable):
    made = trial(separable, epochs=3)
    whole = run_trial(made, device="cpu", threads=2, folder=tmp_path / "whole")
    for done in range(3):
        training = Training(made, device="cpu", threads=1)
        losses = [training.epoch(epoch) for epoch in range(done)]
        Saved(tmp_path / str(done), "t").keep(training.network, training.optimizer, losses)
        found = run_trial(made, device="cpu", threads=2, folder=tmp_path / str(done))
        np.testing.assert_array_equal(found.scores, whole.scores)
        np.testing.assert_array_equal(found.losses, whole.losses)
    other = run_trial(
        trial(separable, epochs=3, seed=1), device="cpu", threads=2, folder=tmp_path / "other"
    )
    assert not np.array_equal(other.scores, whole.scores)


def test_a_killed_process_is_gone_on_from(tmp_path, separable):
    changes = recipe(epochs=6, seeds=[0, 1], warmup_epochs=0)
    whole, made = options(tmp_path, separable, name="whole"), options(tmp_path, separable)
    finetune(whole, changes)
    process = multiprocessing.get_context("fork").Process(target=finetune, args=(made, changes))
    process.start()
    try:
        end = time.monotonic() + 300
        while not list(made.work.glob("*/*.pt")) and time.monotonic() < end:
            time.sleep(0.001)
    finally:
        process.kill()
        process.join()
    assert process.exitcode == -signal.SIGKILL
    assert list(made.work.glob("*/encoder-dataset-*.pt"))
    assert not made.output.exists()
    finetune(made, changes)
    assert made.output.read_bytes() == whole.output.read_bytes()


def test_a_damaged_state_is_named(tmp_path, separable):
    made = trial(separable, epochs=1, warmup_epochs=0)
    for name in ("t.pt", "t.npz"):
        (tmp_path / name).write_bytes(b"half of it")
        with pytest.raises(UserError, match=rf"{name}: not .*; delete it"):
            run_trial(made, device="cpu", threads=1, folder=tmp_path)


# What is refused


def test_a_class_without_training_samples(tmp_path):
    index = benchmark(tmp_path / "b", label_of=lambda label, number: min(label, 1))
    with pytest.raises(UserError, match="class 'striped' is missing from the training side"):
        result_of(tmp_path, index)


def test_labels_beyond_the_classes(tmp_path):
    index = benchmark(tmp_path / "b", label_of=lambda label, number: label + 1)
    with pytest.raises(UserError, match="class number 3, but there are 3 classes"):
        result_of(tmp_path, index)


@pytest.mark.parametrize("key", ["looks/train/1/2", "looks/test/0/1"])
def test_an_image_that_cannot_be_read_is_named(tmp_path, key):
    index = benchmark(tmp_path / "b", spoil=key)
    with pytest.raises(UserError, match=key):
        result_of(tmp_path, index, epochs=1, warmup_epochs=0, batch=72)


def test_a_batch_larger_than_the_training_split(tmp_path, separable):
    with pytest.raises(UserError, match="batch is 128, but split 'dataset' has 72 training"):
        result_of(tmp_path, separable, batch=128)


def test_a_loss_that_is_not_finite_names_epoch_and_samples(tmp_path, separable):
    made = trial(separable, epochs=3)
    training = Training(made, device="cpu", threads=1)
    training.epoch(0)
    with torch.no_grad():
        training.network.head.bias[0] = math.nan
    with pytest.raises(UserError, match=r"epoch 2, step 1 of 2 \(samples looks/train/.*base_lr"):
        training.epoch(1)
    with pytest.raises(UserError, match="scores are not finite"):
        training.scores()


def test_an_encoder_of_other_bands_is_refused(tmp_path, separable):
    made = options(tmp_path, separable)
    model = json.loads((made.model / "model.json").read_text())
    write_json(made.model / "model.json", {**model, "bands": ["6", "7", "20"]})
    with pytest.raises(UserError, match="bands"):
        finetune(made, recipe())
