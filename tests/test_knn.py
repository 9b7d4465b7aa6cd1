"""Protocol knn: scikit-learn's neighbours, ties, blocks, and how k and temperature are chosen."""

import logging

import numpy as np
import pytest
from probe_trials import SETTINGS, clusters, trial
from sklearn.neighbors import KNeighborsClassifier

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.probe import knn
from workflow_scripts.probe.hold_out import hold_out
from workflow_scripts.probe.trial import InMemory


def neighbours_of_sklearn(values, labels, *, k, temperature):
    return KNeighborsClassifier(
        k, metric="cosine", algorithm="brute",
        weights=lambda distance: np.exp((1 - distance) / temperature),
    ).fit(values, labels)  # fmt: skip


@pytest.fixture
def small_blocks(monkeypatch):
    for name, value in {"QUERIES": 7, "NEIGHBOURS": 11, "PANEL_BYTES": 2000}.items():
        monkeypatch.setattr(knn, name, value)


@pytest.mark.parametrize(("k", "temperature"), [(1, 0.07), (9, 0.07), (40, 0.02), (25, 5.0)])
def test_predictions_are_sklearns(k, temperature, small_blocks):
    values, labels = clusters(distance=1.5)
    values = values.astype(np.float32)
    given = trial(values, labels, {**SETTINGS["knn"], "k": [k], "temperatures": [temperature]})
    found = knn.judge(given)
    train, test = given.train.rows, given.test.rows
    peer = neighbours_of_sklearn(
        values[train].astype(np.float64), labels[train], k=k, temperature=temperature
    )
    np.testing.assert_array_equal(found.scores.argmax(axis=1), peer.predict(values[test]))
    np.testing.assert_allclose(found.scores, peer.predict_proba(values[test]), atol=1e-4)
    assert found.chosen == {
        "pooling": "mean", "k": k, "temperature": temperature, "normalisation": "l2",
    }  # fmt: skip


def test_several_labels_are_shares_of_votes(small_blocks):
    random = np.random.default_rng(0)
    labels, values = random.random((80, 4)) < 0.4, random.normal(size=(80, 6))
    given = trial(values, labels, {**SETTINGS["knn"], "k": [5], "temperatures": [0.1]})
    found = knn.judge(given).scores
    for column in range(4):
        peer = neighbours_of_sklearn(values[:40], labels[:40, column], k=5, temperature=0.1)
        np.testing.assert_allclose(
            found[:, column], peer.predict_proba(values[40:])[:, 1], atol=1e-5
        )


def test_neighbours_are_a_plain_sort_in_any_blocks(monkeypatch):
    random = np.random.default_rng(0)
    # Of lengths 1 and 2: many similarities are exactly equal, also below zero and at zero.
    values = np.sign(random.normal(size=(90, 4))).astype(np.float32)
    values[::3] = np.eye(4)[random.integers(0, 4, 30)]
    train, queries = np.arange(10, 90)[::-1].copy(), np.arange(10)
    unit = knn.unit(values.copy())
    similarity = unit[queries] @ unit[train].T
    expected = np.argsort(-similarity, axis=1, kind="stable")[:, :30]
    for size in (3, 8, 1000):
        monkeypatch.setattr(knn, "NEIGHBOURS", size)
        monkeypatch.setattr(knn, "QUERIES", size)
        near, places = knn.nearest(InMemory(values), queries, train, k=30, what="knn")
        np.testing.assert_array_equal(places, expected)
        np.testing.assert_array_equal(near, np.take_along_axis(similarity, expected, axis=1))


def test_keys_sort_as_the_similarities_they_hold():
    random = np.random.default_rng(0)
    values = np.array([-0.0, 0.0, 1.0, -1.0, 1e-30, -1e-30], np.float32)
    values = np.concatenate([values, random.normal(size=500).astype(np.float32)])[None]
    keys = knn.keys_of(values.copy(), 2**31)
    similarity, places = knn.from_keys(keys)
    np.testing.assert_array_equal(similarity, values)
    np.testing.assert_array_equal(places[0], 2**31 + np.arange(506))
    np.testing.assert_array_equal(np.argsort(-keys[0]), np.argsort(-values[0], kind="stable"))


def test_memory_does_not_grow_with_the_training_part(small_blocks):
    class Counted(InMemory):
        most = 0

        def take(self, rows):
            Counted.most = max(Counted.most, len(rows))
            return super().take(rows)

    values, _ = clusters(per_class=100)
    knn.nearest(Counted(values.astype(np.float32)), np.arange(100), np.arange(400), k=3, what="knn")
    assert Counted.most == 35  # 2,000 bytes hold 41 rows of 12, a multiple of seven is taken


def test_low_temperatures_do_not_overflow():
    given = trial(*clusters(), {**SETTINGS["knn"], "temperatures": [1e-4]})
    assert np.isfinite(knn.judge(given).scores).all()


def test_the_setting_that_scores_most_on_the_held_out_part_is_chosen():
    values, labels = clusters(distance=2.0, per_class=80)
    settings = {**SETTINGS["knn"], "k": [1, 5, 31], "temperatures": [0.1, 0.5]}
    given = trial(values, labels, settings, seed=4)
    held = hold_out(given.train.labels, share=0.25, seed=4)
    learnt, asked = given.train.rows[~held], given.train.rows[held]
    right = {
        (k, t): neighbours_of_sklearn(values[learnt], labels[learnt], k=k, temperature=t).score(
            values[asked], labels[asked]
        )
        for k in settings["k"]
        for t in settings["temperatures"]
    }
    chosen = knn.judge(given).chosen
    assert (chosen["k"], chosen["temperature"]) == max(right, key=right.get)
    assert len(set(right.values())) > 3


def test_k_beyond_the_training_part_is_left_out_with_a_line(caplog, monkeypatch):
    monkeypatch.setattr(log, "propagate", True)
    values, labels = clusters(per_class=10)  # 20 to learn from, a few of them held out
    with caplog.at_level(logging.WARNING):
        found = knn.judge(trial(values, labels, {**SETTINGS["knn"], "k": [3, 20]}))
    assert found.chosen["k"] == 3
    assert "k 20 is left out" in caplog.text
    with pytest.raises(UserError, match=r"knn: k is 20, 30, but only 1\d training samples"):
        knn.judge(trial(values, labels, {**SETTINGS["knn"], "k": [20, 30]}))
