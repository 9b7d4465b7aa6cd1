"""Batches from worker processes, whatever happens to the workers.

Workers write batches into a ring of shared memory that is used again and again: the pages of new
memory would cost a third of what decoding costs. Only their places cross the pipe, in messages so
short that the kernel writes them whole or not at all (pipe(7)), so that a worker killed meanwhile
leaves no half of one. A worker that dies (killed for its memory, crashed
in a C library) is named with the sample it was at, and the workers are started again from the step
that was to come.
"""

import multiprocessing
import os
import signal
import time
from collections import Counter
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, get_worker_info

from workflow_scripts.errors import UserError
from workflow_scripts.lifetime import die_with_parent
from workflow_scripts.loader.batches import Batch, Batches, shared
from workflow_scripts.logs import log

_IDLE = -1
_COUNTS = ("skipped", "retried", "local")
PREFETCH = 2  # batches that a worker is ahead of the one that is in use
_MOST_IN_VAIN = 8  # starts of workers without a batch
_POLLS, _POLL_SECONDS = 20, 0.05
_LONGEST_ERROR = 2000  # characters; a message has to stay below 4096 bytes

Ring = dict[str, Tensor]  # of each part of a batch (workers, places, …)


class _Told(Dataset[Batch]):
    """What crosses from a worker: where in the ring a batch is, and its counts.

    Or what is wrong: an exception would come with the worker's traceback.
    """

    def __init__(self, batches: Batches, ring: Ring, board: Tensor, places: int) -> None:
        self.batches, self.ring, self.board, self.places = batches, ring, board, places
        self._made = 0

    def __getitem__(self, step: int) -> Batch:
        try:
            return self._in_ring(step) if self.ring else self.batches[step]
        except UserError as error:
            return {"error": str(error)[:_LONGEST_ERROR]}

    def _in_ring(self, step: int) -> Batch:
        worker = get_worker_info()
        assert worker is not None
        # A worker is given a step when one of its batches was taken, so that of its places, one
        # more than it is ahead, one is free.
        place = worker.id, self._made % self.places
        self._made += 1
        batch = self.batches.at(step, self.ring["images"][place])
        for name, ring in self.ring.items():
            if name != "images":  # those are there already
                ring[place] = batch[name]
        self.batches.note(_IDLE)
        return {"place": place, **{name: batch[name] for name in _COUNTS}}


def _as_it_is(batch: Any) -> Any:
    return batch


def _start_worker(worker: int) -> None:
    die_with_parent(os.getppid())  # or it would hold the run's lock for seconds after a kill
    # Batch systems and terminals signal all processes of a job; what to do of it the rank decides.
    for number in (signal.SIGINT, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    info = get_worker_info()
    assert info is not None
    told: Any = info.dataset
    told.board[worker] = torch.tensor([os.getpid(), _IDLE])
    told.batches.desk = told.board[worker].numpy()


class Feed:
    """The batches of one rank from a step to the end of the run, in order.

    The images of a batch are valid until the next one is asked for, unless they are pinned.

    Args:
        batches: The rank's batches.
        start: First step.
        workers: Processes that read; 0 reads in this one.
        pin: Whether batches are copied to pinned memory, from which a GPU fetches them while it
            computes.
        prefetch: Batches that each process is ahead of the one that is in use.

    Attributes:
        skipped: Samples whose place the next one took, so far.
        retried: Reads that were tried again.
        local: Samples that were read from copies on this node.
        restarts: How often workers were started again.
    """

    def __init__(
        self, batches: Batches, *, start: int, workers: int, pin: bool, prefetch: int = PREFETCH
    ) -> None:  # fmt: skip
        self.batches, self.start, self.workers, self.pin = batches, start, workers, pin
        self.prefetch = prefetch
        self.skipped = self.retried = self.local = self.restarts = 0
        self._deaths: Counter[int] = Counter()
        # Of each worker its process and the sample it is at.
        self._board = torch.full((max(1, workers), 2), _IDLE).share_memory_()
        places = (workers, prefetch + 1)
        parts = batches.parts() if workers else {}
        self._ring = {name: shared((*places, *part), kind) for name, (part, kind) in parts.items()}

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        step, in_vain = self.start, 0
        while step < len(self.batches):
            try:
                for batch in self._loaded(step):
                    yield self._counted(batch)
                    step, in_vain, self._deaths[_IDLE] = step + 1, 0, 0
            except (RuntimeError, OSError, EOFError):
                # OSError and EOFError: a batch was announced by a worker that is dead by now.
                dead = self._dead()
                if not dead:
                    raise
                in_vain += 1
                self._judge(dead, in_vain)

    def _loaded(self, step: int) -> Iterator[Batch]:
        self._board.fill_(_IDLE)
        loader = DataLoader(
            _Told(self.batches, self._ring, self._board, self.prefetch + 1),
            sampler=range(step, len(self.batches)),
            batch_size=None,
            num_workers=self.workers,
            prefetch_factor=self.prefetch if self.workers else None,
            collate_fn=_as_it_is,
            worker_init_fn=_start_worker,
        )
        before = signal.getsignal(signal.SIGCHLD)
        iterator = iter(loader)
        # torch's handler would raise in the middle of a training step; `next` notices a death too.
        if signal.getsignal(signal.SIGCHLD) is not before:
            signal.signal(signal.SIGCHLD, before)
        return iterator

    def _counted(self, batch: Batch) -> dict[str, Tensor]:
        """A batch without its counts, which are added up.

        Raises:
            UserError: It could not be made.
        """
        if "error" in batch:
            raise UserError(batch["error"])
        self.skipped += batch.pop("skipped")
        self.retried += batch.pop("retried")
        self.local += batch.pop("local")
        if self._ring:
            places = {name: ring[batch["place"]] for name, ring in self._ring.items()}
            batch = {n: part if n == "images" else part.clone() for n, part in places.items()}
        return {name: value.pin_memory() for name, value in batch.items()} if self.pin else batch

    def _dead(self) -> list[int]:
        """The samples, or `_IDLE`, that workers were at which are no more."""
        rows = self._board.tolist() if self.workers else []
        for _ in range(_POLLS):
            alive = {child.pid for child in multiprocessing.active_children()}
            dead = [sample for pid, sample in rows if pid not in {_IDLE, *alive}]
            if dead:
                return dead
            time.sleep(_POLL_SECONDS)  # it closes its connections before it is gone
        return []

    def _judge(self, dead: list[int], in_vain: int) -> None:
        """Go on after a death, or give up.

        Raises:
            UserError: A sample ended its process more often than it may be tried again, and is not
                to be skipped; or several starts in a row brought no batch.
        """
        for sample in dead:
            self._deaths[sample] += 1
            name = "no sample yet" if sample == _IDLE else self.batches.corpus.name(sample)
            told = f"a loader process died at {name}; was there too little memory?"
            if self._deaths[sample] <= self.batches.retries and in_vain < _MOST_IN_VAIN:
                log.error("%s It is tried again", told)
            elif self.batches.skip_bad and sample != _IDLE and in_vain < _MOST_IN_VAIN:
                self.batches.lethal.add(sample)
            else:
                raise UserError(
                    f"{told} That was attempt {self._deaths[sample]}, and {in_vain} starts in a "
                    "row brought no batch. Use fewer workers, look at the sample, or set "
                    "launch.bad_samples to skip"
                )
        self.restarts += 1
