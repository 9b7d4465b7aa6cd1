"""Trainers with the variables that srun gives its tasks, on pretended nodes."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from tiny_runs import ROOT, arguments


def srun_variables(
    rank: int, *, nodes: int = 2, per_node: int = 1, job: str = "4711"
) -> dict[str, str]:
    """What a task sees of its step."""
    return {
        "SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node), "SLURM_NODEID": str(rank // per_node),
        "SLURM_STEP_NUM_TASKS": str(nodes * per_node),
        "SLURM_STEP_NODELIST": f"frontier[00001-{nodes:05d}]",
        "SLURM_STEP_TASKS_PER_NODE": f"{per_node}(x{nodes})",
        "SLURMD_NODENAME": f"frontier{rank // per_node + 1:05d}",
    }  # fmt: skip


@contextlib.contextmanager
def in_step(monkeypatch: pytest.MonkeyPatch, rank: int, **step: Any) -> Iterator[None]:
    """This process is a task of a step."""
    with monkeypatch.context() as patched:
        for name, value in srun_variables(rank, **step).items():
            patched.setenv(name, value)
        yield


def task(
    rank: int, recipe: dict[str, Any], index: Path, run: Path, *options: str, ranks: int = 2,
    variables: dict[str, str] | None = None,
) -> subprocess.Popen[str]:  # fmt: skip
    """A task of a step, as a process of its own."""
    return subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.pretrain",
         *arguments(recipe, index, run, "--ranks", str(ranks), *options)],
        cwd=ROOT, text=True, stderr=subprocess.PIPE,
        env={**os.environ, "OMP_NUM_THREADS": "1", **(variables or srun_variables(rank))},
    )  # fmt: skip
