"""Submitting jobs only while Slurm's controller answers.

While it is away (restarted, its host in maintenance) sbatch fails within a second, and the three
attempts of a segment would be lost in as many: the chain would end, and nobody would be there.
"""

import time
from collections.abc import Callable
from typing import Any

from workflow_scripts import slurm
from workflow_scripts.errors import UserError
from workflow_scripts.logs import log

_PAUSE_SECONDS = 30.0
Submit = Callable[[Any, Any], None]


def waiting(submit: Submit) -> Submit:
    """The plugin's submission of a job (in a thread of its own), begun when Slurm answers."""

    def begun_later(executor: Any, job: Any) -> None:
        told = False
        while not slurm.answers():
            if not told:
                log.warning("squeue does not answer: jobs are submitted when it does")
            told = True
            time.sleep(_PAUSE_SECONDS)
        submit(executor, job)

    return begun_later


def submit_patiently() -> None:
    """Let the Slurm plugin of this process wait for Slurm before it submits.

    Raises:
        UserError: The plugin is another one than this was written for.
    """
    from snakemake_executor_plugin_slurm import Executor

    name = "run_job"
    if name not in vars(Executor):  # its base class has one that does nothing
        raise UserError(
            f"this version of the Slurm plugin has no Executor.{name}: install the one that "
            "envs/constraints.txt names"
        )
    setattr(Executor, name, waiting(getattr(Executor, name)))
