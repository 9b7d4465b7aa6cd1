"""A step of srun, as its tasks see it: the only home of Slurm's variables that concern ranks."""

import os
import re
import socket
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Step:
    """This process's place among the tasks of an srun.

    Attributes:
        name: Of the step, unlike that of any other, also of the same job before it was requeued.
        job: The job's number.
        nodes: Slurm's names of the step's nodes.
        node: The one that this task is on.
        task: Number of this task.
        tasks: Tasks of the step.
        local_task: Number of this task on its node.
        local_tasks: Tasks on its node.
    """

    name: str
    job: str
    nodes: tuple[str, ...]
    node: str
    task: int
    tasks: int
    local_task: int
    local_tasks: int


def step_of(environment: Mapping[str, str] = os.environ) -> Step | None:
    """The srun step of several tasks that this process is one of, or None.

    A batch script and a step of one task have a task number too: they are no step of ranks.
    """
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if tasks == 1 or not {"SLURM_PROCID", "SLURM_LOCALID", "SLURM_STEP_ID"} <= environment.keys():
        return None
    job = environment["SLURM_JOB_ID"]
    # Numbers of steps begin again when a job is requeued; srun's port is seldom the same again.
    parts = [job, environment["SLURM_STEP_ID"]]
    parts += [
        environment[name]
        for name in ("SLURM_RESTART_COUNT", "SLURM_STEP_LAUNCHER_PORT")
        if name in environment
    ]
    shares = tasks_by_node(environment.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)))
    return Step(
        name=".".join(parts),
        job=job,
        nodes=tuple(hosts(environment.get("SLURM_STEP_NODELIST", ""))),
        node=environment.get("SLURMD_NODENAME") or socket.gethostname(),
        task=int(environment["SLURM_PROCID"]),
        tasks=tasks,
        local_task=int(environment["SLURM_LOCALID"]),
        local_tasks=shares[int(environment.get("SLURM_NODEID", "0"))],
    )


def tasks_by_node(text: str) -> list[int]:
    """Tasks of each node from Slurm's short form: `8(x2),4` → 8, 8, 4."""
    found = re.findall(r"(\d+)(?:\(x(\d+)\))?", text)
    return [int(tasks) for tasks, times in found for _ in range(int(times or 1))]


def hosts(nodes: str) -> list[str]:
    """The names in a Slurm node list: `n[08-10,12],m1` → n08, n09, n10, n12, m1."""
    found = []
    for part in re.findall(r"(?:[^,\[]|\[[^\]]*\])+", nodes):
        head, bracket, rest = part.partition("[")
        inside, _, tail = rest.partition("]")
        numbers = _numbers(inside) if bracket else [""]
        found += [head + number + end for number in numbers for end in hosts(tail) or [""]]
    return found


def _numbers(text: str) -> list[str]:
    """`08-10,12` → 08, 09, 10, 12."""
    found = []
    for part in text.split(","):
        first, _, last = part.partition("-")
        count = range(int(first), int(last or first) + 1)
        found += [str(number).zfill(len(first)) for number in count]
    return found
