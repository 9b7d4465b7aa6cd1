"""Work done ahead in threads: in order, and no more of it than may wait."""

import threading

import pytest

from workflow_scripts.threads import map_in_order, usable_cores, workers_are


@pytest.mark.parametrize(
    ("size", "ahead"),
    [(0, 16), (1, 16), (10, 11), (30, 5), (1000, 5)],
)
def test_large_results_are_not_computed_far_ahead(size, ahead):
    """With the one taken, four workers have four results a worker, 100 in size, or one each."""
    taken = []

    def items():
        for number in range(60):
            taken.append(number)
            yield number

    found = map_in_order(lambda n: n, items(), workers=4, size_of=lambda _: size, most=100)
    assert next(found) == 0
    assert len(taken) - 1 <= ahead
    for number, result in enumerate(found, 1):
        assert result == number
        assert len(taken) - 1 - number <= ahead
    assert len(taken) == 60


def test_without_sizes_so_many_are_computed_ahead_as_ever():
    taken = []
    found = map_in_order(lambda n: n, (taken.append(n) or n for n in range(60)), workers=3)
    next(found)
    assert len(taken) == 13


def test_all_workers_are_busy_with_large_results_too():
    """Each call waits until all workers have one: it would never end with fewer at a time."""
    meeting = threading.Barrier(3, timeout=30)

    def meet(number):
        meeting.wait()
        return number

    found = map_in_order(meet, range(9), workers=3, size_of=lambda _: 10**9, most=1)
    assert list(found) == list(range(9))


def test_as_many_items_are_worked_on_at_a_time_as_the_command_line_asks_for():
    at_once, most, lock = 0, 0, threading.Lock()

    def work(item):
        nonlocal at_once, most
        with lock:
            at_once += 1
            most = max(most, at_once)
        threading.Event().wait(0.01)
        with lock:
            at_once -= 1

    before = usable_cores()
    with workers_are(1):
        list(map_in_order(work, range(5)))
    assert most == 1
    with workers_are(5):
        assert usable_cores() == 5
    assert usable_cores() == before
