"""Protocol few_shot: which samples are drawn, scikit-learn's scores, and what is refused."""

import dataclasses
import logging

import numpy as np
import pytest
from probe_trials import SETTINGS, clusters, trial
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log
from workflow_scripts.probe import few_shot
from workflow_scripts.probe.few_shot import drawn, judge


def test_each_class_gives_its_shots_and_fewer_are_among_more():
    values, labels = clusters()
    given = trial(values, labels, SETTINGS["few_shot"], seed=5)
    ten, two = drawn(given, 10), drawn(given, 2)
    assert np.bincount(given.train.labels[ten]).tolist() == [10] * 4
    assert len(set(ten)) == 40
    assert set(two) < set(ten)
    np.testing.assert_array_equal(ten, drawn(given, 10))
    assert set(ten) != set(drawn(dataclasses.replace(given, seed=6), 10))


def test_a_draw_does_not_depend_on_other_classes():
    values, labels = clusters()
    given = trial(values, labels, SETTINGS["few_shot"])
    kept = np.flatnonzero((given.train.labels != 0) | (np.cumsum(given.train.labels == 0) <= 12))
    less = dataclasses.replace(given, train=given.train.only(kept))
    rows = given.train.rows[drawn(given, 5)], less.train.rows[drawn(less, 5)]
    np.testing.assert_array_equal(rows[0][5:], rows[1][5:])


def test_identical_images_come_twice_only_where_nothing_else_is_left():
    values, labels = clusters(classes=2, per_class=12)
    # In each class the training samples are four different images, several times each.
    groups = labels * 4 + np.arange(len(labels)) % 4
    for seed in range(5):
        given = trial(values, labels, SETTINGS["few_shot"], train=1.0, seed=seed, groups=groups)
        four = given.train.only(drawn(given, 4))
        assert sorted(four.groups) == list(range(8))
        six = given.train.only(drawn(given, 6))
        assert len(set(six.rows)) == 12
        assert set(six.groups) == set(range(8))


@pytest.mark.parametrize("classes", [2, 4])
def test_scores_are_sklearns(classes, monkeypatch):
    monkeypatch.setattr("workflow_scripts.probe.row_blocks.FEWEST_ROWS", 7)
    monkeypatch.setattr("workflow_scripts.probe.row_blocks.BLOCK_BYTES", 1)
    values, labels = clusters(classes=classes, distance=2.0)
    values = values.astype(np.float32).astype(np.float64)
    given = trial(values, labels, {**SETTINGS["few_shot"], "strength": 0.3})
    found = judge(given)
    rows = given.train.rows[drawn(given, 10)]
    peer = make_pipeline(StandardScaler(), LogisticRegression(C=0.3)).fit(
        values[rows], labels[rows]
    )
    expected = peer.decision_function(values[given.test.rows])
    own = found.scores[:, 1] if classes == 2 else found.scores
    np.testing.assert_allclose(own, expected, atol=1e-3)
    np.testing.assert_array_equal(
        found.scores.argmax(axis=1), peer.predict(values[given.test.rows])
    )
    assert found.chosen == {
        "pooling": "mean", "normalisation": "standardize", "strength": 0.3, "shots": 10,
    }  # fmt: skip


def test_a_class_with_too_few_samples_is_named_with_its_count():
    values, labels = clusters()
    given = trial(values, labels, {**SETTINGS["few_shot"], "shots": 9})
    kept = np.flatnonzero((given.train.labels != 2) | (np.cumsum(given.train.labels == 2) <= 3))
    given = dataclasses.replace(given, train=given.train.only(kept))
    with pytest.raises(UserError, match=r"class number 2 \(from 0\) has 3 training samples, 9 are"):
        judge(given)
    named = dataclasses.replace(given, names=("field", "forest", "harbor", "river"))
    with pytest.raises(UserError, match=r"class 'harbor' has 3 .*; take 9 out of few_shot.shots"):
        judge(named)


def test_several_labels_and_unknown_normalisations_are_refused():
    values, labels = clusters()
    with pytest.raises(UserError, match="take few_shot out of the benchmark's protocols"):
        judge(trial(values, np.eye(4, dtype=bool)[labels], SETTINGS["few_shot"]))
    settings = {**SETTINGS["few_shot"], "normalisation": "zscore"}
    with pytest.raises(UserError, match="normalisation is 'zscore'; use one of standardize, l2"):
        judge(trial(values, labels, settings))


def test_a_solver_that_does_not_arrive_is_told(caplog, monkeypatch):
    values, labels = clusters(distance=1.0)
    settings = {**SETTINGS["few_shot"], "normalisation": "none"}
    with pytest.raises(UserError, match="could not make a step on features as large as"):
        judge(trial(values * 1e36, labels, settings))
    monkeypatch.setattr(log, "propagate", True)
    monkeypatch.setattr(few_shot, "MOST_STEPS", 2)
    with caplog.at_level(logging.WARNING):
        judge(trial(values, labels, settings))
    assert "normalisation none, strength 1.0: not converged in 2 steps" in caplog.text
