"""Average relative performance: closed cases, and which tasks count."""

import pytest

from tests.probe_results import result
from workflow_scripts.errors import UserError
from workflow_scripts.probe.arp import NO_BASELINE, OTHER_SPLIT, arp, by_protocol
from workflow_scripts.published import published


@pytest.mark.parametrize(
    ("scores", "baseline", "expected"),
    [
        ({"a": 50.0}, {"a": 40.0}, 25.0),
        ({"a": 40.0}, {"a": 40.0}, 0.0),
        ({"a": 99.0, "b": 90.0}, {"a": 90.0, "b": 100.0}, 0.0),  # (+10 % − 10 %) / 2
        ({"a": 20.0, "b": 75.0, "c": 60.0}, {"a": 10.0, "b": 100.0, "c": 60.0}, 25.0),
        # A mean of quotients, not the quotient of means, which would be 0.
        ({"a": 30.0, "b": 70.0}, {"a": 20.0, "b": 80.0}, 100 * (0.5 - 0.125) / 2),
        ({"a": 50.0}, {"a": 40.0, "not judged": 1.0}, 25.0),
    ],
)
def test_closed_cases(scores, baseline, expected):
    assert arp(scores, baseline) == pytest.approx(expected, abs=1e-12)


def test_scaling_all_scores_of_a_task_changes_nothing():
    one = arp({"a": 30.0, "b": 70.0}, {"a": 20.0, "b": 80.0})
    assert arp({"a": 0.3, "b": 70.0}, {"a": 0.2, "b": 80.0}) == pytest.approx(one)


@pytest.mark.parametrize(
    ("scores", "baseline", "told"),
    [({}, {"a": 1.0}, "no task"), ({"a": 1.0}, {"a": 0.0}, "baseline's score of 'a' is 0")],
)
def test_what_has_no_value_is_refused(scores, baseline, told):
    with pytest.raises(UserError, match=told):
        arp(scores, baseline)


def split(digest):
    return [{"name": "dataset", "digest": digest, "n_train": 8, "n_test": 2, "overlap": None}]


def test_a_task_counts_only_under_the_same_protocol_and_on_the_same_split():
    results = [
        result("ours", "ucm", {"linear": 90.0, "knn": 60.0}),
        result("base", "ucm", {"linear": 75.0}),
        result("ours", "aid", {"linear": 50.0}),
        result("base", "aid", {"linear": 40.0}),
        result("ours", "resisc45", {"linear": 99.0}, splits=split("1" * 64)),
        result("base", "resisc45", {"linear": 10.0}, splits=split("2" * 64)),
        result("ours", "millionaid", {"linear": 70.0}),
        result("other", "millionaid", {"linear": 1.0}),
    ]
    found = by_protocol(results, encoder="ours", baseline="base")
    assert list(found) == ["linear"]  # of knn the baseline has nothing
    assert found["linear"].percent == pytest.approx((20 + 25) / 2)
    assert found["linear"].tasks == ("aid", "ucm")
    assert found["linear"].left_out == (("millionaid", NO_BASELINE), ("resisc45", OTHER_SPLIT))
    assert by_protocol(results, encoder="other", baseline="base") == {}


def test_fine_tuning_lies_in_a_file_of_its_own_and_counts_too():
    results = [
        result("ours", "ucm", {"linear": 90.0}), result("ours", "ucm", {"finetune": 99.0}),
        result("base", "ucm", {"linear": 75.0}), result("base", "ucm", {"finetune": 90.0}),
    ]  # fmt: skip
    found = by_protocol(results, encoder="ours", baseline="base")
    assert {name: one.percent for name, one in found.items()} == pytest.approx(
        {"linear": 20.0, "finetune": 10.0}
    )


def test_several_labels_count_by_micro_average_precision():
    results = [
        result("ours", "bigearthnet", {"linear": 55.0}, several=True),
        result("base", "bigearthnet", {"linear": 50.0}, several=True),
    ]
    assert by_protocol(results, encoder="ours", baseline="base")["linear"].percent == pytest.approx(
        10
    )


def test_the_published_value_is_cited_with_its_reservation():
    gfm = next(row for row in published("arp") if row["model"].startswith("GFM"))
    assert gfm["value"] == "4.47"
    assert "3.3" in gfm["note"]
