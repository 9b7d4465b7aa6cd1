"""What is measured in the loop: losses by window, and where the time went."""

import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import rounded


@dataclass(frozen=True, kw_only=True)
class Bad:
    """A step that was skipped."""

    ago: int  # 1 is the last step
    in_a_row: int  # it is the how many-th
    finite_here: Tensor  # whether this rank's own loss was finite; on the device


class Window:
    """Losses since the last logged step: on the device until they are collected.

    The sums are float64 over float32 values, exact in any order, so the logged curve does not
    depend on where a segment ended or a checkpoint was written. Steps that were skipped because
    something was not finite are in no mean; they are counted.

    Args:
        carried: What `state` returned before the checkpoint.

    Attributes:
        bad: Skipped steps since the run began.
        in_a_row: Skipped steps since the last one that was not.
    """

    def __init__(self, carried: dict[str, Any] | None = None) -> None:
        carried = carried or {}
        self.sums: dict[str, float] = dict(carried.get("sums", {}))
        self.count: int = carried.get("count", 0)
        self.bad: int = carried.get("bad", 0)
        self.in_a_row: int = carried.get("in_a_row", 0)
        self._terms: list[dict[str, Tensor]] = []

    def add(self, terms: dict[str, Tensor]) -> None:
        """Take a step's terms, without reading them."""
        self._terms.append(terms)

    def collect(self, *, world: int) -> list[Bad]:
        """Bring what is on the device into the sums, as means over ranks; every rank calls it.

        Returns:
            The steps that were skipped, in their order.
        """
        if not self._terms:
            return []
        names = list(self._terms[0])
        rows = torch.stack([torch.stack([terms[name] for name in names]) for terms in self._terms])
        own = rows[:, names.index("loss")].isfinite()
        rows = parallel.summed(rows.double()) / world
        finite: list[bool] = rows.isfinite().all(dim=1).tolist()
        self._terms = []
        found = []
        for number, good in enumerate(finite):
            self.in_a_row = 0 if good else self.in_a_row + 1
            if not good:
                ago = len(finite) - number
                found.append(Bad(ago=ago, in_a_row=self.in_a_row, finite_here=own[number]))
        self.bad += len(found)
        kept = rows[torch.tensor(finite, device=rows.device)].sum(dim=0).tolist()
        self.count += len(finite) - len(found)
        for name, total in zip(names, kept, strict=True):
            self.sums[name] = self.sums.get(name, 0.0) + total
        return found

    def state(self) -> dict[str, Any]:
        """What a checkpoint keeps (after `collect`), the same on all ranks."""
        return {"sums": self.sums, "count": self.count, "bad": self.bad, "in_a_row": self.in_a_row}

    def means(self) -> dict[str, float]:
        """Means over the window, which is emptied; none if every step of it was skipped."""
        if not self.count:
            return {}
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
