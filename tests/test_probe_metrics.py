"""Metrics: against scikit-learn's, the definition of average precision, and closed cases."""

import numpy as np
import pytest
from sklearn.metrics import (
    average_precision_score,
    confusion_matrix,
    recall_score,
    top_k_accuracy_score,
)

from workflow_scripts.errors import UserError
from workflow_scripts.probe.metrics import check_finite, judge, merit, summarise


def precision_by_definition(labels, scores):
    """Sum over thresholds of (recall - previous recall) x precision, in exact counts."""
    total, before = 0.0, 0.0
    for threshold in sorted(set(scores.tolist()), reverse=True):
        taken = scores >= threshold
        recall = labels[taken].sum() / labels.sum()
        total += (recall - before) * labels[taken].mean()
        before = recall
    return 100 * total


def test_one_label_equals_sklearn():
    random = np.random.default_rng(0)
    labels = random.integers(0, 9, 400)
    scores = (random.normal(size=(400, 9)) + 1.5 * np.eye(9)[labels]).astype(np.float32)
    found = judge(scores, labels, 9)
    for k in (1, 5):
        expected = 100 * top_k_accuracy_score(labels, scores, k=k)
        assert found[f"top{k}"] == pytest.approx(expected)
    np.testing.assert_array_equal(
        found["confusion"], confusion_matrix(labels, scores.argmax(axis=1))
    )
    recall = 100 * recall_score(labels, scores.argmax(axis=1), average=None)
    np.testing.assert_allclose(found["per_class"], recall)
    assert merit(scores, labels) == found["top1"]


def test_of_equal_scores_the_smaller_class_comes_first():
    scores = np.zeros((7, 7), np.float32)
    found = judge(scores, np.arange(7), 7)
    assert found["top1"] == pytest.approx(100 / 7)
    assert found["top5"] == pytest.approx(500 / 7)
    assert found["per_class"] == [100.0, 0, 0, 0, 0, 0, 0]
    assert found["confusion"][:, 0].tolist() == [1] * 7
    scores[:, 3] = 1
    assert judge(scores, np.full(7, 5), 7)["top5"] == 0  # 3, 0, 1, 2, 4 come before 5
    assert judge(scores, np.full(7, 4), 7)["top5"] == 100


def test_a_class_without_a_test_sample_has_no_accuracy():
    found = judge(np.eye(3, dtype=np.float32)[[0, 2]], np.array([0, 1]), 3)
    assert found["per_class"] == [100.0, 0.0, None]
    assert found["confusion"].tolist() == [[1, 0, 0], [0, 0, 1], [0, 0, 0]]


@pytest.mark.parametrize("levels", [3, 10**6])  # three levels: most scores are tied
def test_average_precision_is_the_definition_and_sklearns(levels):
    random = np.random.default_rng(1)
    labels = random.random((60, 5)) < [0.5, 0.2, 0.1, 0.9, 0.3]
    scores = (random.integers(0, levels, (60, 5)) / levels + 0.3 * labels).astype(np.float32)
    scores = np.round(scores * levels) / levels
    found = judge(scores, labels, 5)
    by_class = [precision_by_definition(labels[:, c], scores[:, c]) for c in range(5)]
    np.testing.assert_allclose(found["per_class"], by_class)
    assert found["map_macro"] == pytest.approx(np.mean(by_class))
    assert found["map_micro"] == pytest.approx(
        precision_by_definition(labels.ravel(), scores.ravel())
    )
    for average in ("micro", "macro"):
        expected = 100 * average_precision_score(labels, scores, average=average)
        assert found[f"map_{average}"] == pytest.approx(expected)
    assert merit(scores, labels) == found["map_micro"]


def test_ties_of_several_labels_do_not_depend_on_the_order_of_samples():
    labels = np.array([[1], [1], [0], [0]], bool)
    for order in ([0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]):
        found = judge(np.zeros((4, 1), np.float32), labels[order], 1)
        assert found["map_micro"] == found["per_class"][0] == 50.0


def test_a_class_that_no_test_sample_has_is_left_out_of_the_macro_mean():
    labels = np.array([[1, 0, 1], [0, 0, 1], [0, 0, 0]], bool)
    scores = np.array([[3, 9, 1], [2, 9, 1], [1, 9, 1]], np.float32)
    found = judge(scores, labels, 3)
    assert found["per_class"] == [100.0, None, pytest.approx(200 / 3)]
    assert found["map_macro"] == pytest.approx(250 / 3)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("labels", [np.array([0, 1]), np.eye(2, dtype=bool)])
def test_scores_that_are_not_finite_are_refused(value, labels):
    scores = np.array([[value, 0], [0, 1]], np.float32)
    with pytest.raises(UserError, match="scores of 1 of 2 samples are not finite"):
        judge(scores, labels, 2)
    with pytest.raises(UserError, match="probe: knn with k 5: scores"):
        check_finite(scores, "knn with k 5")


def test_test_parts_without_any_label_are_refused():
    with pytest.raises(UserError, match="none of 4 samples to judge on has a label"):
        judge(np.zeros((4, 2), np.float32), np.zeros((4, 2), bool), 2)


def test_summary_of_one_label():
    trials = [
        {"top1": 50.0, "top5": 90.0, "per_class": [100.0, 0.0, None],
         "confusion": np.array([[1, 0, 0], [1, 0, 0], [0, 0, 0]])},
        {"top1": 70.0, "top5": 100.0, "per_class": [50.0, None, None],
         "confusion": np.array([[1, 1, 0], [0, 0, 0], [0, 0, 0]])},
    ]  # fmt: skip
    chosen = [{"split": "dataset", "seed": s, "k": 5} for s in (0, 1)]
    found = summarise(trials, chosen, ["a", "b", "c"])
    assert found["top1"] == {"mean": 60.0, "std": pytest.approx(200**0.5), "values": [50.0, 70.0]}
    assert found["top5"]["mean"] == 95.0
    assert found["per_class"] == {"a": 75.0, "b": 0.0, "c": None}
    assert found["confusion"] == [[2, 1, 0], [1, 0, 0], [0, 0, 0]]
    assert found["chosen"] == chosen
    assert summarise(trials[:1], chosen[:1], ["a", "b", "c"])["top1"]["std"] == 0.0


def test_summary_of_several_labels():
    trials = [
        {"map_micro": 60.0, "map_macro": 40.0, "per_class": [40.0, None]},
        {"map_micro": 80.0, "map_macro": 50.0, "per_class": [60.0, 40.0]},
    ]
    found = summarise(trials, [{}, {}], ["a", "b"])
    assert list(found) == ["map_micro", "map_macro", "per_class", "chosen"]
    assert found["map_micro"]["mean"] == 70.0
    assert found["map_macro"]["values"] == [40.0, 50.0]
    assert found["per_class"] == {"a": 50.0, "b": 40.0}
