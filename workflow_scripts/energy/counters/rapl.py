"""The processors' and their memory's counters by Linux powercap (RAPL)."""

import contextlib
import threading
import time
from pathlib import Path

from workflow_scripts.energy.counters.kinds import Counter, working

POWERCAP = Path("/sys/class/powercap")
_READ_EVERY = 20.0  # seconds; at full power a processor's counter begins again in some minutes


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

    Args:
        root: The folder of the domains.
        period_s: Seconds between two readings in the background.
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
    return working(
        Counter(
            name=f"processors{memory} (RAPL)",
            read=lambda: sum(domain.joules() for domain in domains),
        )
    )
