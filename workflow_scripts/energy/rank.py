"""What this process adds to the energy of its job, from counters that need no special rights.

On an HPE Cray EX (Frontier) one counter holds the whole node, accelerators included. Elsewhere it
is what there is of: the processors' and their memory's (Linux powercap, RAPL), and each rank's own
GPU's (NVML; amdsmi, or else the command rocm-smi). What other jobs use on a shared node counts as
well.
"""

import math
import os
import threading
from typing import Any

import torch

from workflow_scripts.energy.counters.amd import amd
from workflow_scripts.energy.counters.cpu import cpu_load
from workflow_scripts.energy.counters.cray import cray
from workflow_scripts.energy.counters.kinds import Counter, Gauge, Load
from workflow_scripts.energy.counters.nvml import nvidia
from workflow_scripts.energy.counters.rapl import rapl
from workflow_scripts.energy.counters.rocm import rocm
from workflow_scripts.pretrain.launch import Ranks


def pci_place(device: torch.device) -> str | None:
    """Where a GPU is: `<domain>:<bus>:<device>.0` in hexadecimal; None if torch does not tell."""
    found: Any = torch.cuda.get_device_properties(device)
    if not hasattr(found, "pci_domain_id"):
        return None
    return f"{found.pci_domain_id:08x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"


class Energy:
    """What this rank adds to the job's sum, since it was made.

    The node's counters are read by the first rank of each node, a GPU's by its own rank, which may
    be the only one that sees it.

    Args:
        ranks: This process's place.
        node: Counters of the node, every rank's view of them.
        own: The counter of this rank's device.
        load: What tells how busy this rank's device is.

    Attributes:
        source: Which counters a rank of this node sees; None if there are none. A sum over ranks
            with other sources would have gaps.
        every_s: Seconds from one value of them to the next.
        load: As given.
    """

    def __init__(
        self, ranks: Ranks, *, node: list[Counter], own: Counter | None, load: Gauge | None = None
    ) -> None:
        seen = [*node, *([own] if own else [])]
        self.source = " and ".join(counter.name for counter in seen) or None
        self.every_s = max((counter.every_s for counter in seen), default=0.0)
        self.load = load
        read_here = seen if ranks.local_rank == 0 else seen[len(node) :]
        self._counters = read_here
        self._first = self._last = [counter.read() for counter in read_here]
        self._began_again = False
        self._lock = threading.Lock()  # the loop reads, and the sampler's thread

    def joules(self) -> float:
        """Joules of this rank's counters; NaN if one cannot be read or began again."""
        with self._lock:
            try:
                now = [counter.read() for counter in self._counters]
            except Exception:  # each library has errors of its own
                return math.nan
            # For good: later it will be above its first value again, and what it lost is not known.
            self._began_again |= any(b < a for a, b in zip(self._last, now, strict=True))
            self._last = now
        return math.nan if self._began_again else sum(now) - sum(self._first)

    def busy(self) -> Load:
        """How busy this rank's device is; NaN for what cannot be read, or not any more."""
        try:
            return self.load.read() if self.load else Load()
        except Exception:  # each library has errors of its own
            return Load()


def energy_of(ranks: Ranks, device: torch.device) -> Energy:
    """The counters of this machine.

    Args:
        ranks: This process's place.
        device: Its device.
    """
    own, load = _device_counters(ranks, device)
    whole = cray()
    if whole:
        return Energy(ranks, node=[whole], own=None, load=load)
    processors = rapl()
    return Energy(ranks, node=[processors] if processors else [], own=own, load=load)


def _device_counters(ranks: Ranks, device: torch.device) -> tuple[Counter | None, Gauge | None]:
    """The counter and the gauge of a rank's own device."""
    if device.type != "cuda":
        return None, cpu_load(len(os.sched_getaffinity(0)) / _sharing(ranks))
    place = pci_place(device)
    if place is None:
        return None, None
    if not torch.version.hip:
        return nvidia(place)
    found = amd(place)
    return found if any(found) else rocm(place)


def _sharing(ranks: Ranks) -> int:
    """Ranks of this node that share the cores this process may run on.

    Slurm binds each task to cores of its own; processes started here all have the same.
    """
    return 1 if ranks.step is not None else ranks.local_world
