"""A file that exists is whole, equal values give equal bytes, and one writer works at a time."""

import errno
import os
import re
import socket
import subprocess
import sys
import threading
import time

import pytest

from tests.conftest import ROOT
from workflow_scripts.errors import UserError
from workflow_scripts.files import atomic, exclusive, read_json, read_object, write_json


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
    path = tmp_path / "result.txt"
    path.write_text("old")

    def fail():
        with atomic(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        fail()
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["result.txt"]


FULL = """
import argparse
from pathlib import Path
from workflow_scripts.files import write_json
from workflow_scripts.stage import add_log, run_program
parser = argparse.ArgumentParser()
add_log(parser)
run_program(parser, lambda _: write_json(Path("result.json"), [1]))
"""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_lock_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    lock = tmp_path / ".a.json.lock"
    lock.symlink_to("/dev/full")
    monkeypatch.setattr("workflow_scripts.files.fcntl.flock", lambda *_: None)
    with pytest.raises(OSError, match=r"\.a\.json\.lock"), exclusive(tmp_path / "a.json"):
        pass


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_told_in_a_line_that_names_the_file(tmp_path):
    (tmp_path / ".result.json.tmp").symlink_to("/dev/full")
    done = subprocess.run(
        [sys.executable, "-c", FULL], cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 1
    assert "No space left on device: 'result.json'; make room" in done.stderr
    assert "Traceback" not in done.stderr
    assert os.listdir(tmp_path) == []


def test_what_a_kill_left_half_written_is_overwritten(tmp_path):
    path = tmp_path / "result.txt"
    (tmp_path / ".result.txt.tmp").write_text("half of another")
    with atomic(path) as temporary:
        assert not path.exists()
        temporary.write_text("whole")
    assert path.read_text() == "whole"
    assert os.listdir(tmp_path) == ["result.txt"]


def test_equal_values_give_equal_bytes(tmp_path):
    write_json(tmp_path / "a.json", {"b": [1, 2.5], "a": "é"})
    write_json(tmp_path / "b.json", {"a": "é", "b": [1, 2.5]})
    assert (tmp_path / "a.json").read_bytes() == (tmp_path / "b.json").read_bytes()


def test_a_number_that_json_does_not_know_is_refused(tmp_path):
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert not (tmp_path / "a.json").exists()


@pytest.mark.parametrize(
    ("text", "words"),
    [(None, "no such file"), ("{", "not valid JSON"), ('{"a": NaN}', "NaN in place of a number"),
     ("[-Infinity]", "-Infinity in place of a number")],
)  # fmt: skip
def test_unreadable_json_is_named(tmp_path, text, words):
    path = tmp_path / "a.json"
    if text is not None:
        path.write_text(text)
    with pytest.raises(UserError, match=words) as error:
        read_json(path)
    assert str(path) in str(error.value)


HOLD = """
import sys, time
from pathlib import Path
from workflow_scripts.files import exclusive
with exclusive(Path(sys.argv[1])):
    print("held", flush=True)
    time.sleep(60)
"""


def test_a_second_writer_waits_until_the_first_is_gone_however_it_ends(tmp_path, caplog):
    path = tmp_path / "index.json"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout.readline() == "held\n"
    waiter = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE,
        stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert f"being made by process {holder.pid}" in waiter.stderr.readline()
    time.sleep(0.3)
    assert waiter.poll() is None
    holder.kill()
    holder.wait()
    assert waiter.stdout.readline() == "held\n"
    waiter.kill()
    waiter.communicate()
    with exclusive(path):
        assert f"process {os.getpid()}" in (tmp_path / ".index.json.lock").read_text()


def test_one_who_may_not_wait_is_stopped_with_process_host_and_job_of_the_holder(tmp_path):
    path = tmp_path / "run.json"
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(path)], cwd=ROOT, stdout=subprocess.PIPE, text=True,
        env={**os.environ, "SLURM_JOB_ID": "4711"},
    )  # fmt: skip
    assert holder.stdout.readline() == "held\n"
    who = f"run x is being made by process {holder.pid} on {socket.gethostname()}, job 4711, and"
    with pytest.raises(UserError, match=re.escape(who)), exclusive(path, wait_s=0.3, what="run x"):
        pass
    holder.kill()  # with SIGKILL: its note stays in the lock file, its lock does not
    holder.communicate()
    assert "4711" in (tmp_path / ".run.json.lock").read_text()
    with exclusive(path, wait_s=0):
        assert f"process {os.getpid()}" in (tmp_path / ".run.json.lock").read_text()


def test_a_file_system_without_locks_is_refused(tmp_path, monkeypatch):
    def without(*_):
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr("fcntl.flock", without)
    words = r"\.run\.json\.lock: this file system has no locks .*mounted with flock"
    with pytest.raises(UserError, match=words), exclusive(tmp_path / "run.json"):
        pass


def test_a_lock_that_is_removed_at_the_end_still_lets_one_work_at_a_time(tmp_path):
    """Who waited on the removed file must not work beside who made the next one."""
    inside, most, done = 0, 0, 0

    def work():
        nonlocal inside, most, done
        for _ in range(100):
            with exclusive(tmp_path / "a", clear=True):
                inside += 1
                most = max(most, inside)
                time.sleep(0)
                inside -= 1
                done += 1

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (most, done) == (1, 400)
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[1]", r"holds \[1\], expected an object"),
        ('{"a": "x"}', "'a' is \"x\""),
        ("{}", "'a' is missing"),
        (None, "cannot be read"),
    ],
)
def test_an_object_of_another_kind_is_told(tmp_path, text, told):
    path = tmp_path / "a.json"
    if text is None:
        path.mkdir()
    else:
        path.write_text(text)
    with pytest.raises(UserError, match=rf"a\.json: {told}"):
        read_object(path, a=int)
    write_json(tmp_path / "b.json", {"a": 1, "more": None})
    assert read_object(tmp_path / "b.json", a=int) == {"a": 1, "more": None}
