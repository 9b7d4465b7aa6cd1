"""Which rank this process is, whatever launched it.

Three ways to the same trainer: alone with `--ranks N` (`spawn` starts N copies of this command),
under torchrun, and under srun (`launch_slurm` reads its variables, `meeting` brings ranks
together). In each of them one process takes the run's lock and decides for all.
"""

import os
import socket
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NoReturn

from workflow_scripts.errors import UserError
from workflow_scripts.pretrain.launch_slurm import Step, step_of

# What the parent of local ranks tells them (`spawn`).
RANK, PARENT, STORE = "ORBWEAVER_RANK", "ORBWEAVER_PARENT", "ORBWEAVER_STORE"
DECIDED, STARTED = "ORBWEAVER_DECIDED", "ORBWEAVER_STARTED"
TORCHRUN = "env://"
OWN_START = time.time()
_LAST_WORDS = 10.0  # seconds that rank 0 has to write down why all ranks end


@dataclass(frozen=True, kw_only=True)
class Server:
    """Where rank 0 of an srun step listens.

    Attributes:
        host: The node that rank 0 is on.
        address: Its address for the other nodes.
        port: Its port.
        listening: In rank 0 the socket.
    """

    host: str
    address: str
    port: int
    listening: socket.socket | None = None


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """This process's place among the ranks of the job.

    `rendezvous` is where ranks meet: an `init_method` of torch.distributed. It is None for one
    rank, and for those of an srun `step`, which meet at a `server` that rank 0 opens (`meeting`).
    `must_spawn`: no launcher started ranks; this process is to start them.
    """

    rank: int = 0
    world: int = 1
    local_rank: int = 0
    local_world: int = 1
    rendezvous: str | None = None
    step: Step | None = None
    server: Server | None = None
    must_spawn: bool = False

    @property
    def is_first(self) -> bool:
        """True for the rank that writes files."""
        return self.rank == 0

    @property
    def by_torchrun(self) -> bool:
        """Whether torchrun started several ranks, and keeps a store for them."""
        return self.rendezvous == TORCHRUN

    @property
    def where(self) -> str:
        """The node of this rank: Slurm's name of it, or the host's own."""
        return self.step.node if self.step else socket.gethostname()


def check_number(ranks: Ranks, wanted: int) -> None:
    """Refuse ranks of another number than `--ranks` says.

    Raises:
        UserError: The launcher started another number of ranks.
    """
    if ranks.world != wanted:
        launcher = "srun" if ranks.step else "torchrun"
        raise UserError(
            f"{launcher} started {ranks.world} ranks but --ranks says {wanted}; make them the same"
        )


def device_number(ranks: Ranks, seen: int) -> int:
    """Which of the accelerators that this process sees is its own.

    A launcher that binds one to each rank shows each process that one alone.

    Raises:
        UserError: More ranks on a node than accelerators.
    """
    if 1 < seen < ranks.local_world:
        raise UserError(
            f"{ranks.local_world} ranks on this node and {seen} accelerators: two ranks cannot "
            f"share one. Set ranks_per_node to {seen}"
        )
    return ranks.local_rank % seen


def place(wanted: int, environment: Mapping[str, str] = os.environ) -> Ranks:
    """Find this process's rank from whatever launched it.

    Args:
        wanted: Ranks of the whole job, as `--ranks` says.
        environment: The variables to read.

    Returns:
        The place; of a launcher's ranks rank 0 is to check their number (`check_number`).

    Raises:
        UserError: Fewer than one rank.
    """
    if wanted < 1:
        raise UserError(f"--ranks is {wanted}; it must be 1 or more")
    if RANK in environment:
        rank = int(environment[RANK])
        store = f"file://{environment[STORE]}"
        return Ranks(rank=rank, world=wanted, local_rank=rank, local_world=wanted, rendezvous=store)
    if "TORCHELASTIC_RUN_ID" in environment:
        world = int(environment["WORLD_SIZE"])
        return Ranks(
            rank=int(environment["RANK"]),
            world=world,
            local_rank=int(environment["LOCAL_RANK"]),
            local_world=int(environment["LOCAL_WORLD_SIZE"]),
            rendezvous=TORCHRUN if world > 1 else None,
        )
    if (step := step_of(environment)) is not None:
        return Ranks(
            rank=step.task, world=step.tasks, local_rank=step.local_task,
            local_world=step.local_tasks, step=step,
        )  # fmt: skip
    return Ranks(world=wanted, must_spawn=wanted > 1)


def leave_words_to_first() -> NoReturn:
    """End this rank without a word, for rank 0 says it once for all.

    Waits until rank 0, or the launcher after it, has ended: a launcher that sees this rank end
    first might kill rank 0 before it has spoken.
    """
    time.sleep(_LAST_WORDS)
    sys.exit(1)


def seconds_since_start(environment: Mapping[str, str] = os.environ) -> float:
    """Seconds since this job's first process began, waiting for the run's lock included."""
    return time.time() - float(environment.get(STARTED, OWN_START))


def threads(ranks: Ranks, environment: Mapping[str, str] = os.environ) -> int:
    """Compute threads of this rank: OMP_NUM_THREADS, or this rank's part of the cores."""
    for name in ("OMP_NUM_THREADS", "SLURM_CPUS_PER_TASK"):
        if environment.get(name, "").isdigit():
            return max(1, int(environment[name]))
    return max(1, len(os.sched_getaffinity(0)) // ranks.local_world)
