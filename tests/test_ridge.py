"""Protocol ridge: scikit-learn's coefficients on either side of the Gram matrix, and the choice."""

import numpy as np
import pytest
from probe_trials import SETTINGS, clusters, part, trial
from sklearn.linear_model import Ridge, RidgeClassifier
from sklearn.preprocessing import StandardScaler

from workflow_scripts.probe import ridge, row_blocks
from workflow_scripts.probe.hold_out import hold_out
from workflow_scripts.probe.trial import InMemory

STRENGTHS = [0.01, 1.0, 300.0]


@pytest.fixture(params=[256, 7])
def in_blocks(request, monkeypatch):
    monkeypatch.setattr(row_blocks, "BLOCK_BYTES", 1)
    monkeypatch.setattr(row_blocks, "FEWEST_ROWS", request.param)


@pytest.mark.parametrize("dimensions", [12, 200])  # fewer than the 90 samples, and more
@pytest.mark.parametrize("several", [False, True])
def test_coefficients_are_sklearns(dimensions, several, in_blocks):
    values, labels = clusters(classes=3, per_class=30, dimensions=dimensions, distance=2.0)
    # Unlike lengths and means, as encoders have them.
    values = (values * np.geomspace(0.01, 30, dimensions) + 5).astype(np.float32)
    labels = np.random.default_rng(1).random((90, 3)) < 0.4 if several else labels
    found = ridge.fit(
        InMemory(values), part(np.arange(90), labels), 3, strengths=STRENGTHS, what="ridge"
    )
    scaler = StandardScaler().fit(values.astype(np.float64))
    goals = labels.astype(float) if several else np.eye(3)[labels]
    for number, strength in enumerate(STRENGTHS):
        peer = Ridge(alpha=strength, solver="svd").fit(
            scaler.transform(values.astype(np.float64)), goals
        )
        weight = found.weight[:, number].T * scaler.scale_
        intercept = found.intercept[number] + scaler.mean_ @ found.weight[:, number]
        np.testing.assert_allclose(weight, peer.coef_, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(intercept, peer.intercept_, rtol=1e-6)


def test_the_classifier_is_sklearns():
    values, labels = clusters(distance=1.5, dimensions=20)
    values = values.astype(np.float32)
    given = trial(values, labels, {**SETTINGS["ridge"], "strengths": [3.0]})
    found = ridge.judge(given)
    scaler = StandardScaler().fit(values[given.train.rows].astype(np.float64))
    seen = [scaler.transform(values[side.rows].astype(np.float64))
            for side in (given.train, given.test)]  # fmt: skip
    peer = RidgeClassifier(alpha=3.0, solver="svd").fit(seen[0], given.train.labels)
    np.testing.assert_array_equal(found.scores.argmax(axis=1), peer.predict(seen[1]))
    # Its targets are −1 and 1, ours 0 and 1.
    np.testing.assert_allclose(2 * found.scores - 1, peer.decision_function(seen[1]), atol=1e-5)
    assert found.chosen == {"pooling": "mean", "strength": 3.0, "normalisation": "standardize"}


def test_constant_features_change_nothing():
    values, labels = clusters(distance=1.5)
    # A mean in floats may miss the constant, and a deviation of 1e-17 would blow it up.
    constant = np.full((len(values), 2), 0.1, np.float32)
    widened = trial(np.concatenate([values, constant], axis=1), labels, SETTINGS["ridge"])
    widened.features["mean"].values[widened.test.rows, -2:] = 1e6
    plain = trial(values, labels, SETTINGS["ridge"])
    np.testing.assert_allclose(
        ridge.judge(widened).scores, ridge.judge(plain).scores, rtol=1e-5, atol=1e-6
    )


def test_the_strength_that_scores_most_on_the_held_out_part_is_chosen():
    values, labels = clusters(distance=1.0, dimensions=60)
    settings = {**SETTINGS["ridge"], "strengths": [1e-3, 3.0, 30.0, 300.0]}
    given = trial(values, labels, settings, seed=3)
    held = hold_out(given.train.labels, share=0.25, seed=3)
    learnt, asked = given.train.rows[~held], given.train.rows[held]
    scaler = StandardScaler().fit(values[learnt])
    right = {
        strength: RidgeClassifier(alpha=strength)
        .fit(scaler.transform(values[learnt]), labels[learnt])
        .score(scaler.transform(values[asked]), labels[asked])
        for strength in settings["strengths"]
    }
    most = max(right.values())
    assert ridge.judge(given).chosen["strength"] == max(s for s in right if right[s] == most)
    assert len(set(right.values())) > 2


def test_of_equal_strengths_the_strongest_is_taken_whatever_their_order():
    for strengths in ([0.1, 1.0, 10.0], [10.0, 0.1, 1.0]):
        given = trial(*clusters(), {**SETTINGS["ridge"], "strengths": strengths})
        assert ridge.judge(given).chosen["strength"] == 10.0


def test_the_pooling_that_scores_most_is_chosen():
    values, labels = clusters(distance=3.0)
    given = trial(values, labels, {**SETTINGS["ridge"], "poolings": ["class", "mean"]})
    noise = np.random.default_rng(0).normal(size=values.shape).astype(np.float32)
    given.features["class"] = InMemory(noise)
    assert ridge.judge(given).chosen["pooling"] == "mean"
