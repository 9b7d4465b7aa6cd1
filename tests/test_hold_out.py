"""The held-out part: its share by class, what stays on one side, and what cannot be held out."""

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.probe.hold_out import hold_out


def test_each_class_gives_its_share_and_has_both_sides():
    labels = np.repeat([0, 1, 2, 5], [100, 10, 2, 3])
    held = hold_out(labels, share=0.2, seed=0)
    counts = [int(held[labels == label].sum()) for label in (0, 1, 2, 5)]
    assert counts == [20, 2, 1, 1]
    greedy = hold_out(labels, share=0.999, seed=0)
    assert [int((~greedy)[labels == label].sum()) for label in (0, 1, 2, 5)] == [1, 1, 1, 1]


def test_a_class_of_one_sample_is_learnt_from():
    held = hold_out(np.array([0, 0, 0, 1]), share=0.9, seed=0)
    assert held.sum() == 2
    assert not held[3]


def test_the_draw_depends_on_the_seed_and_on_the_class_alone():
    labels = np.repeat([0, 1], 50)
    held = hold_out(labels, share=0.3, seed=1)
    np.testing.assert_array_equal(held, hold_out(labels, share=0.3, seed=1))
    assert (held != hold_out(labels, share=0.3, seed=2)).any()
    alone = hold_out(np.ones(50, int), share=0.3, seed=1)
    np.testing.assert_array_equal(held[50:], alone)


def test_several_labels_give_a_plain_share():
    labels = np.random.default_rng(0).random((200, 4)) < 0.3
    held = hold_out(labels, share=0.25, seed=3)
    assert held.sum() == 50
    np.testing.assert_array_equal(held, hold_out(~labels, share=0.25, seed=3))
    assert hold_out(labels[:2], share=0.01, seed=0).sum() == 1
    assert hold_out(labels[:2], share=0.99, seed=0).sum() == 1


@pytest.mark.parametrize("several", [False, True])
def test_identical_images_stay_on_one_side(several):
    random = np.random.default_rng(0)
    groups = random.integers(0, 150, 300)
    labels = groups % 3  # identical images have the same class
    held = hold_out(np.eye(3, dtype=bool)[labels] if several else labels, share=0.2, seed=0,
                    groups=groups)  # fmt: skip
    assert not set(groups[held]) & set(groups[~held])
    parts = [np.ones(300, bool)] if several else [labels == label for label in range(3)]
    for part in parts:
        assert 0.2 * part.sum() - 6 <= held[part].sum() <= 0.2 * part.sum() + 0.5


def test_groups_of_one_sample_change_nothing():
    labels = np.repeat([0, 1], 40)
    names = np.random.default_rng(0).permutation(1000)[:80]
    np.testing.assert_array_equal(
        hold_out(labels, share=0.2, seed=0, groups=names), hold_out(labels, share=0.2, seed=0)
    )


def test_a_large_group_is_held_out_only_where_there_is_no_smaller_one():
    labels = np.zeros(10, int)
    for seed in range(5):
        groups = np.array([0] * 7 + [1, 2, 3])
        assert hold_out(labels, share=0.2, seed=seed, groups=groups)[:7].sum() == 0
        groups = np.array([0] * 6 + [1] * 4)
        assert hold_out(labels, share=0.2, seed=seed, groups=groups).tolist() == [False] * 6 + (
            [True] * 4
        )


def test_an_image_with_two_classes_is_not_held_out():
    labels, groups = np.array([0, 1, 0, 0, 1, 1]), np.array([7, 7, 1, 2, 3, 4])
    for seed in range(8):
        held = hold_out(labels, share=0.9, seed=seed, groups=groups)
        assert not held[:2].any()
        assert held[2:].all()


@pytest.mark.parametrize(
    ("labels", "groups"),
    [([0, 1, 2], None), ([0, 0, 0, 1], [4, 4, 4, 5]), ([[True], [False]], [3, 3])],
)
def test_nothing_to_hold_out_is_refused(labels, groups):
    with pytest.raises(UserError, match=f"none of the {len(labels)} training samples"):
        hold_out(np.array(labels), share=0.2, seed=0,
                 groups=None if groups is None else np.array(groups))  # fmt: skip
