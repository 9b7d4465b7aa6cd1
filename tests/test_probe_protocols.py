"""What every protocol owes: controls at 100 and at chance, no look at the test part, no NaN."""

import dataclasses
import importlib

import numpy as np
import pytest
from probe_trials import SETTINGS, clusters, trial

from workflow_scripts.errors import UserError
from workflow_scripts.probe import knn, ridge, row_blocks
from workflow_scripts.probe.metrics import judge
from workflow_scripts.probe.trial import InMemory

SEVERAL = [name for name in SETTINGS if name != "few_shot"]
each_protocol = pytest.mark.parametrize("protocol", SETTINGS)


def judged(protocol, given):
    outcome = importlib.import_module(f"workflow_scripts.probe.{protocol}").judge(given)
    assert outcome.scores.shape == (len(given.test), given.classes)
    assert outcome.scores.dtype == np.float32
    return outcome


@each_protocol
def test_separable_classes_score_100(protocol):
    given = trial(*clusters(), SETTINGS[protocol])
    assert judge(judged(protocol, given).scores, given.test.labels, 4)["top1"] == 100


@each_protocol
def test_two_classes_score_100(protocol):
    given = trial(*clusters(classes=2), SETTINGS[protocol])
    assert judge(judged(protocol, given).scores, given.test.labels, 2)["top1"] == 100


@each_protocol
def test_shuffled_labels_score_at_chance(protocol):
    values, labels = clusters(per_class=250)
    shuffled = np.random.default_rng(1).permutation(labels)
    given = trial(values, shuffled, SETTINGS[protocol])
    # 500 test samples: four standard deviations around a quarter
    assert abs(judge(judged(protocol, given).scores, given.test.labels, 4)["top1"] - 25) < 8


@pytest.mark.parametrize("protocol", SEVERAL)
def test_several_labels_are_found_and_shuffled_ones_are_not(protocol):
    random = np.random.default_rng(0)
    labels = random.random((400, 3)) < [0.5, 0.3, 0.6]
    values = np.concatenate([8.0 * labels, np.full((400, 1), 8.0)], axis=1)
    values += random.normal(size=(400, 4))
    settings = {**SETTINGS[protocol], "epochs": 60}
    given = trial(values, labels, settings)
    assert judge(judged(protocol, given).scores, given.test.labels, 3)["map_macro"] > 99.5
    given = trial(values, random.permutation(labels), settings)
    found = judge(judged(protocol, given).scores, given.test.labels, 3)
    np.testing.assert_allclose(found["per_class"], [50, 30, 60], atol=14)


@each_protocol
def test_the_test_part_changes_neither_choice_nor_fit(protocol):
    values, labels = clusters(distance=2.0)
    given = trial(values, labels, SETTINGS[protocol])
    first = judged(protocol, given)
    other = dataclasses.replace(given.test, labels=given.test.labels[::-1])
    again = judged(protocol, dataclasses.replace(given, test=other))
    np.testing.assert_array_equal(first.scores, again.scores)
    less = given.test.only(np.arange(7))
    again = judged(protocol, dataclasses.replace(given, test=less))
    assert again.chosen == first.chosen
    np.testing.assert_allclose(again.scores, first.scores[:7], rtol=1e-4, atol=1e-5)


@each_protocol
def test_any_number_of_threads_gives_the_same_bytes(protocol, monkeypatch):
    for name, value in {"BLOCK_BYTES": 2**9, "FEWEST_ROWS": 16}.items():
        monkeypatch.setattr(row_blocks, name, value)
    monkeypatch.setattr(knn, "QUERIES", 16)
    given = trial(*clusters(distance=2.0), SETTINGS[protocol])
    found = set()
    for cores in (1, 5):
        for module in ("workflow_scripts.threads", ridge.__name__):
            monkeypatch.setattr(f"{module}.usable_cores", lambda cores=cores: cores)
        found.add(judged(protocol, given).scores.tobytes())
    assert len(found) == 1


@each_protocol
@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("row", [3, -3])  # learnt from, and judged
def test_features_that_are_not_finite_are_refused(protocol, value, row):
    values, labels = clusters()
    shown = trial(values, labels, {**SETTINGS[protocol], "shots": 25}, train=0.5)
    rows = shown.train.rows if row > 0 else shown.test.rows
    values[rows, 1] = value
    shown = dataclasses.replace(shown, features={"mean": InMemory(values.astype(np.float32))})
    with pytest.raises(UserError, match=rf"{protocol}.* features of .* are not finite"):
        judged(protocol, shown)


@pytest.mark.parametrize(
    ("protocol", "setting", "message"),
    [
        (
            "knn",
            {"temperatures": [0.07, 0.0]},
            "knn with pooling mean, k 3, temperature 0.0: scores of",
        ),
        ("ridge", {"strengths": [1.0, 0.0]}, "ridge with pooling mean, strength 0.0: scores of"),
        ("lars", {"base_lr": 1e30}, r"lars with base_lr 1e\+30: the loss is (nan|inf)"),
    ],
)
def test_scores_that_are_not_finite_name_protocol_and_setting(protocol, setting, message):
    values, labels = clusters()
    values[:, 0] = 3.0  # a constant feature, without which a penalty of 0 would do
    given = trial(values, labels, {**SETTINGS[protocol], **setting})
    with np.errstate(all="ignore"), pytest.raises(UserError, match=message):
        judged(protocol, given)
