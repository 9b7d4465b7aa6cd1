"""NVIDIA's GPUs by NVML, if `pynvml` (the package nvidia-ml-py) is installed."""

from workflow_scripts.energy.counters.kinds import Counter, Gauge, Load, optional, working

_NAME = "GPUs (NVML)"


def nvidia(pci: str) -> tuple[Counter | None, Gauge | None]:
    """A GPU's counter and load; None for what cannot be read. Those before Volta have no counter.

    The load is the share of the last second or less in which a kernel ran, and memory in use.

    Args:
        pci: The device's place, as `00000000:3b:00.0`.
    """
    nvml = optional("pynvml")
    if nvml is None:
        return None, None
    try:
        nvml.nvmlInit()
        handle = nvml.nvmlDeviceGetHandleByPciBusId(pci)
    except nvml.NVMLError:
        return None, None

    def joules() -> float:
        return float(nvml.nvmlDeviceGetTotalEnergyConsumption(handle)) / 1e3  # millijoules

    def load() -> Load:
        rates = nvml.nvmlDeviceGetUtilizationRates(handle)
        memory = nvml.nvmlDeviceGetMemoryInfo(handle)
        return Load(rates.gpu / 100, float(memory.used))

    return working(Counter(name=_NAME, read=joules)), working(Gauge(name=_NAME, read=load))
