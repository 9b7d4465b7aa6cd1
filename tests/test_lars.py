"""Protocol lars: its step and its whole training against float64 numpy, and its recipe."""

import dataclasses
import logging
import math

import numpy as np
import pytest
import torch
from probe_trials import SETTINGS, clusters, trial

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.probe import lars, row_blocks
from workflow_scripts.probe.lars import judge
from workflow_scripts.probe.samples import one_thread
from workflow_scripts.probe.trial import InMemory


class NumpyLars:
    """The update of arXiv 1708.03888, algorithm 1, without decay; a vector gets no trust ratio."""

    def __init__(self, momentum, trust):
        self.momentum, self.trust, self.speed = momentum, trust, {}

    def step(self, name, value, gradient, rate):
        lengths = [math.sqrt((x * x).sum()) for x in (value, gradient)]
        if value.ndim == 2 and min(lengths) > 0:
            gradient = gradient * self.trust * lengths[0] / lengths[1]
        self.speed[name] = self.momentum * self.speed.get(name, 0.0) + gradient
        return value - rate * self.speed[name]


def softmax_less_target(logits, labels):
    """The gradient of the mean loss over logits."""
    if labels.ndim == 2:
        return (1 / (1 + np.exp(-logits)) - labels) / logits.size
    raised = np.exp(logits - logits.max(axis=1, keepdims=True))
    return (raised / raised.sum(axis=1, keepdims=True) - np.eye(logits.shape[1])[labels]) / len(
        labels
    )


def trained_in_numpy(given, *, batch):
    """Scores of the test part by the same protocol, written again in float64."""
    how, seed, classes = given.settings, given.seed, given.classes
    own = given.features["mean"].values.astype(np.float64)
    views = [view["mean"].values.astype(np.float64) for view in given.views] or [own]
    weight = lars.initial_weight(own.shape[1], classes, seed).astype(np.float64)
    bias, mean, variance = np.zeros(classes), np.zeros(own.shape[1]), np.ones(own.shape[1])
    update, steps = NumpyLars(how["momentum"], how["trust"]), len(given.train) // batch
    peak, warm, end = how["base_lr"] * batch / 256, how["warmup_epochs"], how["epochs"]
    for epoch in range(end):
        places = np.random.default_rng([seed, epoch]).permutation(len(given.train))
        for step in range(steps):
            chosen = places[step * batch : (step + 1) * batch]
            x = views[epoch % len(views)][given.train.rows[chosen]]
            now = epoch + step / steps
            if now < warm:
                rate = peak * now / warm
            else:
                rate = peak * (1 + math.cos(math.pi * (now - warm) / (end - warm))) / 2
            mean = 0.9 * mean + 0.1 * x.mean(axis=0)
            variance = 0.9 * variance + 0.1 * x.var(axis=0, ddof=1)
            z = (x - x.mean(axis=0)) / np.sqrt(x.var(axis=0) + 1e-6)
            slope = softmax_less_target(z @ weight.T + bias, given.train.labels[chosen])
            weight = update.step("weight", weight, slope.T @ z, rate)
            bias = update.step("bias", bias, slope.sum(axis=0), rate)
    return ((own[given.test.rows] - mean) / np.sqrt(variance + 1e-6)) @ weight.T + bias


def found_reach(how, *, steps):
    """Half the peak rate a step on average, times the geometric sum of the momentum."""
    return 0.5 * steps * how["base_lr"] * 32 / 256 * how["trust"] / (1 - how["momentum"])


def test_steps_equal_float64_numpy():
    random = np.random.default_rng(0)
    head = lars.new_head(6, 3, seed=0)
    values = {
        "weight": random.normal(size=(3, 6)), "bias": random.normal(size=3),
    }  # fmt: skip
    for name, value in values.items():
        getattr(head[1], name).data = torch.from_numpy(value.astype(np.float32))
    stepper, update = lars.optimiser(head, momentum=0.9, trust=0.001), NumpyLars(0.9, 0.001)
    for step, rate in enumerate([0.0, 6.4, 3.0, 0.5]):
        for group in stepper.param_groups:
            group["lr"] = rate
        for name in values:
            # A gradient of zeros has no length to scale by.
            gradient = random.normal(size=values[name].shape) * (step != 2)
            getattr(head[1], name).grad = torch.from_numpy(gradient.astype(np.float32))
            values[name] = update.step(name, values[name], gradient, rate)
        stepper.step()
        for name, value in values.items():
            np.testing.assert_allclose(getattr(head[1], name).detach(), value, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("several", [False, True])
@pytest.mark.parametrize("views", [0, 3])
def test_the_whole_training_equals_float64_numpy(several, views):
    values, labels = clusters(distance=2.0)
    values = (values * np.geomspace(0.1, 10, 12) + 3).astype(np.float32)
    if several:
        labels = np.stack([labels == 0, labels > 1, labels == 3], axis=1)
    seen = [values + np.random.default_rng(k).normal(size=values.shape) for k in range(views)]
    settings = {**SETTINGS["lars"], "batch": 32, "epochs": 11, "warmup_epochs": 2.5}
    given = trial(values, labels, settings, seed=3, views=seen)
    found = judge(given)
    np.testing.assert_allclose(found.scores, trained_in_numpy(given, batch=32), atol=1e-4)
    assert found.chosen == {
        "pooling": "mean", "normalisation": "batch norm", "batch": 32, "lr": 5.0 * 32 / 256,
        "epochs": 11, "views": views,
        "reach": pytest.approx(found_reach(settings, steps=33), rel=0.01),
    }  # fmt: skip
    if views:  # they are what is learnt from, and the samples' own features what is judged
        without = judge(dataclasses.replace(given, views=())).scores
        assert np.abs(without - found.scores).max() > 0.01


def test_rate_is_the_references():
    def rate(epoch):
        return lars.rate(epoch, peak=6.4, epochs=90, warmup_epochs=10)

    assert [rate(0), rate(5), rate(10), rate(50), rate(90)] == pytest.approx([0, 3.2, 6.4, 3.2, 0])
    assert lars.rate(0, peak=6.4, epochs=90, warmup_epochs=0) == 6.4


def test_a_reach_that_is_short_is_told(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    mae = {**SETTINGS["lars"], "epochs": 90, "warmup_epochs": 10, "base_lr": 0.1, "trust": 0.001}
    with caplog.at_level(logging.WARNING):
        assert lars.reach(mae, batch=16384, count=1_281_167) == pytest.approx(225, rel=0.02)
        assert not caplog.text
        assert lars.reach(mae, batch=256, count=1680) == pytest.approx(0.27, rel=0.02)
    assert "can move by 0.27 of their random first length" in caplog.text


def test_first_weights_are_small_and_come_from_the_seed():
    head = lars.new_head(500, 40, seed=1)
    weight = head[1].weight.detach().numpy()
    assert weight.std() == pytest.approx(0.01, rel=0.03)
    assert abs(weight.mean()) < 2e-4
    assert not head[1].bias.any()
    assert (lars.initial_weight(500, 40, 2) != weight).any()
    assert head[0].eps == 1e-6
    assert list(head[0].parameters()) == []


@pytest.mark.parametrize(
    ("asked", "count", "batch"),
    [(16384, 16384, 16384), (512, 1680, 512), (16384, 16383, 2048), (16384, 1680, 256),
     (16384, 2048, 512), (64, 40, 8), (16384, 9, 2), (16384, 2, 2)],
)  # fmt: skip
def test_batches_of_small_training_parts(asked, count, batch, caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    with caplog.at_level(logging.WARNING):
        assert lars.batch_size(asked, count) == batch
    assert (f"{count} training samples do not fill" in caplog.text) == (asked > count)


@pytest.mark.parametrize(("asked", "count"), [(16384, 1), (1, 100)])
def test_batches_of_one_sample_are_refused(asked, count):
    with pytest.raises(UserError, match=f"a batch of {asked} from {count} training samples"):
        lars.batch_size(asked, count)


def test_pooling_is_the_class_token_where_there_is_one_and_can_be_set():
    values, labels = clusters()
    given = trial(values, labels, {**SETTINGS["lars"], "epochs": 1})
    assert judge(given).chosen["pooling"] == "mean"
    both = dataclasses.replace(given, features={
        "class": InMemory(2 * given.features["mean"].values), **given.features})  # fmt: skip
    assert judge(both).chosen["pooling"] == "class"
    settings = {**both.settings, "pooling": "mean"}
    assert judge(dataclasses.replace(both, settings=settings)).chosen["pooling"] == "mean"


def test_features_are_read_a_batch_or_block_at_a_time(monkeypatch):
    taken = []

    class Counted(InMemory):
        def take(self, rows):
            taken.append(list(rows))
            return super().take(rows)

    monkeypatch.setattr(row_blocks, "FEWEST_ROWS", 50)
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 1)
    values, labels = clusters()
    given = trial(values, labels, {**SETTINGS["lars"], "batch": 32, "epochs": 2})
    features = {"mean": Counted(given.features["mean"].values)}
    judge(dataclasses.replace(given, features=features))
    assert [len(rows) for rows in taken] == [32] * 6 + [50, 50, 20]
    assert len({row for rows in taken[:3] for row in rows}) == 96  # each once an epoch
    assert taken[:3] != taken[3:6]
    assert all(rows == sorted(rows) for rows in taken)


def test_threads_are_as_before():
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        with one_thread():
            assert torch.get_num_threads() == 1
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
