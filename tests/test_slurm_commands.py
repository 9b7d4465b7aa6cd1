"""Slurm's commands are asked with a time limit, and what they print is read into rows."""

import datetime
import subprocess
import sys
import time

import pytest

from tests.fake_slurm import line, program, squeue
from workflow_scripts import slurm


def test_a_job_of_this_folder_is_read(tmp_path, monkeypatch):
    here = tmp_path / "work"
    here.mkdir()
    (tmp_path / "link").symlink_to(here)
    rows = (
        line(1207, here, "rule_tile_wildcards_terra_2020-01-02", state="PENDING", nodes="1",
             start="N/A", end="N/A", reason="AssocMaxJobsLimit"),
        line(96, tmp_path / "link", "rule_pretrain_wildcards_base_mae_3"),
        line(97, tmp_path / "other", "rule_pretrain_wildcards_base_mae_3"),
        line(98, here, "(null)"),
        line(99, here, "rule_report", nodes="2-4"),
    )  # fmt: skip
    monkeypatch.setenv("PATH", squeue(tmp_path, *rows))
    trained, page, tiled = slurm.jobs(here)
    assert (trained.number, trained.rule, trained.wildcards) == ("96", "pretrain", "base_mae_3")
    assert (trained.state, trained.nodes, trained.waits) == ("RUNNING", 2, False)
    assert trained.start == datetime.datetime(2026, 11, 21, 12, 30)
    assert (page.title, page.nodes) == ("report", None)
    assert (tiled.title, tiled.waits, tiled.start) == ("tile terra_2020-01-02", True, None)
    assert tiled.reason == "AssocMaxJobsLimit"


def test_a_job_that_lingers_on_a_broken_node_is_not_waited_for(tmp_path, monkeypatch):
    now = datetime.datetime.now()
    ends = [now - datetime.timedelta(minutes=minutes) for minutes in (1, 60)]
    rows = [
        line(number, tmp_path, "rule_pack_wildcards_a", state="COMPLETING",
             end=end.isoformat("T", "seconds"))
        for number, end in enumerate(ends)
    ]  # fmt: skip
    monkeypatch.setenv("PATH", squeue(tmp_path, *rows))
    assert [job.number for job in slurm.jobs(tmp_path)] == ["0"]


@pytest.mark.parametrize("script", [None, "exit 1", "exec sleep 60"])
def test_no_answer_is_told_from_an_empty_queue(tmp_path, monkeypatch, script):
    if script:
        program(tmp_path / "bin", "squeue", script)
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}:/bin" if script else str(tmp_path))
    began = time.monotonic()
    assert slurm.jobs(tmp_path, limit_s=0.5) is None
    assert time.monotonic() - began < 30
    program(tmp_path / "bin", "squeue", "exit 0")
    monkeypatch.setenv("PATH", f"{tmp_path / 'bin'}")
    assert slurm.jobs(tmp_path) == []


def test_a_users_own_formats_do_not_reach_the_command(tmp_path, monkeypatch):
    program(tmp_path, "squeue", 'echo "${SQUEUE_STATES:-none} ${SLURM_TIME_FORMAT:-none} $HOME"')
    monkeypatch.setenv("SQUEUE_STATES", "RUNNING")
    monkeypatch.setenv("SLURM_TIME_FORMAT", "relative")
    monkeypatch.setenv("HOME", "/home/me")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.ask("squeue") == "none none /home/me\n"


def test_how_jobs_ended_is_read_from_the_accounting(tmp_path, monkeypatch):
    program(tmp_path, "sacct", "echo '7|CANCELLED by 1001'; echo '8|NODE_FAIL'")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert slurm.ends(["7", "8", "9"]) == {"7": "CANCELLED by 1001", "8": "NODE_FAIL"}
    program(tmp_path, "sacct", "exit 1")
    assert slurm.ends(["7"]) == {}


def test_energy_of_steps_is_read_and_what_a_site_does_not_gather_is_not_zero(tmp_path, monkeypatch):
    rows = ("7.0|5400000", "7.1|0", "8.0|", "9.0|18446744073709551614", "7.10|77", "x")
    program(tmp_path, "sacct", "".join(f"echo '{row}'\n" for row in rows))
    monkeypatch.setenv("PATH", str(tmp_path))
    asked = ["7.0", "7.1", "8.0", "9.0", "10.0"]
    assert slurm.consumed_joules(asked) == {"7.0": 5.4e6}
    assert slurm.consumed_joules([]) == {}
    program(tmp_path, "sacct", "exit 1")
    assert slurm.consumed_joules(asked) == {}


def test_an_sbatch_on_its_way_is_seen(tmp_path):
    """A process has the name of its program: this is a Python that is called sbatch."""
    assert slurm.submitting(tmp_path) == []
    code = (
        "import ctypes, sys, time; ctypes.CDLL(None).prctl(15, b'sbatch', 0, 0, 0);"
        "print('named', flush=True); time.sleep(60)"
    )
    sbatch = subprocess.Popen(
        [sys.executable, "-c", code], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        assert sbatch.stdout.readline() == "named\n"
        assert slurm.submitting(tmp_path) == [sbatch.pid]
    finally:
        sbatch.kill()
        sbatch.communicate()
