"""The planner's model of a step: closed forms of its parts, its limits, the fit of constants."""

import math
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

from workflow_scripts.errors import UserError
from workflow_scripts.plan.collectives import Group, Links, all_reduce_s, gathering_s
from workflow_scripts.plan.cost import (
    BUILT_IN,
    Constants,
    Layout,
    Machine,
    groups,
    messages,
    passes_s,
    predicted_step,
    timed_step,
)
from workflow_scripts.plan.fit import Observation, fit
from workflow_scripts.plan.predict import Case, predicted
from workflow_scripts.plan.workload import Workload, workload_of

LINKS = Links(node_bytes_s=50e9, network_bytes_s=100e9, node_hop_s=1e-5, hop_s=1e-4)
MACHINE = Machine(
    devices_per_node=8, memory_bytes=64e9, peak_flops=2e14, memory_bytes_s=1.6e12,
    node_bytes_s=50e9, network_bytes_s=100e9,
)  # fmt: skip
ENCODER = {
    "family": "vit", "image_size": 32, "patch": 8, "width": 48, "depths": [3], "heads": [3],
    "mlp_ratio": 4.0, "window": None,
}  # fmt: skip
RECIPE: dict[str, Any] = {
    "objective": "mae", "encoder": ENCODER, "decoder": {"width": 32, "depth": 2, "heads": 2},
    "mask": {"ratio": 0.75, "norm_pix": True}, "precision": "bf16", "batch": 1,
}  # fmt: skip


@pytest.fixture(scope="module")
def tiny() -> Workload:
    """A small masked autoencoder."""
    return workload_of(RECIPE, 3)


@pytest.fixture(scope="module")
def large(tiny: Workload) -> Workload:
    """The numbers of a model of a thousand million parameters on the small one's recipe."""
    blocks = (28_000_000,) * 32
    return replace(
        tiny, parameters=sum(blocks) + 12_000_000, blocks=blocks, root=12_000_000,
        flops_per_image=1.4e12, moved_per_image=257 * 32 * math.sqrt(28e6),
    )  # fmt: skip


def layout(strategy: str = "full_shard", nodes: int = 1, devices: int = 8) -> Layout:
    """32 images a device, activations kept."""
    return Layout(strategy=strategy, nodes=nodes, devices=devices, batch=32)


def test_a_ring_passes_all_parts_but_ones_own() -> None:
    """(n - 1) messages of an n-th of the whole, each a hop and its bytes."""
    whole = 8e8
    inside = gathering_s(whole, Group(members=8, nodes=1), LINKS)
    assert inside == pytest.approx(7 * (1e-5 + 1e8 / 50e9))
    # Between nodes the slowest link counts: a hop of the network, the bandwidth of the node.
    across = gathering_s(whole, Group(members=16, nodes=2), LINKS)
    assert across == pytest.approx(15 * (1e-4 + 5e7 / 50e9))


def test_groups_beside_share_the_network() -> None:
    """Eight groups have an eighth of a node's adapters each."""
    group = Group(members=16, nodes=16, beside=8)
    assert gathering_s(1.6e9, group, LINKS) == pytest.approx(15 * (1e-4 + 1e8 / 12.5e9))
    assert all_reduce_s(1e9, group, LINKS) == pytest.approx(
        2 * 4 * 1e-4 + 2 * (15 / 16) * 1e9 / 12.5e9
    )


def test_a_tree_of_nodes_grows_with_the_logarithm_where_a_ring_grows_with_the_ranks() -> None:
    """Of messages so small that only latency counts."""

    def tree(nodes: int) -> float:
        return all_reduce_s(0, Group(members=nodes, nodes=nodes), LINKS)

    def ring(nodes: int) -> float:
        return gathering_s(0, Group(members=nodes, nodes=nodes), LINKS)

    assert tree(64) == pytest.approx(2 * tree(8))
    assert ring(64) == pytest.approx(9 * ring(8))


def test_one_rank_sends_nothing(large: Workload) -> None:
    """Whatever the strategy, and its step is its computing."""
    for strategy in ("ddp", "no_shard", "hybrid_shard_1", "shard_grad_op", "full_shard"):
        one = layout(strategy, devices=1)
        sent = messages(large, one, MACHINE, BUILT_IN)
        assert (sent.hidden_s, sent.waited_s) == (0, 0)
        assert timed_step(large, one, MACHINE, BUILT_IN).exposed_s == 0


def test_groups_of_the_strategies() -> None:
    """Shards are ranks in a row; copies of a part lie as far apart as there are shards."""
    assert groups(layout("hybrid_shard_2", 4)) == (
        Group(members=2, nodes=1), Group(members=16, nodes=4, beside=2),
    )  # fmt: skip
    assert groups(layout("hybrid_shard_16", 4)) == (
        Group(members=16, nodes=2), Group(members=2, nodes=2, beside=8),
    )  # fmt: skip
    assert groups(layout("full_shard", 4))[0] == Group(members=32, nodes=4)
    assert groups(layout("no_shard", 4))[1] == Group(members=32, nodes=4, beside=1)
    assert groups(layout("hybrid_shard_8", 1)) == (
        Group(members=8, nodes=1), Group(members=1, nodes=1, beside=8),
    )  # fmt: skip


def test_strategies_that_are_the_same_take_the_same(large: Workload) -> None:
    """hybrid_shard_1 is no_shard; hybrid_shard_<all ranks> is full_shard."""
    for a, b in (("no_shard", "hybrid_shard_1"), ("full_shard", "hybrid_shard_32")):
        first, second = (
            timed_step(large, layout(name, 4), MACHINE, BUILT_IN).total_s for name in (a, b)
        )
        assert first == pytest.approx(second)


def test_passes_are_operations_traffic_and_blocks(large: Workload) -> None:
    """By hand; a third of the operations comes again where activations are not kept."""
    own = layout()
    products = 32 * 1.4e12 / (2e14 * BUILT_IN.matrix_share)
    rest = 32 * 257 * 32 * math.sqrt(28e6) * BUILT_IN.traffic_bytes / 1.6e12
    fixed = 32 * BUILT_IN.block_s
    assert passes_s(large, own, MACHINE, BUILT_IN) == pytest.approx(products + rest + fixed)
    again = passes_s(large, replace(own, recompute=True), MACHINE, BUILT_IN)
    assert again == pytest.approx(4 / 3 * products + rest + fixed)


def test_the_longer_hides_the_shorter(large: Workload) -> None:
    """All of it at an overlap of 1, nothing at 0."""
    where = layout(nodes=4)
    passes = passes_s(large, where, MACHINE, BUILT_IN)
    sent = messages(large, where, MACHINE, BUILT_IN).hidden_s
    assert 0 < sent < passes
    hidden, bare = (
        timed_step(large, where, MACHINE, replace(BUILT_IN, overlap=share)).exposed_s
        for share in (1.0, 0.0)
    )
    assert hidden == pytest.approx(0, abs=1e-12)
    assert bare == pytest.approx(sent)


def test_gathering_late_is_waited_for(large: Workload) -> None:
    """Before the pass needs them, after it, or when it does: each takes longer."""
    seconds = [
        timed_step(large, replace(layout(nodes=8), prefetch=way), MACHINE, BUILT_IN).total_s
        for way in ("pre", "post", "none")
    ]
    assert seconds == sorted(seconds)
    assert seconds[0] < seconds[1] < seconds[2]


@pytest.mark.parametrize(
    "strategy",
    ["ddp", "no_shard", "hybrid_shard_2", "hybrid_shard_8", "shard_grad_op", "full_shard"],
)
def test_extremes_are_numbers(large: Workload, tiny: Workload, strategy: str) -> None:
    """From one node to Frontier's 9,408, from a tiny model to a large one, at every limit."""
    slow = replace(MACHINE, network_bytes_s=1.0, node_bytes_s=1.0)
    for workload in (tiny, large):
        for nodes in (1, 2, 3, 129, 9408):
            for machine in (MACHINE, slow):
                seconds = timed_step(workload, layout(strategy, nodes), machine, BUILT_IN)
                assert math.isfinite(seconds.total_s)
                assert seconds.compute_s > 0
                assert seconds.exposed_s >= 0


def test_what_is_faster_never_takes_longer(large: Workload) -> None:
    """Every number of a machine, and every constant, moves a step the way it must."""
    where = layout(nodes=16)
    base = timed_step(large, where, MACHINE, BUILT_IN).total_s
    for name in ("peak_flops", "memory_bytes_s", "node_bytes_s", "network_bytes_s"):
        better = replace(MACHINE, **{name: 2 * getattr(MACHINE, name)})
        assert timed_step(large, where, better, BUILT_IN).total_s <= base
    for name in ("traffic_bytes", "block_s", "update_bytes", "hop_s"):
        worse = replace(BUILT_IN, **{name: 2 * getattr(BUILT_IN, name)})
        assert timed_step(large, where, MACHINE, worse).total_s > base


def test_a_step_adds_up_and_its_memory_is_the_trace_s(tiny: Workload) -> None:
    """Memory is `plan memory`'s figure and what libraries hold."""
    where = layout(devices=4)
    step = predicted_step(tiny, where, MACHINE, BUILT_IN)
    assert step.total_s == pytest.approx(step.compute_s + step.communication_s)
    assert step.images_per_s == pytest.approx(4 * 32 / step.total_s)
    case = Case(recipe=RECIPE | {"batch": 128}, channels=3, strategy="full_shard", ranks=4)
    assert step.memory_bytes - BUILT_IN.runtime_bytes == predicted(case).total


def test_a_workload_is_counted(tiny: Workload) -> None:
    """4 visible tokens and the class token enter the encoder, 16 and it the decoder."""
    block = 12 * 48**2 + 13 * 48
    below = 12 * 32**2 + 13 * 32
    assert tiny.blocks == (block,) * 3 + (below,) * 2
    assert tiny.parameters == sum(tiny.blocks) + tiny.root
    assert tiny.tokens == 16
    assert tiny.activation_bytes_per_image == 2 * (3 * 5 * 48 + 2 * 17 * 32)
    assert tiny.moved_per_image == pytest.approx(
        3 * 5 * math.sqrt(block) + 2 * 17 * math.sqrt(below)
    )


def test_gfm_is_refused() -> None:
    """Its teacher is not in the recipe."""
    with pytest.raises(UserError, match="gfm"):
        workload_of(RECIPE | {"objective": "gfm"}, 3)


def study(workload: Workload, constants: Constants, noise: float) -> list[Observation]:
    """Points as the model makes them, with errors of a normal distribution."""
    rng = np.random.default_rng(0)
    found = []
    for scale in (1, 8):
        blocks = tuple(scale * count for count in workload.blocks)
        other = replace(
            workload, blocks=blocks, parameters=scale * workload.parameters,
            flops_per_image=scale * workload.flops_per_image,
            moved_per_image=math.sqrt(scale) * workload.moved_per_image,
        )  # fmt: skip
        for strategy in ("no_shard", "hybrid_shard_2", "full_shard", "shard_grad_op"):
            for nodes in (1, 4, 16, 64, 256):
                where = layout(strategy, nodes)
                seconds = timed_step(other, where, MACHINE, constants).total_s
                speed = where.ranks * where.batch / seconds * math.exp(noise * rng.normal())
                found.append(
                    Observation(
                        workload=other,
                        layout=where,
                        machine=MACHINE,
                        images_per_s=speed,
                    )
                )
    return found


def test_a_fit_finds_the_constants_of_the_model_that_made_the_points(large: Workload) -> None:
    """Those that the points tell: how fast it computes, and the latency of a ring."""
    true = replace(BUILT_IN, matrix_share=0.35, hop_s=2e-4, update_bytes=60)
    found = fit(study(large, true, 0.03))
    assert found.matrix_share == pytest.approx(0.35, rel=0.1)
    assert found.hop_s == pytest.approx(2e-4, rel=0.1)
    for one in study(large, true, 0.0):
        speed = one.layout.ranks * one.layout.batch
        seconds = timed_step(one.workload, one.layout, one.machine, found).total_s
        assert speed / seconds == pytest.approx(one.images_per_s, rel=0.1)


def test_one_point_moves_only_what_it_tells(large: Workload) -> None:
    """A single rank says nothing of links: they stay as they are built in."""
    slow = timed_step(large, layout(devices=1), MACHINE, BUILT_IN).total_s * 3
    seen = Observation(
        workload=large, layout=layout(devices=1), machine=MACHINE, images_per_s=32 / slow
    )
    found = fit([seen])
    for name in ("link_share", "hop_s", "node_hop_s", "overlap", "runtime_bytes"):
        assert asdict(found)[name] == pytest.approx(asdict(BUILT_IN)[name], rel=1e-3)
    again = timed_step(large, layout(devices=1), MACHINE, found).total_s
    assert again == pytest.approx(slow, rel=0.15)


def test_nothing_measured_is_refused(large: Workload) -> None:
    """And so is a speed of nought."""
    with pytest.raises(UserError, match="nothing to fit"):
        fit([])
    with pytest.raises(UserError, match="above zero"):
        fit([Observation(workload=large, layout=layout(), machine=MACHINE, images_per_s=0.0)])
