"""Trainers with the variables that srun gives its tasks, on pretended nodes."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tiny_runs import ROOT, arguments


def srun_variables(
    rank: int, *, nodes: int = 2, per_node: int = 1, job: str = "4711", **more: str
) -> dict[str, str]:
    """What a task sees; `more` is added."""
    names = f"frontier[00001-{nodes:05d}]" if nodes > 1 else "frontier00001"
    return {
        "SLURM_JOB_ID": job, "SLURM_STEP_ID": "0", "SLURM_PROCID": str(rank),
        "SLURM_LOCALID": str(rank % per_node), "SLURM_NODEID": str(rank // per_node),
        "SLURM_STEP_NUM_TASKS": str(nodes * per_node), "SLURM_STEP_NODELIST": names,
        "SLURM_STEP_TASKS_PER_NODE": f"{per_node}(x{nodes})" if nodes > 1 else str(per_node),
        "SLURMD_NODENAME": f"frontier{rank // per_node + 1:05d}", **more,
    }  # fmt: skip


def task(
    rank: int, recipe: dict[str, Any], index: Path, run: Path, *options: str,
    variables: dict[str, str] | None = None, ranks: int = 2,
) -> subprocess.Popen[str]:  # fmt: skip
    """One task of a step, started as a process of its own."""
    given = variables if variables is not None else srun_variables(rank)
    return subprocess.Popen(
        [sys.executable, "-m", "workflow_scripts.pretrain",
         *arguments(recipe, index, run, "--ranks", str(ranks), *options)],
        cwd=ROOT, env={**os.environ, "OMP_NUM_THREADS": "1", **given}, text=True,
        stderr=subprocess.PIPE,
    )  # fmt: skip
