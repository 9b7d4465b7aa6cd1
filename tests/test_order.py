import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.loader.draws import bits, mixed, uniform, uniform32
from workflow_scripts.loader.order import Order, permuted

SIZES = np.array([7, 0, 12, 5, 9, 1, 16])  # of 50 samples


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


@pytest.mark.parametrize("window", [None, 16])
def test_a_huge_corpus_is_permuted_without_being_stored(window):
    order = Order(np.full(4000, 50_000), batch=4096, epochs=1, seed=0, window=window)
    found = order.batch_at(order.total_steps - 1)
    assert len(set(found)) == 4096
    assert found.min() >= 0
    assert found.max() < 200_000_000
    shards = set(found // 50_000)
    assert len(shards) > 2000 if window is None else 16 <= len(shards) <= 32


@pytest.mark.parametrize("window", [None, 1, 2, 3, 6, 99])
def test_each_epoch_sees_each_sample_once_in_whatever_windows(window):
    order = Order(SIZES, batch=8, epochs=3, seed=1, window=window)
    positions = np.arange(50)
    epochs = [order.samples_at(positions, epoch=epoch) for epoch in range(4)]
    assert len({tuple(epoch) for epoch in epochs}) == 4
    for number, epoch in enumerate(epochs):
        assert sorted(epoch) == list(range(50))
        some = order.samples_at(positions[[31, 2, 47]], epoch=number)
        np.testing.assert_array_equal(some, epoch[[31, 2, 47]])


@pytest.mark.parametrize("window", [1, 2, 3])
def test_a_window_holds_so_many_shards_at_least_and_the_epochs_windows_differ(window):
    order = Order(SIZES, batch=8, epochs=1, seed=5, window=window)
    assert order.windows == 6 // window
    shard_of = np.repeat(np.arange(len(SIZES)), SIZES)
    firsts = []
    for epoch in range(20):
        shards = shard_of[order.samples_at(np.arange(50), epoch=epoch)]
        spans = [(np.flatnonzero(shards == s)[[0, -1]]) for s in np.unique(shards)]
        # Shards whose samples interleave are of one window; each window is left for good.
        ends = sorted((first, last) for first, last in spans)
        windows, until = 0, -1
        for first, last in ends:
            windows += first > until
            until = max(until, last)
        assert windows >= order.windows
        firsts.append(frozenset(shards[:5]))
    assert len(set(firsts)) > 3


@pytest.mark.parametrize("window", [None, 2])
@pytest.mark.parametrize("ranks", [1, 2, 4])
def test_slices_of_ranks_make_up_the_global_batch(ranks, window):
    order = Order(SIZES, batch=8, epochs=3, seed=1, window=window)
    for step in range(order.total_steps):
        slices = [order.batch_at(step, rank=rank, ranks=ranks) for rank in range(ranks)]
        np.testing.assert_array_equal(np.concatenate(slices), order.batch_at(step))


def test_each_epoch_drops_its_tail_once_and_repeats_nothing():
    order = Order(SIZES, batch=8, epochs=3, seed=1)
    assert order.steps_per_epoch == 6
    assert order.total_steps == 18
    for epoch in range(3):
        seen = [order.batch_at(epoch * 6 + step) for step in range(6)]
        assert len(set(np.concatenate(seen))) == 48


def test_a_step_is_the_same_whatever_was_asked_before():
    forward = Order(SIZES, batch=8, epochs=3, seed=1, window=2)
    expected = [forward.batch_at(step) for step in range(18)]
    backward = Order(SIZES, batch=8, epochs=3, seed=1, window=2)
    for step in reversed(range(18)):
        np.testing.assert_array_equal(backward.batch_at(step), expected[step])


def test_draws_of_sample_epoch_kind_and_seed_differ_and_come_alone_or_together():
    how = [(0, 1, 0), (1, 1, 0), (0, 2, 0), (0, 1, 1), (-1, 1, 0)]
    samples = np.array([0, 1, 5, 199_999_999])
    tables = [bits(samples, 6, seed=s, kind=k, epoch=e) for s, k, e in how]
    assert len(np.unique(np.stack(tables))) == 5 * 4 * 6
    alone = bits(samples[2:3], 4, seed=0, kind=1, epoch=0)
    np.testing.assert_array_equal(alone[0], tables[0][2, :4])


def test_a_samples_numbers_are_splitmix64s():
    def splitmix64(state, count):  # Vigna's reference code, in whole numbers
        for _ in range(count):
            state = (state + 0x9E3779B97F4A7C15) % 2**64
            z = (state ^ (state >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
            z = (z ^ (z >> 27)) * 0x94D049BB133111EB % 2**64
            yield z ^ (z >> 31)

    # Its first outputs from the state 1234567, as published with other implementations.
    assert list(splitmix64(1234567, 2)) == [6457827717110365317, 3203168211198807973]
    state = 0
    for word in (3, 2, 1, 77):  # seed, kind, epoch, sample: each mixed into the hash
        z = (state + 0x9E3779B97F4A7C15) % 2**64 ^ word
        state = int(mixed(np.array([z], np.uint64))[0])
    found = bits(np.array([77]), 5, seed=3, kind=2, epoch=1)[0]
    assert found.tolist() == list(splitmix64(state, 5))


def test_uniform_numbers_fill_the_half_open_interval_evenly():
    words = bits(np.arange(1000), 100, seed=0, kind=3, epoch=0)
    for numbers, dtype in ((uniform(words), np.float64), (uniform32(words), np.float32)):
        assert numbers.dtype == dtype
        assert numbers.min() >= 0
        assert numbers.max() < 1
        share = np.histogram(numbers, bins=10, range=(0, 1))[0] / numbers.size
        np.testing.assert_allclose(share, 0.1, atol=0.004)
        between = np.corrcoef(numbers[:-1, 0], numbers[1:, 0])[0, 1]
        assert abs(between) < 0.1
    top = np.array([2**64 - 1], np.uint64)
    assert uniform(top)[0] < 1
    assert uniform32(top)[0] < 1


@pytest.mark.parametrize("start", [0, 7, 30, 59])
@pytest.mark.parametrize("epochs", [1, 1.4, 3])
def test_shards_are_told_in_the_order_in_which_the_rest_of_a_run_gets_to_them(start, epochs):
    sizes = np.full(40, 15)
    order = Order(sizes, batch=10, epochs=epochs, seed=2, window=4)
    told = order.shards_from(start)
    assert len(set(told)) == len(told)
    seen: dict[int, None] = {}
    for step in range(start, order.total_steps):
        seen.update(dict.fromkeys((order.batch_at(step) // 15).tolist()))
        # Those of a window in any order; a window has four.
        assert set(seen) <= set(told[: -(-len(seen) // 4) * 4 + 4])
    # At either end a part of a window may be left to read.
    assert set(seen) <= set(told)
    assert len(told) - len(seen) <= 2 * 4
    if epochs == 3:
        assert sorted(told) == list(range(40))


def test_a_corpus_mixed_as_a_whole_reads_all_shards_and_never_empty_ones():
    order = Order(np.array([5, 0, 8, 3]), batch=4, epochs=2, seed=0)
    for start in (0, 3, 7):
        assert sorted(order.shards_from(start)) == [0, 2, 3]
    assert order.shards_from(order.total_steps) == []


def test_a_batch_that_the_corpus_or_the_ranks_cannot_fill_is_refused_with_the_numbers():
    with pytest.raises(UserError, match="5 samples, fewer than one batch of 8"):
        Order(np.array([5]), batch=8, epochs=1, seed=0)
    with pytest.raises(UserError, match="batch of 8 cannot be divided among 3 ranks; use 6"):
        Order(SIZES, batch=8, epochs=1, seed=0).batch_at(0, rank=0, ranks=3)
