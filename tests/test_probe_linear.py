"""Protocol linear: what it chooses, that it refits, and what classes it can do without."""

import dataclasses

import numpy as np
import pytest
from probe_trials import SETTINGS, clusters, trial
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import average_precision_score
from sklearn.preprocessing import StandardScaler

from workflow_scripts.errors import UserError
from workflow_scripts.probe import linear, samples
from workflow_scripts.probe.hold_out import hold_out
from workflow_scripts.probe.linear import judge
from workflow_scripts.probe.normalise import BLOCK
from workflow_scripts.probe.trial import InMemory

LINEAR = SETTINGS["linear"]


def blurred(classes=4, per_class=60, dimensions=20, seed=0):
    return clusters(classes, per_class, dimensions, distance=2.0, seed=seed)


def by_scikit_learn(given, strength):
    """Scores of the test part after a fit of the whole training part."""
    values = given.features["mean"].values.astype(np.float64)
    scaler = StandardScaler().fit(values[given.train.rows])
    fitted = LogisticRegression(C=strength, tol=1e-8, max_iter=5000)
    fitted.fit(scaler.transform(values[given.train.rows]), given.train.labels)
    return fitted.decision_function(scaler.transform(values[given.test.rows]))


def test_scores_are_scikit_learns_after_the_choice_and_the_refit():
    settings = {**LINEAR, "normalisations": ["standardize"]}
    given = trial(*blurred(), settings)
    found = judge(given)
    away = hold_out(given.train.labels, share=0.25, seed=0, groups=given.train.groups)
    choosing = dataclasses.replace(
        given, train=given.train.only(~away), test=given.train.only(away)
    )
    right = {
        strength: (by_scikit_learn(choosing, strength).argmax(1) == choosing.test.labels).sum()
        for strength in settings["strengths"]
    }
    best = min(settings["strengths"], key=lambda strength: (-right[strength], strength))
    assert found.chosen == {"pooling": "mean", "normalisation": "standardize", "strength": best}
    np.testing.assert_allclose(found.scores, by_scikit_learn(given, best), rtol=1e-3, atol=1e-3)


def test_of_equals_the_strongest_regularisation_is_chosen_then_the_first_of_the_others():
    given = trial(*clusters(), {**LINEAR, "normalisations": ["none", "standardize"]})
    given = dataclasses.replace(
        given,
        features={"class": given.features["mean"], **given.features},
        settings={**given.settings, "strengths": [1.0, 0.1], "poolings": ["mean", "class"]},
    )
    expected = {"pooling": "mean", "normalisation": "none", "strength": 0.1}
    assert judge(given).chosen == expected


def test_the_pooling_and_normalisation_that_tell_classes_apart_are_chosen():
    values, labels = clusters()
    random = np.random.default_rng(1)
    # Lengths carry no class here, and are so different that they drown what does.
    values *= np.exp(3 * random.normal(size=(len(values), 1)))
    given = trial(values, labels, {**LINEAR, "poolings": ["class", "mean"]})
    noise = InMemory(random.normal(size=values.shape).astype(np.float32))
    given = dataclasses.replace(given, features={"class": noise, **given.features})
    chosen = judge(given).chosen
    assert (chosen["pooling"], chosen["normalisation"]) == ("mean", "l2")


def test_with_several_labels_each_class_is_scikit_learns_own_regression():
    values, classes = blurred()
    labels = np.stack([classes < 2, classes == 1], axis=1)
    settings = {**LINEAR, "strengths": [0.1], "normalisations": ["standardize"]}
    given = trial(values, labels, settings)
    found = judge(given).scores
    for column in range(2):
        alone = dataclasses.replace(
            given, train=dataclasses.replace(given.train, labels=given.train.labels[:, column])
        )
        expected = by_scikit_learn(alone, 0.1)
        np.testing.assert_allclose(found[:, column], expected, rtol=1e-3, atol=1e-3)
    assert average_precision_score(given.test.labels, found, average="macro") > 0.8


@pytest.mark.parametrize("always", [True, False])
def test_a_label_that_all_or_no_training_samples_have_breaks_nothing(always):
    values, classes = clusters()
    labels = np.stack([classes == 0, np.full(len(classes), always), classes < 2], axis=1)
    found = judge(trial(values, labels, LINEAR)).scores
    assert len(np.unique(found[:, 1])) == 1
    assert (found[0, 1] > 0) == always
    assert ((found[:, 0] > 0) == labels[120:, 0]).all()


def test_a_class_without_training_samples_is_never_the_likeliest():
    values, labels = clusters()
    given = trial(values, labels, LINEAR)
    kept = given.train.labels != 2
    given = dataclasses.replace(given, train=given.train.only(kept))
    found = judge(given).scores
    known = given.test.labels != 2
    assert (found.argmax(axis=1)[known] == given.test.labels[known]).all()
    assert (found.argmin(axis=1) == 2).all()


def test_two_classes_are_one_regression_and_two_opposite_scores():
    values, labels = clusters(classes=2)
    found = judge(trial(values, labels, LINEAR)).scores
    np.testing.assert_array_equal(found[:, 0], -found[:, 1])


class Blockwise:
    """Features on a disk, as it were: they are handed over a block at a time and never whole."""

    def __init__(self, values):
        self.values = values
        self.reads = 0

    @property
    def shape(self):
        return self.values.shape

    def take(self, rows):
        assert len(rows) <= BLOCK
        self.reads += 1
        return np.array(self.values[rows], np.float32, order="C")


def test_samples_beyond_the_budget_are_read_again_and_judged_the_same(monkeypatch):
    values, labels = blurred(per_class=2 * BLOCK // 4)
    given = trial(values, labels, {**LINEAR, "normalisations": ["standardize"]}, train=0.8)
    source = Blockwise(given.features["mean"].values)
    given = dataclasses.replace(given, features={"mean": source})
    expected = judge(given)
    few = source.reads
    monkeypatch.setattr(samples, "MOST_HELD", 0)
    found = judge(given)
    assert source.reads > 2 * few
    np.testing.assert_array_equal(found.scores, expected.scores)
    assert found.chosen == expected.chosen


def test_settings_that_would_choose_from_nothing_are_refused():
    for name in ("strengths", "poolings", "normalisations"):
        with pytest.raises(UserError, match=f"linear: {name} is empty"):
            judge(trial(*clusters(), {**LINEAR, name: []}))


def test_scores_of_many_strengths_in_portions_are_the_same(monkeypatch):
    given = trial(*blurred(), LINEAR)
    expected = judge(given)
    monkeypatch.setattr(linear, "_MOST_SCORES", 1)
    assert judge(given).chosen == expected.chosen


def test_identical_samples_stay_together_when_some_are_held_out():
    """One sample ten times: of its class all are learnt from or none."""
    values, labels = clusters()
    copies = np.flatnonzero(labels[:120] == 0)
    groups = np.arange(len(labels))
    groups[copies] = copies[0]
    given = trial(values, labels, LINEAR, groups=groups)
    learnt = []
    original = linear.learn

    def seen(features, some, *rest, **options):
        learnt.append(np.isin(copies, some.rows).sum())
        return original(features, some, *rest, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(linear, "learn", seen)
        judge(given)
    assert set(learnt) <= {0, len(copies)}
