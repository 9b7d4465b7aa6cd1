"""Local ranks: copies of this command, started and watched by a parent that holds the run's lock.

Ranks die with their parent, and if one dies the others are ended at once.
"""

import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.logs import log
from workflow_scripts.pretrain import launch
from workflow_scripts.pretrain.launch import Ranks

STOPPED_STATUS = 128 + signal.SIGTERM  # exit status of a rank that was told to stop, and did
_POLL_SECONDS = 0.1


def decided(environment: Mapping[str, str] = os.environ) -> str | None:
    """In a rank that a parent with the run's lock started: what the parent decided."""
    return environment.get(launch.DECIDED)


def follow_parent(environment: Mapping[str, str] = os.environ) -> None:
    """In a rank that a parent started: die with it."""
    if launch.PARENT in environment:
        die_with_parent(int(environment[launch.PARENT]))


def start(ranks: Ranks, module: str, *, decided: str) -> None:
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
        shared = {launch.PARENT: str(os.getpid()), launch.STORE: str(Path(folder) / "store")}
        started = os.environ.get(launch.STARTED, str(launch.OWN_START))  # a launcher may be older
        shared |= {launch.DECIDED: decided, launch.STARTED: started}
        if "GLOO_SOCKET_IFNAME" not in os.environ:
            shared["GLOO_SOCKET_IFNAME"] = "lo"  # a host's name need not resolve on a laptop
        if "OMP_NUM_THREADS" not in os.environ:
            local = Ranks(world=ranks.world, local_world=ranks.world)
            shared["OMP_NUM_THREADS"] = str(launch.threads(local))
        children = [
            subprocess.Popen(
                [sys.executable, "-m", module, *sys.argv[1:]],
                env={**os.environ, **shared, launch.RANK: str(rank)},
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
            # A rank that was killed first: the others may have failed for want of it since.
            rank, code = min(failed, key=lambda one: one[1] != -signal.SIGKILL)
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
                "Start the same command again to go on from what was saved"
            )
        if all(code == 0 for code in codes):
            return
        time.sleep(_POLL_SECONDS)
