"""Jobs are submitted when Slurm's controller answers, and not before."""

from types import SimpleNamespace

import pytest
from snakemake_executor_plugin_slurm import Executor

from tests import fake_slurm
from workflow_scripts import submission
from workflow_scripts.errors import UserError


def test_a_job_waits_for_slurm_and_is_submitted_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    submitted, pauses = [], []
    monkeypatch.setattr(Executor, "run_job", lambda _, job: submitted.append((job, len(pauses))))
    submission.submit_patiently()
    monkeypatch.setenv("PATH", fake_slurm.squeue(tmp_path))
    fake_slurm.program(tmp_path / "bin", "squeue", "exit 1")  # as without a controller

    def pause(_):
        pauses.append(1)
        if len(pauses) == 3:
            fake_slurm.squeue(tmp_path)

    # Its own alone: subprocess sleeps, too.
    monkeypatch.setattr(submission, "time", SimpleNamespace(sleep=pause))
    for job in ("first", "second"):
        Executor.run_job(None, job)
    assert submitted == [("first", 3), ("second", 3)]
    assert caplog.text.count("squeue does not answer") == 1


def test_another_plugin_is_refused(monkeypatch):
    monkeypatch.delattr(Executor, "run_job")
    with pytest.raises(UserError, match=r"constraints\.txt"):
        submission.submit_patiently()
