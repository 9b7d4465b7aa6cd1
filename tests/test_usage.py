"""Counters of energy in files of the real format, peaks of devices, and what the curve tells."""

import math
import sys
import time
from types import SimpleNamespace

import pytest
import torch
from tiny_runs import run_ranks

from workflow_scripts.pretrain import energy, parallel
from workflow_scripts.pretrain.energy import Counter, Energy
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.peaks import device_peak, peak_flops
from workflow_scripts.pretrain.usage import Usage

CPU = torch.device("cpu")


def test_a_cray_node_is_read(tmp_path):
    file = tmp_path / "energy"
    assert energy.cray(tmp_path) is None
    file.write_text("172604398 J 1700000000123456 us\n")
    counter = energy.cray(tmp_path)
    assert (counter.name, counter.read()) == ("node (Cray pm_counters)", 172604398.0)
    file.write_text("310 W 1700000000123456 us\n")
    with pytest.raises(ValueError, match="expected J, found W"):
        counter.read()
    assert energy.cray(tmp_path) is None


def domain(root, name, *, called, microjoules, limit=262_143_328_850):
    folder = root / name
    folder.mkdir(parents=True)
    (folder / "name").write_text(f"{called}\n")
    (folder / "energy_uj").write_text(f"{microjoules}\n")
    (folder / "max_energy_range_uj").write_text(f"{limit}\n")
    return folder / "energy_uj"


def test_processors_and_memory_are_added_up_once_and_counters_may_wrap(tmp_path):
    first = domain(tmp_path, "intel-rapl:0", called="package-0", microjoules=5_000_000)
    second = domain(tmp_path, "intel-rapl:1", called="package-1", microjoules=90, limit=100)
    memory = domain(tmp_path, "intel-rapl:0:1", called="dram", microjoules=0)
    others = [
        domain(tmp_path, "intel-rapl:0:0", called="core", microjoules=0),
        domain(tmp_path, "intel-rapl:2", called="psys", microjoules=0),
        domain(tmp_path, "intel-rapl-mmio:0", called="package-0", microjoules=0),
    ]
    counter = energy.rapl(tmp_path)
    assert counter.name == "processors and memory (RAPL)"
    assert counter.read() == 0
    first.write_text("7000000\n")
    second.write_text("10\n")  # 20 further, over the end
    memory.write_text("500000\n")
    for other in others:
        other.write_text("9999999999\n")
    assert counter.read() == pytest.approx(2.5 + 20e-6)
    second.write_text("40\n")
    assert counter.read() == pytest.approx(2.5 + 50e-6)


def test_a_rapl_counter_is_read_often_enough_to_see_it_begin_again_twice(tmp_path):
    file = domain(tmp_path, "intel-rapl:0", called="package-0", microjoules=50, limit=100)
    counter = energy.rapl(tmp_path, period_s=0.01)
    for microjoules in (90, 10, 90):
        (tmp_path / "new").write_text(str(microjoules))
        (tmp_path / "new").replace(file)  # whole at once, as a counter of the kernel is
        time.sleep(0.3)  # thirty readings in the background
    (tmp_path / "new").write_text("20")
    (tmp_path / "new").replace(file)
    assert counter.read() == pytest.approx((40 + 20 + 80 + 30) / 1e6)


def test_counters_that_are_not_there_or_not_readable_are_none(tmp_path):
    assert energy.rapl(tmp_path) is None
    domain(tmp_path, "intel-rapl:0", called="package-0", microjoules="no number")
    assert energy.rapl(tmp_path) is None


def test_gpus_are_read_where_their_module_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert energy.nvidia("00000000:3b:00.0") is None
    assert energy.amd("00000000:3b:00.0") is None
    nvml = SimpleNamespace(
        NVMLError=RuntimeError, nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=lambda pci: {"00000000:3b:00.0": 7}[pci],
        nvmlDeviceGetTotalEnergyConsumption=lambda handle: 1500 * handle,
    )  # fmt: skip
    smi = SimpleNamespace(
        AmdSmiException=RuntimeError, amdsmi_init=lambda: None,
        amdsmi_get_processor_handle_from_bdf=lambda pci: {"0000:3b:00.0": 2}[pci],
        amdsmi_get_energy_count=lambda handle: {
            "energy_accumulator": 10**6 * handle, "counter_resolution": 15.3
        },
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    monkeypatch.setitem(sys.modules, "amdsmi", smi)
    assert energy.nvidia("00000000:3b:00.0").read() == 10.5
    assert energy.amd("00000000:3b:00.0").read() == pytest.approx(30.6)
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 1 / 0
    assert energy.nvidia("00000000:3b:00.0") is None


def counting(*values, name="node"):
    """A counter that reads these, one after the other."""
    left = iter(values)
    return Counter(name=name, read=lambda: next(left))


def test_the_first_rank_of_a_node_reads_the_node_and_each_its_device():
    first = Energy(Ranks(), node=[counting(100, 130)], own=counting(5, 7, name="GPUs"))
    assert (first.source, first.joules()) == ("node and GPUs", 32)
    second = Energy(
        Ranks(rank=1, world=2, local_rank=1, local_world=2), node=[counting()],
        own=counting(5, 9, name="GPUs"),
    )  # fmt: skip
    assert (second.source, second.joules()) == ("node and GPUs", 4)


def test_a_counter_that_begins_again_or_fails_makes_the_sum_unknown():
    again = Energy(Ranks(), node=[counting(100, 3)], own=None)
    assert math.isnan(again.joules())
    assert math.isnan(Energy(Ranks(), node=[counting(100)], own=None).joules())


def usage(ranks, *, node, earlier=0.0):
    return Usage(
        ranks, CPU, energy=Energy(ranks, node=node, own=None), flops=2e9, peak=1e12,
        earlier_j=earlier,
    )  # fmt: skip


def test_energy_goes_on_from_earlier_segments_unless_one_did_not_know_its_own():
    one = usage(Ranks(), node=[counting(10, 25, 40)], earlier=1000.0)
    assert one.told(skipped=3).energy_j == 1015
    assert one.told(skipped=3).energy_j == 1030
    assert one.facts(100.0)["energy_j"] == 30
    assert one.facts(100.0)["energy_counter"] == "node"
    later = usage(Ranks(), node=[counting(10, 25)], earlier=None)
    assert later.told(skipped=0).energy_j is None
    assert later.facts(1.0)["energy_j"] == 15
    none = usage(Ranks(), node=[])
    assert none.told(skipped=0).energy_j is None
    assert none.facts(1.0)["energy_counter"] is None


def test_speed_is_of_one_device_and_a_share_of_its_peak():
    one = usage(Ranks(), node=[])
    assert one.speed(250.0) == {"tflops": 0.5, "mfu": 0.5}
    one.world = 4
    assert one.speed(250.0) == {"tflops": 0.125, "mfu": 0.125}
    one.peak = None
    assert one.speed(250.0) == {"tflops": 0.125, "mfu": None}


def two_ranks(ranks, folder):
    parallel.join(ranks, timeout_s=120)
    node = [counting(100, 107)] if ranks.is_first else [counting()]
    same = usage(ranks, node=node)
    told = same.told(skipped=2 + ranks.rank)
    assert (told.skipped, told.energy_j) == (5, 7)
    mine = torch.tensor([same._memory()])
    assert told.peak_memory_bytes <= int(parallel.gathered(mine).max())
    differing = usage(ranks, node=node[: int(ranks.is_first)] and [counting(1, 2)])
    assert differing.energy_source is None
    assert differing.told(skipped=0).energy_j is None
    parallel.leave()


@pytest.mark.distributed
def test_ranks_tell_sums_and_maxima_and_nodes_that_differ_keep_no_energy(tmp_path):
    run_ranks(2, two_ranks, tmp_path)


@pytest.mark.parametrize(
    ("name", "precision", "peak"),
    [("AMD Instinct MI250X", "bf16", 191.5), ("NVIDIA H100 80GB HBM3", "bf16", 989.4),
     ("NVIDIA H100 PCIe", "bf16", 756.0), ("NVIDIA H200", "bf16", 989.4),
     ("NVIDIA GH200 480GB", "bf16", 989.4), ("NVIDIA A100-SXM4-40GB", "bf16", 311.9),
     ("NVIDIA A100-SXM4-40GB", "fp32", 19.5), ("NVIDIA A100-SXM4-40GB", "tf32", 156.0),
     ("AMD Instinct MI300X", "bf16", 1307.4), ("Tesla V100-SXM2-16GB", "fp32", 15.7),
     ("Tesla V100-SXM2-16GB", "bf16", None), ("NVIDIA H100 80GB HBM3 MIG 1g.10gb", "bf16", None),
     ("NVIDIA GeForce GTX 1080", "fp32", None)],
)  # fmt: skip
def test_peaks_are_found_by_the_name_of_a_device(name, precision, peak):
    found = peak_flops(name, precision)
    assert found == (None if peak is None else pytest.approx(peak * 1e12))


def test_a_cpu_has_no_peak():
    assert device_peak(CPU, "bf16") is None
