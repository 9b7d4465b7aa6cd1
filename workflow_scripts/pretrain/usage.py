"""What a run takes from its machine: memory, energy, and how much of the devices' speed it uses."""

import math
from dataclasses import dataclass
from typing import Any

import torch

from workflow_scripts.energy.rank import Energy, energy_of
from workflow_scripts.logs import log
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.history import rounded
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.peaks import device_peak
from workflow_scripts.provenance import peak_memory_bytes


@dataclass(frozen=True, kw_only=True)
class Told:
    """What all ranks said at one moment.

    Attributes:
        skipped: Samples that this segment skipped.
        peak_memory_bytes: Of the rank that has used most: on its device, or resident on a CPU.
        energy_j: Of the run until now; None where a counter is missing.
    """

    skipped: int
    peak_memory_bytes: int
    energy_j: float | None


class Usage:
    """Gathers from the ranks, in one exchange, what the curve tells of the machine.

    Args:
        ranks: This process's place.
        device: Its device.
        energy: Its counters.
        flops: Operations of training on one image (`models.flops`).
        peak: What a device can do in a second; None if that is not known.
        earlier_j: Energy of earlier segments; None if it is not known.

    Attributes:
        energy_source: The counters, the same on all nodes; None where there are none.
    """

    def __init__(
        self, ranks: Ranks, device: torch.device, *, energy: Energy, flops: float,
        peak: float | None, earlier_j: float | None,
    ) -> None:  # fmt: skip
        self.world, self.device, self.energy = ranks.world, device, energy
        self.is_first = ranks.is_first
        self.flops, self.peak, self.earlier_j = flops, peak, earlier_j
        self.energy_source = self._common_source()
        self.energy_j: float | None = None  # of this segment

    def _common_source(self) -> str | None:
        """The counters, if every rank sees the same ones; every rank calls it."""
        source = self.energy.source
        code = float(int.from_bytes((source or "").encode()) % 2**31)
        same = self._gathered([code]).unique().numel() == 1
        if not same and self.is_first:
            log.warning("the nodes have different counters of energy (here: %s): none is kept",
                        source or "none")  # fmt: skip
        return source if same else None

    def _gathered(self, values: list[float]) -> torch.Tensor:
        """Numbers of every rank, (ranks, numbers), on the CPU."""
        own = torch.tensor(values, dtype=torch.float64, device=self.device)
        return parallel.gathered(own).cpu()

    def told(self, *, skipped: int) -> Told:
        """Ask all ranks; every rank calls it.

        Args:
            skipped: Samples that this rank skipped in this segment.
        """
        joules = self.energy.joules() if self.energy_source else math.nan
        rows = self._gathered([float(skipped), float(self._memory()), joules])
        sums, largest = rows.sum(dim=0).tolist(), rows.amax(dim=0).tolist()
        self.energy_j = None if math.isnan(sums[2]) else round(sums[2], 1)
        total = None
        if self.energy_j is not None and self.earlier_j is not None:
            total = round(self.earlier_j + self.energy_j, 1)
        return Told(skipped=round(sums[0]), peak_memory_bytes=int(largest[1]), energy_j=total)

    def _memory(self) -> int:
        if self.device.type == "cuda":
            return torch.cuda.max_memory_allocated(self.device)
        return peak_memory_bytes()

    def speed(self, images_per_s: float) -> dict[str, Any]:
        """`tflops` (10^12 operations a second and device) and `mfu` (share of its peak, or None).

        Args:
            images_per_s: Of all ranks.
        """
        achieved = self.flops * images_per_s / self.world
        return {
            "tflops": rounded(achieved / 1e12),
            "mfu": round(achieved / self.peak, 4) if self.peak else None,
        }

    def facts(self, images_per_s: float) -> dict[str, Any]:
        """What the provenance says of a segment, after the last `told`.

        Args:
            images_per_s: Of all ranks, over the segment.
        """
        return {
            **self.speed(images_per_s),
            "flops_per_image": self.flops,
            "energy_j": self.energy_j or None,  # a counter that did not move measured nothing
            "energy_counter": self.energy_source,
        }


def usage_of(
    ranks: Ranks, device: torch.device, *, flops: float, precision: str, earlier_j: float | None
) -> Usage:
    """The usage of this machine; see `Usage`."""
    energy, peak = energy_of(ranks, device), device_peak(device, precision)
    return Usage(ranks, device, energy=energy, flops=flops, peak=peak, earlier_j=earlier_j)
