"""What a point that was not measured means: a result of the study, or nothing to keep."""

import errno

import pytest
import torch

from workflow_scripts.errors import UserError
from workflow_scripts.scaling import endings
from workflow_scripts.scaling.endings import Ending, of_exception, of_log, one_line

# As Slurm 23.11's programs and torch write them, shortened.
KILLED = "srun: error: frontier00002: task 3: Killed"
CANCELLED = "slurmstepd: error: *** STEP 12.0 ON frontier00001 CANCELLED AT 2026-11-22T01:00:00 ***"
BY_FAILURE = f"{CANCELLED[:-4]} DUE to TASK FAILURE ***"
BY_LIMIT = f"{CANCELLED[:-4]} DUE TO TIME LIMIT ***"
BY_PREEMPTION = f"{CANCELLED[:-4]} DUE TO PREEMPTION ***"
OOM = (
    "slurmstepd: error: Detected 1 oom_kill event in StepId=12.0. Some of the step tasks have been"
)
PARENT = "2026-11-22 01:00:00 ERROR rank 1 (process 77 on here) was ended by"


def marked(status, error):
    return f"2026-11-22 01:00:00 ERROR POINT ENDED {status}: {error}"


@pytest.mark.parametrize(
    ("error", "status"),
    [
        (torch.OutOfMemoryError("HIP out of memory. Tried to allocate 2 GiB"), "out_of_memory"),
        (RuntimeError("[enforce fail] DefaultCPUAllocator: can't allocate memory: you tried"),
         "out_of_memory"),
        (MemoryError(), "out_of_memory"),
        (RuntimeError("HIP error: out of memory\nHIP kernel errors might be"), "out_of_memory"),
        (RuntimeError("NCCL error: Cuda failure 2 'out of memory'"), "out_of_memory"),
        (RuntimeError("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling"), "out_of_memory"),
        (OSError(errno.ENOMEM, "Cannot allocate memory"), "out_of_memory"),
        (RuntimeError("NCCL error"), "failed"),
        (FloatingPointError("a loss was not finite"), "failed"),
        (OSError(errno.EIO, "input/output error"), "failed"),
        (OSError(errno.ENOSPC, "no space left on device"), "no_result"),
        (OSError(errno.EDQUOT, "quota exceeded"), "no_result"),
        (ModuleNotFoundError("no module named timm"), "no_result"),
        (UserError("shard-00001.h5: damaged"), "no_result"),
    ],
)  # fmt: skip
def test_an_exception_is_a_result_where_it_would_come_again(error, status):
    assert of_exception(error).status == status


def test_running_out_of_memory_is_told_apart_from_other_errors_of_torch():
    with pytest.raises(RuntimeError) as error:
        torch.empty(2**60)
    assert of_exception(error.value).status == "out_of_memory"


@pytest.mark.parametrize(
    ("exit_status", "lines", "status"),
    [
        (1, [marked("failed", "a"), marked("out_of_memory", "b")], "out_of_memory"),
        (1, [marked("timeout", "a"), marked("failed", "b")], "timeout"),
        (1, [marked("failed", "connection closed"), marked("no_result", "damaged")], "no_result"),
        (137, [marked("out_of_memory", "a"), BY_FAILURE, KILLED], "out_of_memory"),
        (137, [OOM, BY_FAILURE, KILLED], "out_of_memory"),
        (137, [BY_FAILURE, KILLED], "failed"),
        (139, ["srun: error: n1: task 0: Segmentation fault (core dumped)"], "failed"),
        (1, [f"{PARENT} SIGKILL (out of memory, perhaps)"], "failed"),
        (1, [f"{PARENT} SIGSEGV"], "failed"),
        (137, [], "failed"),
        (143, [BY_LIMIT], "timeout"),
        (143, [CANCELLED, "srun: error: n1: task 0: Terminated"], "no_result"),
        (137, [CANCELLED, KILLED], "no_result"),
        (137, [BY_PREEMPTION, KILLED], "no_result"),
        (1, [f"{PARENT} SIGTERM"], "no_result"),
        (143, [], "no_result"),
        (130, [], "no_result"),
        (127, ["bash: srun: command not found"], "no_result"),
        (1, ["Traceback (most recent call last):", "ImportError: libamdhip64.so"], "no_result"),
        (1, [], "no_result"),
    ],
)  # fmt: skip
def test_the_end_of_a_job_is_read_from_its_log_and_its_exit_status(exit_status, lines, status):
    assert of_log(exit_status, "\n".join(["an earlier line", *lines])).status == status


def test_what_a_rank_says_is_found_again(caplog, monkeypatch):
    told = Ending(status="failed", error="RuntimeError: it broke")
    monkeypatch.setattr(endings.log, "propagate", True)
    endings.say(told)
    assert of_log(1, "\n".join(f"now ERROR {line}" for line in caplog.messages)) == told


def test_an_error_is_one_line_without_folders_and_secrets():
    text = "cannot open /lustre/orion/abc123/x/data/shard-00001.h5: HF_TOKEN=hf_abc\nTraceback …"
    assert one_line(text) == "cannot open shard-00001.h5: HF_TOKEN=…"
    assert len(one_line("x" * 5000)) <= 300


@pytest.mark.parametrize(
    ("line", "told"),
    [
        (KILLED, "srun: error: task 3: Killed"),
        ("srun: error: n1.site.org: tasks 0-7: Killed", "srun: error: tasks 0-7: Killed"),
        (CANCELLED, CANCELLED.replace(" ON frontier00001", "")),
        (f"{PARENT} SIGSEGV", "rank 1 (process 77) was ended by SIGSEGV"),
        ("Connection closed by peer [10.128.4.7]:4512", "Connection closed by peer "),
        ("to 10.128.4.7:4512 failed, RCCL 2.20.5.1", "to  failed, RCCL 2.20.5.1"),
    ],
)
def test_an_error_names_no_host_and_no_address(line, told):
    assert one_line(line) == told


def test_of_a_long_log_the_end_is_read(tmp_path):
    log = tmp_path / "a.log"
    log.write_text("x\n" * 2**21 + marked("timeout", "late"))
    assert of_log(124, endings.end_of(log)) == Ending(status="timeout", error="late")
    assert endings.end_of(tmp_path / "none.log") == ""
