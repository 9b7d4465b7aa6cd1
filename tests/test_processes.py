"""A function over many items in processes: order, memory, errors, and processes that die."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.processes import map_in_processes

ROOT = Path(__file__).resolve().parent.parent


def square(item):
    return item * item


def later_first(item):
    time.sleep(0.1 if item % 2 == 0 else 0.0)
    return item


def deadly(item):
    if item in (2, 5):
        os.kill(os.getpid(), signal.SIGSEGV)
    return item * item


def killed(item):
    if item == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return item


def deadly_once(flag):
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return "done"


def failing(item):
    if item == 3:
        raise LookupError(f"item {item} is wrong")
    return item


def lost(item):
    return f"lost {item}"


def unexpected(item):
    raise AssertionError(f"{item} killed no process")


def test_a_worker_killed_from_outside_is_no_crash_of_the_item():
    found = map_in_processes(killed, range(5), workers=1, crashed=lost)
    assert [next(found), next(found)] == [0, 1]
    with pytest.raises(UserError, match=r"ended from outside \(exit code -9\).*memory"):
        next(found)


@pytest.mark.parametrize("workers", [0, 1, 2])
def test_results_come_in_the_order_of_the_items(workers):
    found = map_in_processes(later_first, range(7), workers=workers, crashed=unexpected)
    assert list(found) == list(range(7))
    assert list(map_in_processes(square, [], workers=workers, crashed=unexpected)) == []


@pytest.mark.parametrize("workers", [0, 2])
def test_items_are_taken_one_by_one_as_results_are_asked_for(workers):
    taken = []

    def endless():
        while True:
            taken.append(len(taken))
            yield taken[-1]

    found = map_in_processes(square, endless(), workers=workers, crashed=unexpected)
    for number in range(12):
        assert next(found) == number * number
        assert len(taken) <= number + 1 + workers + 1
    found.close()
    assert len(taken) <= 12 + workers + 1


def test_an_item_that_kills_its_process_costs_that_item_alone():
    found = list(map_in_processes(deadly, range(8), workers=2, crashed=lost))
    assert found == [0, 1, "lost 2", 9, 16, "lost 5", 36, 49]


def test_an_item_whose_process_was_killed_from_outside_is_tried_again(tmp_path):
    flag = str(tmp_path / "flag")
    assert list(map_in_processes(deadly_once, [flag], workers=1, crashed=unexpected)) == ["done"]


@pytest.mark.parametrize("workers", [0, 2])
def test_the_first_exception_ends_it_after_the_results_before(workers):
    found = map_in_processes(failing, range(10), workers=workers, crashed=unexpected)
    assert [next(found) for _ in range(3)] == [0, 1, 2]
    with pytest.raises(LookupError, match="item 3 is wrong"):
        next(found)
    assert list(found) == []


_PARENT = """
from workflow_scripts.errors import UserError
from workflow_scripts.processes import map_in_processes
calls = ["__import__('os').getpid()", "__import__('time').sleep(600)"]
found = map_in_processes(eval, calls, workers=1, crashed=str)
print(next(found), flush=True)
next(found)
"""


def _runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state not in "ZX"


def test_workers_end_with_a_parent_that_was_killed():
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    with subprocess.Popen(
        [sys.executable, "-c", _PARENT], stdout=subprocess.PIPE, text=True, env=environment
    ) as parent:
        worker = int(parent.stdout.readline())
        alive = _runs(worker)
        parent.kill()
    assert alive
    for _ in range(2000):
        if not _runs(worker):
            break
        time.sleep(0.05)
    else:
        os.kill(worker, signal.SIGKILL)
        pytest.fail("the worker outlived its parent")
