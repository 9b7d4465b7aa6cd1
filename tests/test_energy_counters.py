"""Counters of energy in files and modules of the real shape, and what they do when they fail."""

import math
import subprocess
import sys
import time
from types import SimpleNamespace

import pytest

from workflow_scripts.energy.counters.amd import amd
from workflow_scripts.energy.counters.cpu import cpu_load
from workflow_scripts.energy.counters.cray import cray
from workflow_scripts.energy.counters.nvml import nvidia
from workflow_scripts.energy.counters.rapl import rapl
from workflow_scripts.energy.counters.rocm import rocm

PCI = "00000000:3b:00.0"


def test_a_cray_node_is_read(tmp_path):
    file = tmp_path / "energy"
    assert cray(tmp_path) is None
    file.write_text("172604398 J 1700000000123456 us\n")
    counter = cray(tmp_path)
    assert (counter.name, counter.read()) == ("node (Cray pm_counters)", 172604398.0)
    file.write_text("310 W 1700000000123456 us\n")
    with pytest.raises(ValueError, match="expected J, found W"):
        counter.read()
    assert cray(tmp_path) is None


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
    counter = rapl(tmp_path)
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


def test_a_rapl_counter_is_read_often_enough_to_see_it_begin_again_twice(tmp_path, monkeypatch):
    pauses = []  # between two readings in the background
    sleep = time.sleep
    patience = SimpleNamespace(sleep=lambda seconds: (pauses.append(seconds), sleep(seconds)))
    monkeypatch.setattr("workflow_scripts.energy.counters.rapl.time", patience)
    file = domain(tmp_path, "intel-rapl:0", called="package-0", microjoules=50, limit=100)
    counter = rapl(tmp_path, period_s=0.01)
    for microjoules in (90, 10, 90):
        (tmp_path / "new").write_text(str(microjoules))
        (tmp_path / "new").replace(file)  # whole at once, as a counter of the kernel is
        before, end = len(pauses), time.monotonic() + 60
        while len(pauses) < before + 2 and time.monotonic() < end:
            sleep(0.01)
    assert set(pauses) == {0.01}
    (tmp_path / "new").write_text("20")
    (tmp_path / "new").replace(file)
    assert counter.read() == pytest.approx((40 + 20 + 80 + 30) / 1e6)


def test_counters_that_are_not_there_or_not_readable_are_none(tmp_path):
    assert rapl(tmp_path) is None
    domain(tmp_path, "intel-rapl:0", called="package-0", microjoules="no number")
    assert rapl(tmp_path) is None


def test_gpus_are_read_where_their_module_is_installed(monkeypatch):
    monkeypatch.setitem(sys.modules, "pynvml", None)  # as if it were not installed
    monkeypatch.setitem(sys.modules, "amdsmi", None)
    assert nvidia("00000000:3b:00.0") == (None, None)
    assert amd("00000000:3b:00.0") == (None, None)
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
    assert nvidia("00000000:3b:00.0")[0].read() == 10.5
    assert amd("00000000:3b:00.0")[0].read() == pytest.approx(30.6)
    nvml.nvmlDeviceGetTotalEnergyConsumption = lambda handle: 1 / 0
    assert nvidia("00000000:3b:00.0")[0] is None


def test_a_module_whose_library_is_missing_is_as_one_that_is_not_installed(tmp_path, monkeypatch):
    (tmp_path / "amdsmi.py").write_text("raise OSError('libamd_smi.so: no such file')")
    monkeypatch.delitem(sys.modules, "amdsmi", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    assert amd(PCI) == (None, None)


def test_nvml_tells_a_gpus_load(monkeypatch):
    nvml = SimpleNamespace(
        NVMLError=RuntimeError, nvmlInit=lambda: None,
        nvmlDeviceGetHandleByPciBusId=lambda pci: pci,
        nvmlDeviceGetUtilizationRates=lambda handle: SimpleNamespace(gpu=87, memory=3),
        nvmlDeviceGetMemoryInfo=lambda handle: SimpleNamespace(total=10**11, used=7 * 10**9),
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "pynvml", nvml)
    assert nvidia(PCI)[1].read() == (0.87, 7e9)
    assert nvidia(PCI)[0] is None  # no counter of energy: not a reason to fail

    def refuse(handle):
        raise RuntimeError("Insufficient Permissions")

    nvml.nvmlDeviceGetUtilizationRates = refuse
    assert nvidia(PCI)[1] is None


def test_amdsmi_tells_a_gpus_load_and_what_it_does_not_know_is_no_number(monkeypatch):
    smi = SimpleNamespace(
        AmdSmiException=RuntimeError, amdsmi_init=lambda: None,
        amdsmi_get_processor_handle_from_bdf=lambda pci: pci,
        amdsmi_get_gpu_activity=lambda handle: {"gfx_activity": 41, "umc_activity": "N/A"},
        amdsmi_get_gpu_vram_usage=lambda handle: {"vram_total": 65520, "vram_used": 2048},
    )  # fmt: skip
    monkeypatch.setitem(sys.modules, "amdsmi", smi)
    assert amd(PCI)[1].read() == (pytest.approx(0.41), 2**31)
    smi.amdsmi_get_gpu_activity = lambda handle: {"gfx_activity": "N/A"}
    share, memory = amd(PCI)[1].read()
    assert (math.isnan(share), memory) == (True, 2**31)


CARDS = {
    "card0": {"PCI Bus": "0000:1A:00.0", "Accumulated Energy (uJ)": "9e12", "GPU use (%)": "3"},
    "card1": {
        "PCI Bus": "0000:3B:00.0",
        "Accumulated Energy (uJ)": "962825096297442.9",
        "GPU use (%)": "99",
        "VRAM Total Used Memory (B)": "11132928",
    },
    "system": {"Driver version": "6.2.4"},
}


def test_the_command_rocm_smi_is_read_in_the_background_and_by_the_devices_place():
    answers = [CARDS]
    counter, gauge = rocm(PCI, lambda: answers[-1], period_s=0.01)
    assert counter.name == gauge.name == "GPUs (rocm-smi)"
    assert counter.read() == pytest.approx(962825096.2974429)
    assert gauge.read() == (pytest.approx(0.99), 11132928)
    assert counter.every_s == 0.01
    later = {**CARDS["card1"], "Accumulated Energy (uJ)": "962825097297442.9"}
    answers.append({"card0": later})
    until = time.monotonic() + 30
    while counter.read() < 962825097 and time.monotonic() < until:
        time.sleep(0.01)
    assert counter.read() == pytest.approx(962825097.2974429)


def test_a_device_or_a_number_that_rocm_smi_does_not_tell_is_none():
    def fails():
        raise subprocess.CalledProcessError(2, "rocm-smi")

    assert rocm("00000000:ff:00.0", lambda: CARDS) == (None, None)
    assert rocm(PCI, fails) == (None, None)
    counter, gauge = rocm("00000000:07:00.0", lambda: {"card7": {"PCI Bus": "0000:07:00.0"}})
    assert counter is None
    assert all(math.isnan(value) for value in gauge.read())


def test_the_real_command_is_asked_and_is_not_there(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    assert rocm(PCI) == (None, None)
    script = tmp_path / "rocm-smi"
    script.write_text(
        "#!/bin/sh\necho 'WARNING: low power state'\n"
        """echo '{"card0": {"PCI Bus": "0000:3B:00.0", "Accumulated Energy (uJ)": "5e6"}}'\n"""
    )
    script.chmod(0o755)
    assert rocm(PCI)[0].read() == 5.0


def test_processor_time_is_told_as_a_share_of_the_cores():
    gauge = cpu_load(cores=1)
    gauge.read()
    end = time.process_time() + 0.3
    while time.process_time() < end:
        pass
    share, memory = gauge.read()
    assert 0 < share <= 1
    assert memory > 2**20
    many = cpu_load(cores=10**6)
    many.read()
    time.sleep(0.05)
    assert many.read().utilisation < 1e-3


def test_loader_processes_count_with_their_time_and_memory():
    code = "held = bytearray(200 * 2**20)\nprint(flush=True)\nwhile True: pass"
    gauge = cpu_load(cores=1)
    alone = gauge.read().memory
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE) as child:
        try:
            child.stdout.readline()
            assert gauge.read().memory > alone + 190 * 2**20
            time.sleep(0.4)
            assert gauge.read().utilisation > 0.1
        finally:
            child.kill()
    time.sleep(0.05)
    assert gauge.read().memory < alone + 100 * 2**20
