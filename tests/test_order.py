import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.order import Order, RankSteps, permuted, stream


def whole(count, *, seed=0, epoch=0):
    return permuted(np.arange(count), count=count, seed=seed, epoch=epoch)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 17, 64, 1000, 4097])
def test_an_epoch_is_a_permutation(count):
    assert sorted(whole(count)) == list(range(count))


def test_random_access_gives_the_same_permutation():
    expected = whole(1000, seed=7, epoch=3)
    positions = np.array([999, 0, 500, 501])
    found = permuted(positions, count=1000, seed=7, epoch=3)
    np.testing.assert_array_equal(found, expected[positions])


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = {tuple(whole(50, seed=seed, epoch=epoch)) for seed in range(4) for epoch in range(4)}
    assert len(orders) == 16


@pytest.mark.parametrize("count", [5, 21])
def test_every_sample_is_equally_often_at_every_place(count):
    epochs = 6000
    table = np.zeros((count, count))
    for epoch in range(epochs):
        table[np.arange(count), whole(count, epoch=epoch)] += 1
    expected = epochs / count
    chi_square = ((table - expected) ** 2 / expected).sum() / (count - 1) ** 2
    assert 0.3 < chi_square < 2.0  # a mean of 1 when all permutations are alike


def test_neighbours_in_the_corpus_do_not_stay_neighbours():
    steps = np.diff(whole(10_000))
    assert np.mean(np.abs(steps) == 1) < 0.002


def test_a_huge_corpus_is_permuted_without_being_stored():
    found = permuted(np.arange(4096), count=200_000_000, seed=0, epoch=1)
    assert len(set(found)) == 4096
    assert found.min() >= 0
    assert found.max() < 200_000_000


@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_slices_of_ranks_make_up_the_global_batch(ranks):
    order = Order(count=50, batch=8, epochs=3, seed=1)
    for step in range(order.total_steps):
        slices = [order.batch_at(step, rank=rank, ranks=ranks) for rank in range(ranks)]
        np.testing.assert_array_equal(np.concatenate(slices), order.batch_at(step))


def test_each_epoch_drops_its_tail_once_and_repeats_nothing():
    order = Order(count=50, batch=8, epochs=3, seed=1)
    assert order.steps_per_epoch == 6
    assert order.total_steps == 18
    for epoch in range(3):
        seen = [order.batch_at(epoch * 6 + step) for step in range(6)]
        assert len(set(np.concatenate(seen))) == 48


def test_resumed_steps_are_the_rest_of_all_steps():
    order = Order(count=50, batch=8, epochs=3, seed=1)
    everything = list(RankSteps(order, start=0, rank=1, ranks=2))
    assert list(RankSteps(order, start=7, rank=1, ranks=2)) == everything[7:]
    assert [key[0] for key in everything[6]] == [1] * 4


def test_streams_of_sample_epoch_and_kind_differ():
    keys = [(0, 1, 0, 0), (1, 1, 0, 0), (0, 2, 0, 0), (0, 1, 1, 0), (0, 1, 0, 1)]
    draws = {
        stream(seed, kind=kind, epoch=epoch, sample=sample).random()
        for seed, kind, epoch, sample in keys
    }
    assert len(draws) == len(keys)


def test_a_batch_that_the_corpus_or_the_ranks_cannot_fill_is_refused_with_the_numbers():
    with pytest.raises(UserError, match="5 samples, fewer than one batch of 8"):
        Order(count=5, batch=8, epochs=1, seed=0)
    with pytest.raises(UserError, match="batch of 8 cannot be divided among 3 ranks; use 6"):
        Order(count=50, batch=8, epochs=1, seed=0).batch_at(0, rank=0, ranks=3)
