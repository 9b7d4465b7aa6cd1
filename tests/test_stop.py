"""What ends a segment: signals and the deadline, and what they mean."""

import os
import signal

import pytest

from workflow_scripts.pretrain import stop
from workflow_scripts.pretrain.stop import StopRequest, Wish, training_time


@pytest.fixture(autouse=True)
def _started_now(monkeypatch):
    monkeypatch.setattr(stop, "seconds_since_start", lambda: 0.0)
    taken = (signal.SIGTERM, signal.SIGINT, signal.SIGUSR1)
    before = {number: signal.getsignal(number) for number in taken}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_the_time_is_up_at_the_deadline_less_the_reserve(monkeypatch):
    assert StopRequest().asked(reserve=1e9) == Wish.GO_ON
    assert StopRequest(0.0).asked() == Wish.WALLTIME
    request = StopRequest(100.0)
    assert request.asked(reserve=50) == Wish.GO_ON
    assert request.asked(reserve=150) == Wish.WALLTIME
    monkeypatch.setattr(stop, "seconds_since_start", lambda: 150.0)
    assert StopRequest(100.0).asked() == Wish.WALLTIME


def test_a_tenth_of_the_walltime_or_five_minutes_is_left_for_the_end():
    assert training_time(600) == 540
    assert training_time(7200) == 6900
    assert training_time(float("inf")) == float("inf")


def test_usr1_means_walltime_and_term_means_stop_which_counts_more():
    request = StopRequest()
    request.heed()
    os.kill(os.getpid(), signal.SIGUSR1)
    assert request.asked() == Wish.WALLTIME
    os.kill(os.getpid(), signal.SIGTERM)
    os.kill(os.getpid(), signal.SIGUSR1)
    assert request.asked() == Wish.STOP
    request.deadline = 0.0
    assert request.asked() == Wish.STOP


def test_the_second_ctrl_c_does_not_wait():
    request = StopRequest()
    request.heed()
    os.kill(os.getpid(), signal.SIGINT)
    assert request.asked() == Wish.STOP
    with pytest.raises(KeyboardInterrupt):
        signal.raise_signal(signal.SIGINT)


def test_before_it_is_heeded_term_ends_the_process_as_any_other():
    before = signal.getsignal(signal.SIGTERM)
    request = StopRequest()
    assert signal.getsignal(signal.SIGTERM) is before
    request.heed()
    assert signal.getsignal(signal.SIGTERM) is not before
