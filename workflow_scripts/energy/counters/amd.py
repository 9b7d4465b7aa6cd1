"""AMD's GPUs by their library, if its Python module `amdsmi` is installed (it comes with ROCm)."""

from workflow_scripts.energy.counters.kinds import Counter, Gauge, Load, number, optional, working

_NAME = "GPUs (amdsmi)"


def amd(pci: str) -> tuple[Counter | None, Gauge | None]:
    """A GPU's counter and load; None for what cannot be read.

    The load is the activity of its graphics engine, where kernels run, and memory in use.

    Args:
        pci: The device's place, as `00000000:3b:00.0`.
    """
    smi = optional("amdsmi")
    if smi is None:
        return None, None
    try:
        smi.amdsmi_init()
        handle = smi.amdsmi_get_processor_handle_from_bdf(pci[-12:])
    except smi.AmdSmiException:
        return None, None

    def joules() -> float:
        told = smi.amdsmi_get_energy_count(handle)
        return float(told["energy_accumulator"] * told["counter_resolution"]) / 1e6  # microjoules

    def load() -> Load:
        activity, memory = (
            smi.amdsmi_get_gpu_activity(handle),
            smi.amdsmi_get_gpu_vram_usage(handle),
        )
        # MiB, though the library's text says megabytes: it divides bytes by 1024 twice.
        return Load(
            number(activity["gfx_activity"], 0.01), number(memory["vram_used"], float(2**20))
        )

    return working(Counter(name=_NAME, read=joules)), working(Gauge(name=_NAME, read=load))
