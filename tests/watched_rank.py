"""One rank of a job that only waits and adds up, and what goes wrong in it, for test_watchdog.

python watched_rank.py <rank> <world> <rendezvous> <limit_s> <fault> <at rank>
"""

import ctypes
import os
import signal
import sys
import time

import torch
from torch import distributed as dist

from workflow_scripts.logs import start_logging
from workflow_scripts.pretrain import parallel, watchdog
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.stalled import DATA, STEP

STEPS, FAULTY = 60, 5


def fail(fault: str) -> None:
    if fault == "stop":
        os.kill(os.getpid(), signal.SIGSTOP)
    elif fault == "sleep":
        time.sleep(1000)
    elif fault == "lock":  # a C call that keeps Python's lock
        ctypes.PyDLL(None).sleep(1000)


def computing(fault: str) -> None:
    fail(fault)
    if dist.is_initialized():
        dist.all_reduce(torch.ones(1))


def main() -> None:
    rank, world, limit = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[4])
    fault, where = sys.argv[5].split("-")
    mine = rank == int(sys.argv[6])
    start_logging()
    watchdog._LAST_WORDS = 1.0
    ranks = Ranks(rank=rank, world=world, local_rank=rank, local_world=world,
                  rendezvous=sys.argv[3])  # fmt: skip
    parallel.join(ranks, timeout_s=600)
    with watchdog.Watchdog(ranks, limit_s=limit) as watch:
        for step in range(STEPS):
            watch.at(DATA, step)
            time.sleep(0.02)
            if mine and step == FAULTY and where == "data":
                fail(fault)
            watch.at(STEP, step)
            computing(fault if mine and step == FAULTY and where == "step" else "")
    parallel.leave()


if __name__ == "__main__":
    main()
