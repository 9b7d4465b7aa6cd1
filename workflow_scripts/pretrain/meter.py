"""What is measured in the loop: losses by window, and where the time went."""

import time
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import rounded


class Window:
    """Losses since the last logged step: on the device until they are collected.

    The sums are float64 over float32 values, exact in any order, so the logged curve does not
    depend on where a segment ended or a checkpoint was written.

    Args:
        carried: What `state` returned before the checkpoint.
    """

    def __init__(self, carried: dict[str, Any] | None = None) -> None:
        self.sums: dict[str, float] = dict(carried["sums"]) if carried else {}
        self.count: int = carried["count"] if carried else 0
        self._terms: list[dict[str, Tensor]] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take a step's terms, without reading them."""
        self._terms.append({name: value.detach() for name, value in terms.items()})

    def collect(self, *, world: int) -> int | None:
        """Bring what is on the device into the sums, as means over ranks; every rank calls it.

        Returns:
            None, or how many steps ago (1 = the last) the first loss that is not finite was.
        """
        if not self._terms:
            return None
        names = list(self._terms[0])
        rows = torch.stack([torch.stack([terms[name] for name in names]) for terms in self._terms])
        rows = parallel.summed(rows.double()) / world
        finite: list[bool] = rows.isfinite().all(dim=1).tolist()
        self._terms = []
        if not all(finite):
            return len(finite) - finite.index(False)
        self.count += len(finite)
        for name, total in zip(names, rows.sum(dim=0).tolist(), strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + total
        return None

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps (after `collect`), the same on all ranks."""
        return {"sums": self.sums, "count": self.count}

    def means(self) -> dict[str, float]:
        """Means over the window, which is emptied."""
        means = {name: rounded(total / self.count) for name, total in self.sums.items()}
        self.sums, self.count = {}, 0
        return means


class Clock:
    """Images a second, the share of time spent waiting for data, and seconds of training.

    Args:
        batch: Global batch size.
        step: Steps done.
        earlier: Seconds of training before this segment.
    """

    def __init__(self, *, batch: int, step: int, earlier: float) -> None:
        self.batch, self.earlier = batch, earlier
        self.first_step = self._marked_step = step
        self._started = self._marked = time.monotonic()
        self._waited = 0.0

    def timed(self, batches: Iterator[dict[str, Tensor]]) -> Iterator[dict[str, Tensor]]:
        """Pass batches on, adding up the time until each is there."""
        while True:
            asked = time.monotonic()
            batch = next(batches, None)
            if batch is None:
                return
            self._waited += time.monotonic() - asked
            yield batch

    def seconds(self) -> float:
        """Seconds of training, earlier segments included."""
        return self.earlier + time.monotonic() - self._started

    def images_per_s(self, step: int) -> float:
        """Images a second over this segment."""
        elapsed = time.monotonic() - self._started
        return (step - self.first_step) * self.batch / elapsed if elapsed else 0.0

    def lap(self, step: int) -> dict[str, float]:
        """Speed since the last lap: `images_per_s`, `data_wait` (share), `seconds` (total)."""
        now = time.monotonic()
        elapsed = max(now - self._marked, 1e-9)
        row = {
            "images_per_s": rounded((step - self._marked_step) * self.batch / elapsed),
            "data_wait": round(self._waited / elapsed, 4),
            "seconds": round(self.seconds(), 3),
        }
        self._marked, self._marked_step, self._waited = now, step, 0.0
        return row
