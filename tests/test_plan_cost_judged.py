"""The planner's model against published points: what its constants have not seen, left out in turn.

The targets are those of docs/planner-model.md; nothing in them is random.
"""

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from workflow_scripts.errors import UserError
from workflow_scripts.plan import judge
from workflow_scripts.plan.cost import BUILT_IN, FILE, predicted_step
from workflow_scripts.plan.fit import fit
from workflow_scripts.plan.judge import Guess, guesses, judgement, pairs, score, write
from workflow_scripts.plan.judge_picture import draw
from workflow_scripts.plan.reference import frontier, observation, observations
from workflow_scripts.published.throughput import Point, points


@pytest.fixture(scope="module")
def judged() -> dict[str, Any]:
    """Scores by the model that was left out, and of all."""
    return judgement()[0]


@pytest.mark.parametrize("model", ["Base", "1B", "5B", "pooled"])
def test_speed_and_memory_of_a_model_that_was_left_out(judged: dict[str, Any], model: str) -> None:
    """Median within 15 %, nine in ten within 35 %; memory within 15 % in the median."""
    found = judged[model]
    assert found["points"] == {"Base": 37, "1B": 37, "5B": 29, "pooled": 103}[model]
    assert found["speed_median"] <= 0.15
    assert found["speed_p90"] <= 0.35
    assert found["memory_median"] <= 0.15


@pytest.mark.parametrize("model", ["Base", "1B", "5B", "pooled"])
def test_strategies_of_a_model_that_was_left_out_are_ranked(
    judged: dict[str, Any], model: str
) -> None:
    """Four pairs of five that differ by a tenth or more."""
    assert judged[model]["pairs_right"] >= 0.8 * judged[model]["pairs"] > 0


def test_the_built_in_constants_are_those_of_the_fit() -> None:
    """What is stored is what the published points give."""
    found = fit(observations(), start="known")
    assert asdict(found) == pytest.approx(asdict(BUILT_IN), rel=0.02)


def test_full_shard_collapses_and_hybrids_do_not() -> None:
    """The latency of a ring of all ranks: at 128 nodes it is slowest by far, as published."""
    speeds = {
        strategy: guesses([Point("Base", "vit_base", strategy, 128, None, None)], BUILT_IN)[0]
        for strategy in ("ddp", "no_shard", "hybrid_shard_2", "full_shard")
    }
    slowest = speeds.pop("full_shard").images_per_s
    assert all(one.images_per_s > 4 * slowest for one in speeds.values())


def test_larger_models_of_the_ladder_are_slower_and_need_more() -> None:
    """At one node, whole sequence: images/s fall and memory rises with the parameters."""
    ladder = ["vit_base", "vit_huge", "vit_1b", "vit_3b"]
    some = guesses([Point(name, name, "full_shard", 1, None, None) for name in ladder], BUILT_IN)
    speeds = [one.images_per_s for one in some]
    assert speeds == sorted(speeds, reverse=True)
    memory = [one.memory_bytes for one in some]
    assert memory == sorted(memory)
    # None is faster than its operations at the peak allow.
    for one in some:
        seen = observation(one.point)
        used = one.images_per_s * seen.workload.flops_per_image / (8 * frontier("bf16").peak_flops)
        assert 0.03 < used < 0.6


def test_more_nodes_are_never_slower_where_nothing_is_cut_over_all() -> None:
    """Strategies whose shards stay inside a node grow with the nodes, nearly linearly."""
    one = observation(Point("1B", "vit_1b", "hybrid_shard_2", 1, None, None))
    rates = [
        predicted_step(
            one.workload, replace(one.layout, nodes=nodes), one.machine, BUILT_IN
        ).images_per_s / nodes
        for nodes in (1, 2, 4, 8, 16, 32, 64, 128)
    ]  # fmt: skip
    assert min(rates) > 0.9 * max(rates)


def test_pairs_count_what_differs_and_a_tie_is_wrong() -> None:
    """By hand."""

    def guess(strategy: str, measured: float, predicted: float, nodes: int = 8) -> Guess:
        return Guess(Point("M", "vit_base", strategy, nodes, measured, None), predicted, 1.0)

    right = pairs([guess("a", 100, 10), guess("b", 120, 20)])
    assert [ok for *_, ok in right] == [True]
    assert [ok for *_, ok in pairs([guess("a", 100, 10), guess("b", 120, 10)])] == [False]
    assert pairs([guess("a", 100, 10), guess("b", 109, 1)]) == []
    assert pairs([guess("a", 100, 10, 16), guess("b", 200, 1, 16)]) == []  # not a ranked number


def test_scores_keep_the_collapse_apart() -> None:
    """full_shard at 32 nodes is in a column of its own."""
    some = [
        Guess(Point("M", "vit_base", "full_shard", 32, 100.0, None), 300.0, 1.0),
        Guess(Point("M", "vit_base", "full_shard", 16, 100.0, 2.0), 110.0, 1.0),
    ]
    found = score(some)
    assert (found["points"], found["apart_points"]) == (1, 1)
    assert found["speed_median"] == pytest.approx(0.1)
    assert found["apart_median"] == pytest.approx(2.0)
    assert found["memory_median"] == pytest.approx(0.5)


def test_published_points_are_read(tmp_path: Path) -> None:
    """Each figure with its nodes, memory in bytes; another file in the same shape."""
    found = {(p.model, p.strategy, p.nodes): p for p in points()}
    assert found["1B", "no_shard", 8].images_per_s == 1435
    assert found["5B", "full_shard", 128].memory_bytes == pytest.approx(4.51 * 2**30)
    assert found["5B", "hybrid_shard_4", 1].images_per_s is None
    assert len(found) == 113
    other = tmp_path / "more.yaml"
    other.write_text(
        "encoders: {H: vit_huge}\nnodes: [1, 2]\nimages_per_s: {H: {no_shard: [null, 500]}}\n"
    )
    assert points(other) == [Point("H", "vit_huge", "no_shard", 2, 500.0, None)]
    other.write_text("nodes: [1]\nimages_per_s: {H: {no_shard: [1, 2]}}\n")
    with pytest.raises(UserError, match=r"more\.yaml"):
        points(other)


def test_constants_are_written_and_nothing_else(tmp_path: Path) -> None:
    """What is known beforehand, and the comments, stay."""
    copy = tmp_path / "constants.yaml"
    text = FILE.read_text(encoding="utf-8")
    copy.write_text(text, encoding="utf-8")
    write(replace(BUILT_IN, matrix_share=0.5), copy)
    after = yaml.safe_load(copy.read_text(encoding="utf-8"))
    before = yaml.safe_load(text)
    assert after["constants"].pop("matrix_share") == 0.5
    before["constants"].pop("matrix_share")
    assert after == before
    assert copy.read_text(encoding="utf-8").count("#") == text.count("#")


def test_the_picture_comes_with_its_data(tmp_path: Path) -> None:
    """A row for each measured speed; points of memory alone have none."""
    some = [
        Guess(Point("Base", "vit_base", "ddp", 1, 853.0, None), 805.04, 1.0),
        Guess(Point("5B", "vit_5b", "hybrid_shard_4", 1, None, 2.0), 47.0, 1.0),
    ]
    assert draw(some, tmp_path, "judged") == tmp_path / "judged.svg"
    lines = (tmp_path / "judged.csv").read_text(encoding="utf-8").splitlines()
    assert lines[1:] == ['"Base","ddp",1,853.0,805.0,"no"']


def _file(folder: Path, **more: Any) -> Path:
    """A file of one point, with more keys or other ones."""
    found = {"encoders": {"X": "vit_base"}, "nodes": [1], "images_per_s": {"X": {"ddp": [1]}}}
    path = folder / "more.yaml"
    path.write_text(yaml.safe_dump(found | more, sort_keys=False))
    return path


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"encoders": {"X": "vit_9b"}}, "vit_9b"),
        ({"encoders": {"X": {"family": "vit"}}}, "expected one of vit_tiny"),
        ({"encoders": {"X": "gfm_swin_base"}}, "224"),  # windows of 6 do not divide 56 tokens
        ({"images_per_s": {"X": {"DDP": [1]}}}, "X, DDP, 1 nodes: strategy 'DDP' is none of"),
        ({"images_per_s": {"X": {"hybrid_shard_16": [1]}}}, "does not divide 8 ranks"),
        ({"images_per_s": {"X": {"ddp": [0]}}}, "a figure is 0; expected more than 0, or null"),
        ({"images_per_s": {"X": {"ddp": [float("nan")]}}}, "a figure is nan"),
        ({"images_per_s": {"X": {"ddp": [None]}}}, "no point"),
        ({"nodes": [0]}, "whole number of nodes"),
        ({"nodes": ["1"]}, "whole number of nodes"),
        ({"batch": 0}, "batch is 0"),
        ({"recompute": "yes"}, "recompute is 'yes'"),
        ({"machine": "summit"}, "machine is 'summit'"),
    ],
)
def test_a_file_of_points_that_cannot_be_is_refused_with_its_name(
    tmp_path: Path, more: dict[str, Any], told: str
) -> None:
    """What was seen, and what was expected."""
    with pytest.raises(UserError, match=r"more\.yaml") as error:
        judge.of_file(_file(tmp_path, **more))
    assert told in str(error.value)


def test_a_file_of_points_says_what_holds_for_them(tmp_path: Path) -> None:
    """Its batch, image size and devices are taken; figures of null are left out."""
    memory = {"memory_unit": 1e9, "memory": {"X": {"ddp": {1: 2.5, 2: None}}}}
    (plain,) = judge.of_file(_file(tmp_path, **memory))
    assert (plain.point.images_per_s, plain.point.memory_bytes) == (1.0, 2.5e9)
    for changed in ({"batch": 8}, {"image_size": 512}, {"devices_per_node": 4}):
        (one,) = judge.of_file(_file(tmp_path, **changed))
        assert one.images_per_s < 0.75 * plain.images_per_s, changed
    (kept,) = judge.of_file(_file(tmp_path, recompute=False))
    assert kept.images_per_s > plain.images_per_s
    assert kept.memory_bytes > plain.memory_bytes


@pytest.mark.parametrize(
    ("encoder", "size"), [("vit_tiny", 224), ("vit_modis_100m", 224), ("swinv2_tiny", 256)]
)
def test_every_kind_of_encoder_and_of_strategy_can_be_a_point(
    tmp_path: Path, encoder: str, size: int
) -> None:
    """By its name in the configuration, at an image size that it can have."""
    names = ("ddp", "no_shard", "hybrid_shard_4", "hybrid_shard_16", "shard_grad_op", "full_shard")
    file = _file(
        tmp_path, encoders={"X": encoder}, image_size=size, nodes=[4], batch=2,
        images_per_s={"X": {name: [1] for name in names}},
    )  # fmt: skip
    found = judge.of_file(file)
    assert [one.point.strategy for one in found] == list(names)
    assert min(one.images_per_s for one in found) > 0


def test_a_picture_of_memory_alone_is_refused(tmp_path: Path) -> None:
    """It has no panel."""
    with pytest.raises(UserError, match="no images_per_s"):
        draw([Guess(Point("X", "vit_base", "ddp", 1, None, 2.0), 47.0, 1.0)], tmp_path, "x")
