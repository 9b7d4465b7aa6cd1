"""Which rank this process is, and the starting of ranks: the only home of launchers' variables.

Three ways to the same trainer: alone with `--ranks N` (this process starts N copies of its own
command and watches them), under torchrun, and under srun. The parent of local ranks holds the
run's lock; ranks die with their parent, and if one dies the others are ended at once.
"""

import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.logs import log

_RANK, _PARENT, _STORE = "ORBWEAVER_RANK", "ORBWEAVER_PARENT", "ORBWEAVER_STORE"
_DECIDED, _STARTED = "ORBWEAVER_DECIDED", "ORBWEAVER_STARTED"
STOPPED_STATUS = 128 + signal.SIGTERM  # exit status of a rank that was told to stop, and did
_POLL_SECONDS = 0.1
_OWN_START = time.time()


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place among the ranks of the job.

    `rendezvous` is where ranks meet (an `init_method` of torch.distributed), None for one rank.
    `must_spawn`: no launcher started ranks; this process is to start them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    rendezvous: str | None = None
    must_spawn: bool = False

    @property
    def is_first(self) -> bool:
        """True for the rank that writes files."""
        return self.rank == 0


def first_host(nodes: str) -> str:
    """The first host of a Slurm node list: `frontier[00012-00014,00020]` → `frontier00012`."""
    match = re.match(r"([^\[,]*)(?:\[([^\]\-,]*))?", nodes)
    return f"{match[1]}{match[2] or ''}" if match else nodes


def _slurm(environment: Mapping[str, str], wanted: int) -> Ranks | None:
    """The place in an srun step of several tasks; None outside one."""
    tasks = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if "SLURM_PROCID" not in environment or tasks == 1:
        return None
    _agree(tasks, wanted, "srun")
    nodes = environment.get("SLURM_STEP_NODELIST") or environment.get("SLURM_JOB_NODELIST", "")
    host = environment.get("MASTER_ADDR") or first_host(nodes) or "127.0.0.1"
    number = int(environment["SLURM_JOB_ID"]) * 7 + int(environment.get("SLURM_STEP_ID", "0"))
    port = environment.get("MASTER_PORT") or str(20000 + number % 10000)
    per_node = environment.get("SLURM_STEP_TASKS_PER_NODE", str(tasks)).split("(")[0].split(",")[0]
    return Ranks(
        rank=int(environment["SLURM_PROCID"]),
        world=tasks,
        local_rank=int(environment["SLURM_LOCALID"]),
        local_world=int(per_node),
        rendezvous=f"tcp://{host}:{port}",
    )


def _agree(found: int, wanted: int, launcher: str) -> None:
    if found != wanted:
        raise UserError(
            f"{launcher} started {found} ranks but --ranks says {wanted}; make them the same"
        )


def place(wanted: int, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Find this process's rank from whatever launched it.

    Args:
        wanted: Ranks of the whole job, as `--ranks` says.
        environment: The variables to read.

    Raises:
        UserError: The launcher started another number of ranks.
    """
    if wanted < 1:
        raise UserError(f"--ranks is {wanted}; it must be 1 or more")
    if _RANK in environment:
        rank = int(environment[_RANK])
        store = f"file://{environment[_STORE]}"
        return Ranks(rank=rank, world=wanted, local_rank=rank, local_world=wanted, rendezvous=store)
    if "TORCHELASTIC_RUN_ID" in environment:
        world = int(environment["WORLD_SIZE"])
        _agree(world, wanted, "torchrun")
        return Ranks(
            rank=int(environment["RANK"]),
            world=world,
            local_rank=int(environment["LOCAL_RANK"]),
            local_world=int(environment["LOCAL_WORLD_SIZE"]),
            rendezvous="env://" if world > 1 else None,
        )
    return _slurm(environment, wanted) or Ranks(world=wanted, must_spawn=wanted > 1)


def decided(environment: Mapping[str, str] = os.environ) -> str | None:
    """In a rank that a parent with the run's lock started: what the parent decided."""
    return environment.get(_DECIDED)


def seconds_since_start(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds since this job's first process began, waiting for the run's lock included."""
    return time.time() - float(environment.get(_STARTED, _OWN_START))


def follow_parent(environment: Mapping[str, str] = os.environ) -> None:
    """In a rank that a parent started: die with it."""
    if _PARENT in environment:
        die_with_parent(int(environment[_PARENT]))


def threads(ranks: Ranks, environment: Mapping[str, str] = os.environ) -> int:
    """Compute threads of this rank: OMP_NUM_THREADS, or this rank's part of the cores."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if environment.get(name, "").isdigit():
            return max(1, int(environment[name]))
    return max(1, len(os.sched_getaffinity(0)) // ranks.local_world)


def spawn(ranks: Ranks, module: str, *, decided: str) -> None:
    """Start this command again once for each rank, and wait for all of them.

    SIGTERM and SIGUSR1 are handed on. When a rank fails, the others are ended. If the ranks were
    told to stop and did, this process exits as they did.

    Args:
        ranks: As `place` returned it, with `must_spawn`.
        module: What `python -m` runs.
        decided: What the ranks are to find with `decided()`.

    Raises:
        UserError: A rank failed; names it and what ended it.
    """
    with tempfile.TemporaryDirectory(prefix="orbweaver-") as folder:
        shared = {_PARENT: str(os.getpid()), _STORE: str(Path(folder) / "store")}
        shared |= {_DECIDED: decided, _STARTED: str(_OWN_START)}
        if "GLOO_SOCKET_IFNAME" not in os.environ:
            shared["GLOO_SOCKET_IFNAME"] = "lo"  # a host's name need not resolve on a laptop
        if "OMP_NUM_THREADS" not in os.environ:
            local = Ranks(world=ranks.world, local_world=ranks.world)
            shared["OMP_NUM_THREADS"] = str(threads(local))
        children = [
            subprocess.Popen(
                [sys.executable, "-m", module, *sys.argv[1:]],
                env={**os.environ, **shared, _RANK: str(rank)},
            )
            for rank in range(ranks.world)
        ]
        for number in (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT):
            signal.signal(number, lambda got, _frame: _hand_on(children, got))
        try:
            _wait(children)
        finally:
            for child in children:
                child.kill()
                child.wait()


def _hand_on(children: list[subprocess.Popen[bytes]], number: int) -> None:
    # Ctrl-C has reached the ranks themselves, and a second one would not let them save.
    number = signal.SIGTERM if number == signal.SIGINT else number
    for child in children:
        if child.poll() is None:
            child.send_signal(number)


def _wait(children: list[subprocess.Popen[bytes]]) -> None:
    """Return when all ranks ended well; raise as soon as one did not."""
    while True:
        codes = [child.poll() for child in children]
        failed = [(rank, code) for rank, code in enumerate(codes) if code]
        if any(code == STOPPED_STATUS for _, code in failed):
            sys.exit(STOPPED_STATUS)
        if failed:
            rank, code = failed[0]
            pid = children[rank].pid
            if code < 0:
                name = signal.Signals(-code).name
                memory = " (out of memory, perhaps)" if name == "SIGKILL" else ""
                cause = f"was ended by {name}{memory}"
            else:
                cause = f"failed with exit status {code}; its message is above"
            log.error("rank %d (process %d on %s) %s", rank, pid, socket.gethostname(), cause)
            raise UserError(
                f"rank {rank} of {len(children)} {cause}; the other ranks were ended. "
                "Start the same command again to go on from the last checkpoint"
            )
        if all(code == 0 for code in codes):
            return
        time.sleep(_POLL_SECONDS)
