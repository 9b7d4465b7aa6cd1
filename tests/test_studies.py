"""Points of scaling studies: which combinations are measured, and what they are called."""

from typing import Any

import pytest
import yaml

from workflow_scripts import recipes
from workflow_scripts.config import Config
from workflow_scripts.config_check import ROOT, check_config
from workflow_scripts.errors import UserError
from workflow_scripts.studies import point, points


def config(**study: Any) -> Config:
    """The embedded default with a study `mine`."""
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    entry = {
        "corpus": "scenes-train",
        "encoders": {"tiny": raw["studies"]["sample"]["encoders"]["tiny"]},
    }
    raw["studies"]["mine"] = entry | study
    return check_config(raw)


def names(**study: Any) -> list[str]:
    """Of the points of a study."""
    return [one.name for one in points(config(**study), "mine")]


def test_on_one_rank_all_strategies_are_one_and_nothing_is_sent():
    found = names(strategies=["ddp", "full_shard"], modes=["synthetic", "no_communication"])
    assert found == ["tiny_no_shard_1x1_b32_synthetic"]


def test_strategies_that_ranks_cannot_have_are_no_points():
    found = names(strategies=["hybrid_shard_2", "hybrid_shard_3"], ranks_per_node=[2, 3, 6],
                  modes=["synthetic"])  # fmt: skip
    assert found == [
        "tiny_hybrid_shard_2_1x2_b32_synthetic",
        "tiny_hybrid_shard_3_1x3_b32_synthetic",
        "tiny_hybrid_shard_2_1x6_b32_synthetic",
        "tiny_hybrid_shard_3_1x6_b32_synthetic",
    ]


def test_what_reads_only_has_no_strategy_and_what_reads_nothing_no_reader():
    found = names(strategies=["ddp", "full_shard"], ranks_per_node=[2], workers=[0, 1],
                  prefetch=[1, 4], modes=["io", "synthetic"])  # fmt: skip
    assert found == [
        "tiny_1x2_b32_io_w0",
        "tiny_1x2_b32_io_w1_f1",
        "tiny_1x2_b32_io_w1_f4",
        "tiny_ddp_1x2_b32_synthetic",
        "tiny_full_shard_1x2_b32_synthetic",
    ]


def test_a_longer_list_adds_points_and_changes_none():
    few, more = names(ranks_per_node=[1, 2]), names(ranks_per_node=[1, 2, 4])
    assert set(few) < set(more)
    mine, other = config(ranks_per_node=[1, 2]), config(ranks_per_node=[4, 2, 1], batch=[32, 8])
    for name in few:
        assert recipes.point(mine, "mine", name) == recipes.point(other, "mine", name)


def test_cores_change_what_is_measured_and_the_time_limit_and_the_label_do_not():
    few, more = config(cores_per_rank=1), config(cores_per_rank=4)
    same = config(cores_per_rank=1, minutes=99, label="Another")
    for name in names():
        assert recipes.point(few, "mine", name) != recipes.point(more, "mine", name)
        assert recipes.point(few, "mine", name) == recipes.point(same, "mine", name)


def test_a_patch_size_changes_the_encoder_of_the_recipe():
    mine = config(patches=[8, 4], modes=["synthetic"])
    recipe = recipes.point(mine, "mine", "tiny-p4_no_shard_1x1_b32_synthetic")
    assert recipe["pretrain"]["encoder"]["patch"] == 4
    assert recipe["pretrain"]["batch"] == 32


def test_the_batch_of_the_recipe_is_that_of_all_ranks():
    mine = config(nodes=[2], ranks_per_node=[3], modes=["synthetic"], batch=[5])
    recipe = recipes.point(mine, "mine", "tiny_no_shard_2x3_b5_synthetic")
    assert recipe["pretrain"]["batch"] == 30
    assert point(mine, "mine", recipe["point"]).ranks == 6


@pytest.mark.parametrize(
    ("study", "told"),
    [
        ({"corpus": None}, "studies.mine: modes real, io read a corpus, and none is named"),
        ({"corpus": "nowhere"}, "studies.mine.corpus: no corpus is called 'nowhere'"),
        ({"modes": ["no_communication"]}, "studies.mine: no combination of its lists"),
        ({"patches": [7]}, "encoder.image_size 64 is not divisible by encoder.patch 7"),
        ({"strategies": ["zero3"]}, "expected ddp, no_shard"),
        ({"nodes": [2, 2]}, "2 is listed twice"),
        ({"batch": []}, "studies.mine.batch"),
        (
            {"batch": [10**30]},
            "studies.mine.batch.0: Input should be less than or equal to 1000000",
        ),
        ({"strategies": ["hybrid_shard_3"]}, "studies.mine: no combination of its lists"),
    ],
)
def test_a_study_that_cannot_be_is_refused(study, told):
    with pytest.raises(UserError, match=r"the configuration cannot be used") as raised:
        config(**study)
    assert told in str(raised.value)


@pytest.mark.parametrize(
    ("plan", "told"),
    [
        ({"run": "scenes-mae", "encoder": "vit_1b"}, "expected either run or encoder"),
        ({"encoder": "vit_1b"}, "encoder needs images"),
        (
            {"encoder": "swinv2_tiny", "images": 1, "objective": "mae"},
            "plans.mine.encoder.family: Input should be 'vit'",
        ),
        ({"run": "scenes-mea"}, "did you mean 'scenes-mae'?"),
        ({"run": "scenes-mae", "machine": "fronteer"}, "did you mean 'frontier'?"),
        # Numbers with which the planner's products would be no numbers any more.
        ({"run": "scenes-mae", "nodes": [10**30]}, "plans.mine.nodes.0: Input should be less"),
        ({"run": "scenes-mae", "batch": 10**30}, "plans.mine.batch: Input should be less"),
        ({"run": "scenes-mae", "channels": 10**30}, "plans.mine.channels: Input should be less"),
    ],
)
def test_a_plan_that_cannot_be_is_refused(plan, told):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["plans"] = {"mine": plan}
    with pytest.raises(UserError, match=r"the configuration cannot be used") as raised:
        check_config(raw)
    assert told in str(raised.value)


@pytest.mark.parametrize("key", ["pue", "grid_g_co2_per_kwh"])
def test_a_factor_of_energy_that_no_grid_or_centre_has_is_refused(key):
    raw = yaml.safe_load((ROOT / "config.yaml").read_text())
    raw["energy"][key] = 1e308
    with pytest.raises(UserError, match=rf"energy\.{key}: Input should be less than"):
        check_config(raw)
