"""Room for granules on the disk: who gets it, who waits, and what the dead leave."""

import json
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.conftest import ROOT
from workflow_scripts.errors import UserError
from workflow_scripts.fetch.generated import claim, claimed, remove
from workflow_scripts.tile import room as module
from workflow_scripts.tile.room import room

HOLD = """
import sys
from pathlib import Path
from workflow_scripts.tile.room import room
folder = Path(sys.argv[1])
with room(folder, int(sys.argv[2]), int(sys.argv[3])):
    (folder / "granule.hdf").write_bytes(b"x" * int(sys.argv[2]))
    print("held", flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def raw(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "_LONGEST_POLL", 0.1)
    return tmp_path / "raw"


@contextmanager
def job(folder, need, budget):
    """A job of another process that holds room until it is told to end, or is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(folder), str(need), str(budget)],
        cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert process.stdout.readline() == "held\n"
        yield process
    finally:
        process.kill()
        process.wait()
        process.stdin.close()
        process.stdout.close()


def until(condition):
    """Wait for something that comes soon."""
    deadline = time.monotonic() + 20
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert condition()


def killed_job(folder, need, budget):
    with job(folder, need, budget):
        pass


def entries(raw):
    return sorted(path.name for path in (raw / ".room").iterdir() if path.name[0] != ".")


def test_room_is_held_while_the_block_runs_and_the_folder_is_claimed(raw):
    folder = raw / "terra" / "2026-01-01"
    with room(folder, 60, 100), room(raw / "aqua" / "2026-01-01", 40, 100):
        assert entries(raw) == ["aqua.2026-01-01", "terra.2026-01-01"]
        claim(folder)  # nobody else's
    assert entries(raw) == []
    assert not folder.exists()


def test_a_day_that_is_kept_takes_no_part_in_the_budget(raw):
    kept = raw / "terra" / "2026-01-01"
    with room(kept, 500, 100, keep=True), room(raw / "aqua" / "2026-01-01", 100, 100):
        (kept / "granule.hdf").write_bytes(b"x" * 500)
    assert entries(raw) == []
    with room(raw / "aqua" / "2026-01-01", 100, 100):
        assert (kept / "granule.hdf").exists()


def test_a_day_larger_than_the_budget_is_refused_with_the_numbers(raw):
    with (
        pytest.raises(UserError, match=r"are 3.5 GB, more than the 2 GB of transfer.budget_gb"),
        room(raw / "terra" / "2026-01-01", 3_500_000_000, 2_000_000_000),
    ):
        pass
    assert not raw.exists()


def test_a_job_waits_for_those_that_run_and_says_so(raw, caplog):
    order = []

    def tile():
        with room(raw / "terra" / "2026-01-02", 60, 100):
            order.append("second")

    with job(raw / "aqua" / "2026-01-01", 60, 100) as other:
        waiting = threading.Thread(target=tile)
        with caplog.at_level("INFO", logger="orbweaver"):
            waiting.start()
            until(lambda: "waiting for room" in caplog.text)
            with room(raw / "terra" / "2026-01-03", 40, 100):  # room for a smaller one
                pass
            order.append("first")
            other.stdin.write("\n")
            other.stdin.flush()
            waiting.join(timeout=20)
    assert order == ["first", "second"]
    assert "2026-01-02: waiting for room: 6e-08 GB needed" in caplog.text
    assert f"aqua 2026-01-01 (process {other.pid} on " in caplog.text
    assert entries(raw) == []


def test_a_day_that_another_process_has_is_waited_for(raw, caplog):
    folder = raw / "terra" / "2026-01-01"
    done = threading.Event()

    def tile():
        with room(folder, 10, 100):
            done.set()

    with job(folder, 10, 100) as other, caplog.at_level("INFO", logger="orbweaver"):
        waiting = threading.Thread(target=tile)
        waiting.start()
        until(lambda: f"waiting for process {other.pid} on " in caplog.text)
        assert not done.is_set()
        assert "who has this day" in caplog.text
        other.stdin.write("\n")
        other.stdin.flush()
        assert done.wait(20)
        waiting.join()


def test_what_a_dead_job_left_counts_until_the_room_is_needed_then_the_oldest_goes(raw):
    days = [raw / "terra" / f"2026-01-0{n}" for n in (1, 2, 3)]
    for day in days:
        killed_job(day, 300, 10_000)
        time.sleep(0.01)
    with room(raw / "terra" / "2026-01-04", 10, 2000):
        assert all(day.exists() for day in days)
    size = sum(path.stat().st_size for path in days[0].iterdir())
    with room(raw / "terra" / "2026-01-04", 60, 60 + 2 * size):
        assert [day.exists() for day in days] == [False, True, True]
        assert entries(raw)[0] == "terra.2026-01-02"


def test_nothing_of_a_living_job_is_removed_and_nothing_in_vain(raw, caplog):
    dead, living = raw / "terra" / "2026-01-01", raw / "terra" / "2026-01-02"
    killed_job(dead, 10, 1000)
    assert entries(raw) == ["terra.2026-01-01"]
    done = threading.Event()

    def tile():
        with room(raw / "terra" / "2026-01-03", 500, 1000):
            done.set()

    with job(living, 600, 1000) as other, caplog.at_level("INFO", logger="orbweaver"):
        waiting = threading.Thread(target=tile)
        waiting.start()
        until(lambda: "waiting for room" in caplog.text)
        assert not done.is_set()
        assert (dead / "granule.hdf").exists()  # its room would not have been enough
        assert (living / "granule.hdf").exists()
        other.stdin.write("\n")
        other.stdin.flush()
        assert done.wait(20)
        waiting.join()


def test_a_day_that_starts_again_takes_over_what_its_dead_job_left(raw):
    folder = raw / "terra" / "2026-01-01"
    killed_job(folder, 60, 100)
    with room(folder, 60, 100):
        assert (folder / "granule.hdf").exists()
        said = json.loads((raw / ".room" / "terra.2026-01-01").read_text())
        assert said["bytes"] == 60
    assert entries(raw) == []


def test_after_an_error_the_entry_stays_for_what_lies_there(raw):
    folder = raw / "terra" / "2026-01-01"

    def tile():
        with room(folder, 60, 100):
            (folder / "granule.hdf").write_bytes(b"x" * 60)
            raise UserError("no such granule")

    with pytest.raises(UserError, match="no such granule"):
        tile()
    assert entries(raw) == ["terra.2026-01-01"]
    with room(raw / "terra" / "2026-01-02", 60, 100):
        assert not folder.exists()


def test_an_entry_that_was_never_written_whole_counts_as_what_lies_in_its_folder(raw):
    folder = raw / "terra.new" / "2026-01-01"
    claim(folder)
    (folder / "granule.hdf").write_bytes(b"x" * 60)
    (raw / ".room").mkdir()
    (raw / ".room" / "terra.new.2026-01-01").write_text('{"byt')
    with room(raw / "terra" / "2026-01-02", 60, 100):
        assert not folder.exists()


def test_files_that_no_job_fetched_are_never_removed(raw):
    folder = raw / "terra" / "2026-01-01"
    killed_job(folder, 60, 100)
    (folder / ".generated").unlink()  # somebody took the folder over
    with room(raw / "terra" / "2026-01-02", 60, 100):
        assert (folder / "granule.hdf").exists()


def test_many_jobs_at_once_never_take_more_than_there_is(raw):
    taken, most, done = [], [], []
    guard = threading.Lock()

    def tile(number):
        with room(raw / "terra" / f"2026-01-{number:02d}", 30, 100):
            with guard:
                taken.append(number)
                most.append(len(taken))
            time.sleep(0.02)
            with guard:
                taken.remove(number)
                done.append(number)

    jobs = [threading.Thread(target=tile, args=(number,)) for number in range(1, 13)]
    for one in jobs:
        one.start()
    for one in jobs:
        one.join(timeout=30)
    assert sorted(done) == list(range(1, 13))
    assert max(most) <= 3
    assert entries(raw) == []


def test_a_removal_that_is_killed_leaves_the_mark_to_the_end(tmp_path, monkeypatch):
    folder = tmp_path / "2026-01-01"
    claim(folder)
    for name in ("b.hdf", ".b.hdf.verified", "a.hdf.part"):
        (folder / name).write_bytes(b"x")
    (folder / "more").mkdir()
    gone = []
    unlink = Path.unlink
    monkeypatch.setattr(
        Path, "unlink", lambda path, **how: (gone.append(path.name), unlink(path, **how))
    )
    remove(folder)
    assert not folder.exists()
    assert gone[-1] == ".generated"
    assert len(gone) == 4


def test_what_cannot_be_removed_stays_claimed(tmp_path, monkeypatch):
    folder = tmp_path / "2026-01-01"
    claim(folder)
    (folder / "a.hdf").write_bytes(b"x")

    def refuse(path, **how):
        raise PermissionError(path)

    with monkeypatch.context() as patch:
        patch.setattr(Path, "unlink", refuse)
        remove(folder)
    assert claimed(folder)
    assert (folder / "a.hdf").exists()
