"""What devices can compute at best, by the name that torch gives them: the divisor of MFU.

Dense matrix products in 10^12 operations a second, as the makers publish them, for one device of
torch's count: of an MI250X that is one of its two dies. None where a device has no such units.

Sources: NVIDIA's data sheets of V100, A100, L40S, H100 (SXM, PCIe, NVL), H200, GH200 and HGX B200,
where tensor cores are quoted with sparsity halved; AMD's data sheets of MI210, MI250X, MI300A,
MI300X and MI325X, float32 on matrix cores; OLCF's Frontier guide for the die of an MI250X.
"""

import re
from typing import NamedTuple

import torch


class Peak(NamedTuple):
    """Peaks of one device by precision."""

    bf16: float | None
    tf32: float | None
    fp32: float


# The first whose words are all in the device's name.
_PEAKS: tuple[tuple[tuple[str, ...], Peak], ...] = (
    (("B200",), Peak(2250.0, 1125.0, 75.0)),
    (("GH200",), Peak(989.4, 494.7, 66.9)),
    (("H200", "NVL"), Peak(835.5, 417.5, 60.0)),
    (("H200",), Peak(989.4, 494.7, 66.9)),
    (("H100", "PCIE"), Peak(756.0, 378.0, 51.2)),
    (("H100", "NVL"), Peak(835.5, 417.5, 60.0)),
    (("H100",), Peak(989.4, 494.7, 66.9)),
    (("A100",), Peak(311.9, 156.0, 19.5)),
    (("L40S",), Peak(362.1, 183.2, 91.6)),
    (("V100", "PCIE"), Peak(None, None, 14.0)),
    (("V100",), Peak(None, None, 15.7)),
    (("MI325X",), Peak(1307.4, None, 163.4)),
    (("MI300X",), Peak(1307.4, None, 163.4)),
    (("MI300A",), Peak(980.6, None, 122.6)),
    (("MI250X",), Peak(191.5, None, 47.9)),
    (("MI210",), Peak(181.0, None, 45.3)),
)


def peak_flops(device_name: str, precision: str) -> float | None:
    """Operations a second that a device can do at best; None if it is not known.

    Args:
        device_name: As `torch.cuda.get_device_name` gives it. A part of a device (MIG) is not
            known.
        precision: `bf16`, `tf32` or `fp32`.
    """
    words = set(re.split(r"[^A-Z0-9]+", device_name.upper()))
    if "MIG" in words:
        return None
    for wanted, peak in _PEAKS:
        if words.issuperset(wanted):
            found = getattr(peak, precision)
            return None if found is None else found * 1e12
    return None


def device_peak(device: torch.device, precision: str) -> float | None:
    """The peak of this process's device at a recipe's `precision`; None for a CPU.

    float32 products that torch was told to round count as what they are, TF32.
    """
    if device.type != "cuda":
        return None
    name = torch.cuda.get_device_name(device)
    rounded = torch.get_float32_matmul_precision() != "highest" and peak_flops(name, "tf32")
    return peak_flops(name, "tf32" if precision == "fp32" and rounded else precision)
