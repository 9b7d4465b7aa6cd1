"""What ranks add up, peaks of devices, and what the curve tells."""

import math

import pytest
import torch
from tiny_runs import run_ranks

from workflow_scripts.energy.counters.kinds import Counter
from workflow_scripts.energy.rank import Energy
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.peaks import device_peak, peak_flops
from workflow_scripts.pretrain.usage import Usage

CPU = torch.device("cpu")


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
    again = Energy(Ranks(), node=[counting(100, 900, 300, 1000)], own=None)
    assert again.joules() == 800
    # It stays so, though the counter is above its first value all the time.
    assert math.isnan(again.joules())
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


def test_a_segment_in_which_the_counter_did_not_move_is_not_measured():
    stuck = usage(Ranks(), node=[counting(10, 10)])
    stuck.told(skipped=0)
    assert stuck.facts(1.0)["energy_j"] is None


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
