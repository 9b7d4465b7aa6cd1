"""Energy that nodes and devices have used, from counters that need no special rights.

On an HPE Cray EX (Frontier) one counter holds the whole node, accelerators included. Elsewhere it
is what there is of: the processors' and their memory's (Linux powercap, RAPL), and each rank's own
GPU's (NVML or amdsmi, where their Python modules are installed). What other jobs use on a shared
node counts as well.
"""

import contextlib
import importlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from workflow_scripts.pretrain.launch import Ranks

CRAY = Path("/sys/cray/pm_counters")
POWERCAP = Path("/sys/class/powercap")
_READ_EVERY = 20.0  # seconds; at full power a processor's counter begins again in some minutes


@dataclass(frozen=True, kw_only=True)
class Counter:
    """A counter of joules; `read` raises an exception when it cannot be read."""

    name: str
    read: Callable[[], float]


def cray(root: Path = CRAY) -> Counter | None:
    """The node's counter of an HPE Cray: `energy` holds `<joules> J <microseconds> us`."""

    def read() -> float:
        number, unit = (root / "energy").read_text(encoding="ascii").split()[:2]
        if unit != "J":
            raise ValueError(f"{root / 'energy'}: expected J, found {unit}")
        return float(number)

    return _working(Counter(name="node (Cray pm_counters)", read=read))


class _Domain:
    """A RAPL domain: microjoules that begin at 0 again beyond a range."""

    def __init__(self, folder: Path) -> None:
        self._lock = threading.Lock()
        self._file = folder / "energy_uj"
        self._range = int((folder / "max_energy_range_uj").read_text())
        self._last, self._total = int(self._file.read_text()), 0

    def joules(self) -> float:
        with self._lock:
            now = int(self._file.read_text())
            self._total += now - self._last + (self._range if now < self._last else 0)
            self._last = now
            return self._total / 1e6


def _keep_up(domains: list[_Domain], period_s: float) -> None:
    """Read counters so often, in the background, that none begins again twice unseen."""

    def work() -> None:
        with contextlib.suppress(OSError, ValueError):  # the next reader will meet it too
            while True:
                time.sleep(period_s)
                for domain in domains:
                    domain.joules()

    threading.Thread(target=work, daemon=True).start()


def rapl(root: Path = POWERCAP, period_s: float = _READ_EVERY) -> Counter | None:
    """Packages and memory of the node's processors, since this call.

    Cores and graphics are within the package, and `psys` has the packages in it: left out, as are
    the same packages' second interfaces (`intel-rapl-mmio`).
    """
    names = {}
    try:
        for folder in sorted(root.glob("intel-rapl:*")):
            name = (folder / "name").read_text(encoding="ascii").strip()
            if name.startswith("package") or name == "dram":
                names[folder] = name
        domains = [_Domain(folder) for folder in names]
    except (OSError, ValueError):  # readable by root alone since CVE-2020-8694
        return None
    if not domains:
        return None
    _keep_up(domains, period_s)
    memory = " and memory" if "dram" in names.values() else ""
    return _working(
        Counter(
            name=f"processors{memory} (RAPL)",
            read=lambda: sum(domain.joules() for domain in domains),
        )
    )


def _optional(module: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError:
        return None


def nvidia(pci: str) -> Counter | None:
    """A GPU's counter by NVML, if `pynvml` (nvidia-ml-py) is installed.

    Args:
        pci: The device's place, as `00000000:3b:00.0`.
    """
    nvml = _optional("pynvml")
    if nvml is None:
        return None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(pci)
    except nvml.NVMLError:
        return None
    return _working(
        Counter(
            name="GPUs (NVML)",
            read=lambda: nvml.nvmlDeviceGetTotalEnergyConsumption(handle) / 1e3,  # millijoules
        )
    )


def amd(pci: str) -> Counter | None:
    """A GPU's counter by `amdsmi`, if it is installed.

    Args:
        pci: The device's place, as `00000000:3b:00.0`.
    """
    smi = _optional("amdsmi")
    if smi is None:
        return None

    def read() -> float:
        told = smi.amdsmi_get_energy_count(handle)
        return told["energy_accumulator"] * told["counter_resolution"] / 1e6  # microjoules

    try:
        smi.amdsmi_init()
        handle = smi.amdsmi_get_processor_handle_from_bdf(pci[-12:])
    except smi.AmdSmiException:
        return None
    return _working(Counter(name="GPUs (amdsmi)", read=read))


def _working(counter: Counter) -> Counter | None:
    """The counter, if it can be read."""
    try:
        counter.read()
    except Exception:  # each library has errors of its own
        return None
    return counter


def pci_place(device: torch.device) -> str | None:
    """Where a GPU is: `<domain>:<bus>:<device>.0` in hexadecimal; None if torch does not tell."""
    found: Any = torch.cuda.get_device_properties(device)
    if not hasattr(found, "pci_domain_id"):
        return None
    return f"{found.pci_domain_id:08x}:{found.pci_bus_id:02x}:{found.pci_device_id:02x}.0"


class Energy:
    """What this rank adds to the job's sum, since it was made.

    The node's counters are read by the first rank of each node, a GPU's by its own rank.

    Args:
        ranks: This process's place.
        node: Counters of the node, every rank's view of them.
        own: The counter of this rank's device.

    Attributes:
        source: Which counters a rank of this node sees; None if there are none. A sum over ranks
            with other sources would have gaps.
    """

    def __init__(self, ranks: Ranks, *, node: list[Counter], own: Counter | None) -> None:
        seen = [*node, *([own] if own else [])]
        self.source = " and ".join(counter.name for counter in seen) or None
        read_here = seen if ranks.local_rank == 0 else seen[len(node) :]
        self._counters = [(counter, counter.read()) for counter in read_here]

    def joules(self) -> float:
        """Joules of this rank's counters; NaN if one cannot be read any more or began again."""
        try:
            parts = [counter.read() - start for counter, start in self._counters]
        except Exception:  # each library has errors of its own
            return float("nan")
        return sum(parts) if all(part >= 0 for part in parts) else float("nan")


def energy_of(ranks: Ranks, device: torch.device) -> Energy:
    """The counters of this machine."""
    whole = cray()
    if whole:
        return Energy(ranks, node=[whole], own=None)
    processors, own = rapl(), None
    place = pci_place(device) if device.type == "cuda" else None
    if place:
        own = amd(place) if torch.version.hip else nvidia(place)
    return Energy(ranks, node=[processors] if processors else [], own=own)
