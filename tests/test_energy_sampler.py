"""Power and utilisation over time: rows, resumed and killed runs, ranks, counters that go away."""

import itertools
import json
import math
import threading
import time

import pytest
from tiny_runs import run_ranks

from workflow_scripts.energy import sampler
from workflow_scripts.energy.counters.kinds import Counter, Gauge, Load
from workflow_scripts.energy.rank import Energy
from workflow_scripts.energy.sampler import POWER, Reading, Sampler, resume, row_of
from workflow_scripts.errors import UserError
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.launch import Ranks


class Clock:
    """The sampler's clock: a second later at each look, however busy the machine is."""

    def __init__(self):
        self.now = 0.0

    def monotonic(self):
        self.now += 1.0
        return self.now


@pytest.fixture
def clock(monkeypatch):
    own = Clock()
    monkeypatch.setattr(sampler, "time", own)
    return own


def constant(watts, clock):
    """A counter of something that takes so much power."""
    return Counter(name="node", read=lambda: 1000.0 + watts * clock.now)


def rows_of(folder):
    return [json.loads(line) for line in (folder / POWER).read_text().splitlines()]


def wait_for(folder, count):
    until = time.monotonic() + 300
    path = folder / POWER
    while time.monotonic() < until:
        if path.is_file() and len(path.read_bytes().splitlines()) >= count:
            return
        time.sleep(0.005)
    raise AssertionError(f"{path}: no {count} lines")


def sampling(folder, energy, ranks=None, *, counted=True, period_s=0.02):
    return Sampler(
        ranks or Ranks(), energy, counted=counted, folder=folder,
        progress=lambda: (12.345, 7), period_s=period_s,
    )  # fmt: skip


def test_power_is_the_slope_of_the_counter_and_load_is_as_read(tmp_path, clock):
    load = Gauge(name="GPU", read=lambda: Load(0.75, 3e9))
    with sampling(tmp_path, Energy(Ranks(), node=[constant(250.0, clock)], own=None, load=load)):
        wait_for(tmp_path, 3)
    for row in rows_of(tmp_path):
        assert list(row) == ["seconds", "step", "watts", "utilisation", "memory_bytes"]
        assert row["watts"] == 250
        assert (row["seconds"], row["step"]) == (12.35, 7) or row["seconds"] == 12.34
        assert (row["utilisation"], row["memory_bytes"]) == (0.75, 3 * 10**9)


def test_without_counters_nothing_is_zero(tmp_path):
    with sampling(tmp_path, Energy(Ranks(), node=[], own=None), counted=False):
        wait_for(tmp_path, 2)
    for row in rows_of(tmp_path):
        assert (row["watts"], row["utilisation"], row["memory_bytes"]) == (None, None, None)


def test_a_counter_slower_than_the_sampler_tells_energy_and_no_power_over_time(tmp_path, clock):
    slow = Counter(name="node", read=constant(250.0, clock).read, every_s=30.0)
    energy = Energy(Ranks(), node=[slow], own=None)
    with sampling(tmp_path, energy):
        wait_for(tmp_path, 3)
    assert {row["watts"] for row in rows_of(tmp_path)} == {None}
    assert energy.joules() > 0


def test_a_counter_that_goes_away_leaves_gaps_and_comes_back(tmp_path, clock):
    steady = constant(100.0, clock)
    readings = itertools.count()

    def read():
        if next(readings) in (3, 4):
            raise PermissionError("energy_uj")
        return steady.read()

    failing = Counter(name="node", read=read)
    with sampling(tmp_path, Energy(Ranks(), node=[failing], own=None)):
        wait_for(tmp_path, 7)
    watts = [row["watts"] for row in rows_of(tmp_path)]
    # Readings 3 and 4 fail (0 is the start, 1 the first of the thread): no power there nor after.
    assert watts[:5] == [100, None, None, None, 100]


def test_a_counter_that_begins_again_tells_nothing_from_then_on(tmp_path):
    values = itertools.chain([1000.0, 1001.0, 1002.0], itertools.repeat(3.0))
    with sampling(
        tmp_path, Energy(Ranks(), node=[Counter(name="n", read=values.__next__)], own=None)
    ):
        wait_for(tmp_path, 4)
    first, *rest = [row["watts"] for row in rows_of(tmp_path)]
    assert first > 0
    assert rest
    assert set(rest) == {None}


def test_the_loop_does_not_wait_for_a_counter_that_hangs(tmp_path, monkeypatch):
    monkeypatch.setattr(sampler, "_LEAVE", 0.1)
    hangs, free = threading.Event(), threading.Event()
    calls = itertools.count()

    def read():
        if next(calls) > 1:
            hangs.set()
            free.wait(60)
        return 5.0

    with sampling(tmp_path, Energy(Ranks(), node=[Counter(name="n", read=read)], own=None)):
        assert hangs.wait(30)
    assert not free.is_set()  # it has left though the thread has not
    free.set()


def test_a_disk_that_is_full_ends_sampling_and_not_training(tmp_path, caplog, clock):
    folder = tmp_path / "none"  # no such folder: opening the file fails
    one = sampling(folder, Energy(Ranks(), node=[constant(1.0, clock)], own=None))
    with one:
        one._thread.join(30)
    assert "power is sampled no more" in caplog.text


def test_ranks_are_added_up_and_what_one_did_not_measure_is_not_told():
    both = row_of([Reading(100.0, 0.5, 1e9), Reading(50.5, 1.0, 3e9)], seconds=1.0, step=2)
    assert both == {"seconds": 1.0, "step": 2, "watts": 150.5, "utilisation": 0.75,
                    "memory_bytes": 3 * 10**9}  # fmt: skip
    gap = row_of([Reading(100.0, 0.5, math.nan), Reading(math.nan, 1.0, 3e9)], seconds=1, step=2)
    assert (gap["watts"], gap["utilisation"], gap["memory_bytes"]) == (None, 0.75, None)


def test_a_resumed_run_cuts_what_it_trains_again_and_a_line_that_a_kill_cut_off(tmp_path):
    resume(tmp_path, seconds=0.0)
    assert (tmp_path / POWER).read_text() == ""
    lines = [f'{{"seconds": {seconds}, "step": {seconds}}}' for seconds in (5, 10, 15)]
    (tmp_path / POWER).write_text("\n".join([*lines, '{"seconds": 2']))
    resume(tmp_path, seconds=12.0)
    assert [row["seconds"] for row in rows_of(tmp_path)] == [5, 10]
    (tmp_path / POWER).write_text("nonsense\n" + lines[0] + "\n")
    with pytest.raises(UserError, match=r"power\.jsonl: line 1 of 2 .*; delete this line"):
        resume(tmp_path, seconds=12.0)


def two_nodes(ranks, folder):
    """Two ranks, each the first of its node, whose node takes 100 W and 200 W."""
    parallel.join(ranks, timeout_s=120)
    own = Ranks(rank=ranks.rank, world=2, local_rank=0, local_world=1)
    watts = (100.0, 200.0)[ranks.rank]
    sampler.time = clock = Clock()  # in this rank's process
    load = Gauge(name="GPU", read=lambda: Load(0.5 + 0.2 * ranks.rank, 1e9 * (1 + ranks.rank)))
    energy = Energy(own, node=[constant(watts, clock)], own=None, load=load)
    with sampling(folder, energy, own):
        wait_for(folder, 5)
    parallel.from_first(0, parallel_device())
    parallel.leave()


def parallel_device():
    import torch

    return torch.device("cpu")


@pytest.mark.distributed
def test_two_real_ranks_make_one_line(tmp_path):
    run_ranks(2, two_nodes, tmp_path)
    for row in rows_of(tmp_path):
        assert row["watts"] == 300
        assert (row["utilisation"], row["memory_bytes"]) == (0.6, 2 * 10**9)
