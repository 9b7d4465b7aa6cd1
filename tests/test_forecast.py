"""Jobs, energy, layouts and what is recommended, on numbers made up for it."""

import math

import pytest
from plan_options import option, too_large

from workflow_scripts.config_studies import Machine
from workflow_scripts.forecast.layouts import strategies_on, usual_strategies
from workflow_scripts.forecast.recommend import (
    TRIED_BATCH,
    WORTH,
    Asked,
    recommended,
    why,
    why_none,
)
from workflow_scripts.forecast.segments import Pace, minutes_for, segments
from workflow_scripts.forecast.words import hours, short_time, time_words
from workflow_scripts.plan.machines import BUILT_IN, DEFAULTS
from workflow_scripts.pretrain.stop import training_time

ANY = Asked()
PACE = Pace(step_s=1.0, save_s=25.0, save_every=100, start_s=180.0)


def test_a_job_trains_from_its_start_to_its_end_less_start_and_last_checkpoint():
    # 120 minutes end 300 s early: 6900 s, less 180 s of start and 25 s of the last checkpoint are
    # 6695 s, in which a step takes 1 s and a hundredth of the 25 s of a checkpoint: 5356 steps.
    found = segments(20_000, PACE, 120)
    assert (found.count, found.minutes) == (math.ceil(20_000 / 5356), 120)
    assert found.seconds == pytest.approx(20_000 * 1.25 + 4 * 205)
    assert segments(4 * 5356, PACE, 120).count == 4
    assert segments(4 * 5356 + 1, PACE, 120).count == 5


def test_what_one_job_can_do_is_one_job_of_the_least_limit_that_will_do():
    found = segments(1000, PACE, 120)
    need = 1000 * 1.25 + 205
    assert (found.count, found.seconds) == (1, pytest.approx(need))
    assert training_time(60 * found.minutes) >= need > training_time(60 * (found.minutes - 1))


def test_without_limits_all_is_one_job():
    found = segments(1_000_000, PACE, None)
    assert (found.count, found.seconds) == (1, pytest.approx(1_250_000 + 205))


def test_a_job_that_ends_before_its_first_step_is_none():
    assert segments(1, Pace(step_s=1, save_s=0, save_every=1, start_s=7000), 120) is None


@pytest.mark.parametrize("seconds", [0.5, 54, 54.1, 2699, 2700, 2701, 6900, 6901, 1e6])
def test_minutes_are_the_fewest_in_which_so_many_seconds_are_trained(seconds):
    minutes = minutes_for(seconds)
    assert training_time(60 * minutes) >= seconds
    assert minutes == 1 or training_time(60 * (minutes - 1)) < seconds


def test_hybrids_divide_a_node_or_span_two():
    assert usual_strategies(1, 8) == ["no_shard"]
    assert usual_strategies(8, 8) == [
        "ddp", "no_shard", "hybrid_shard_2", "hybrid_shard_4", "shard_grad_op", "full_shard",
    ]  # fmt: skip
    assert [name for name in usual_strategies(32, 8) if "hybrid" in name] == [
        "hybrid_shard_2", "hybrid_shard_4", "hybrid_shard_8", "hybrid_shard_16",
    ]  # fmt: skip
    assert strategies_on(["hybrid_shard_3", "ddp"], 8, 8) == ["ddp"]
    assert strategies_on(["hybrid_shard_3", "ddp"], 6, 6) == ["hybrid_shard_3", "ddp"]
    assert strategies_on(["ddp"], 1, 8) == ["no_shard"]


def test_the_fastest_of_those_that_cost_a_fifth_more_than_the_cheapest_is_taken():
    one = option(nodes=1, total_s=1000.0)
    near = option(nodes=4, total_s=1000 / 4 * (1 + WORTH) - 0.1)
    beyond = option(nodes=8, total_s=1000 / 8 * (1 + WORTH) + 0.1)
    assert recommended([one, near, beyond], ANY) == near
    assert recommended([one, beyond], ANY) == one


def test_times_within_a_twentieth_are_equal_and_the_strategy_listed_first_is_taken():
    plain, cut = option("ddp", 2, total_s=520.0), option("full_shard", 2, total_s=500.0)
    assert recommended([plain, cut], ANY) == plain
    assert "within 5%" in why(plain, [plain, cut], ANY, usable_bytes=60e9)
    assert recommended([option("ddp", 2, total_s=530.0), cut], ANY) == cut


def test_of_equal_times_the_cheaper_and_of_equals_the_first_is_taken():
    first, second = option("ddp", 2, total_s=500.0), option("full_shard", 2, total_s=500.0)
    assert recommended([first, second], ANY) == first
    dear = option("ddp", 3, total_s=500.0, node_hours=0.3)
    assert recommended([dear, option(nodes=2, total_s=500.0)], ANY).nodes == 2


def test_what_cannot_be_is_never_taken():
    assert recommended([too_large(), option(nodes=16)], ANY).nodes == 16
    assert recommended([too_large()], ANY) is None


def test_budget_and_deadline_are_kept():
    slow, fast = option(nodes=1, total_s=86400.0), option(nodes=64, total_s=3600.0)
    assert recommended([slow, fast], Asked(budget_node_hours=None, deadline_days=None)) == slow
    assert recommended([slow, fast], Asked(budget_node_hours=None, deadline_days=0.5)) == fast
    assert recommended([slow, fast], Asked(budget_node_hours=30, deadline_days=0.5)) is None
    assert recommended([slow, fast], Asked(budget_node_hours=24, deadline_days=1)) == slow
    told = why_none(
        [slow, fast], Asked(budget_node_hours=30, deadline_days=0.5), usable_bytes=60e9, remedies=[]
    )
    assert "24 node-hours and 1 day" in told
    assert "64 node-hours and 1 hour" in told


def test_why_names_memory_time_cost_and_the_rule():
    slow, fast = option(nodes=1, total_s=86400.0), option("ddp", 2, total_s=45000.0)
    told = why(fast, [slow, fast], ANY, usable_bytes=60e9)
    assert "ddp on 2 nodes (16 devices, 512 images a step)" in told
    assert "10.0 of 60.0 GB" in told
    assert "25 node-hours" in told
    assert "20%" in told
    assert "full_shard on 1 node" in told
    both = Asked(budget_node_hours=30, deadline_days=2)
    only = why(slow, [slow, too_large()], both, usable_bytes=60e9)
    assert "budget of 30" in only
    assert "deadline of 2 days" in only


def test_a_step_of_more_images_than_anyone_tried_is_not_recommended_without_a_word():
    few, many = option(nodes=16, total_s=7200.0), option(nodes=128, total_s=900.0)
    assert (few.batch, many.batch) == (TRIED_BATCH, 32768)
    told = why(many, [few, many], ANY, usable_bytes=60e9)
    assert "Mind the 32,768 images of a step" in told
    assert "it would be full_shard on 16 nodes (128 devices, 4,096 images a step): 2 hours" in told
    assert "Set largest_batch" in why(many, [many], ANY, usable_bytes=60e9)
    assert "Mind" not in why(few, [few, many], ANY, usable_bytes=60e9)
    assert "Mind" not in why(many, [few, many], Asked(largest_batch=50_000), usable_bytes=60e9)


def test_where_nothing_fits_what_would_is_said():
    found = [too_large("ddp"), too_large("full_shard", memory=70e9)]
    told = why_none(found, ANY, usable_bytes=60e9, remedies=["activation checkpointing (x)"])
    assert "full_shard on 1 node" in told
    assert "70.0 GB" in told
    assert "checkpointing (x)" in told
    assert "smaller encoder" in why_none(found, ANY, usable_bytes=60e9, remedies=[])


def test_another_reason_is_told_as_it_is():
    few = option(refused="one step takes 256 images, and there are 100")
    assert "there are 100" in why_none([few], ANY, usable_bytes=60e9, remedies=[])


def test_amounts_in_words():
    assert [time_words(s) for s in (8, 120, 3600, 129600)] == [
        "8 seconds", "2 minutes", "1 hour", "1.5 days",
    ]  # fmt: skip
    assert [short_time(s) for s in (None, 8, 120, 7200)] == ["–", "8 s", "2 min", "2 h"]
    assert [hours(n) for n in (0.0341, 4.23, 42.34, 1240.4)] == ["0.034", "4.2", "42.3", "1,240"]


def test_machines_that_are_built_in_are_as_the_configuration_would_have_them():
    for name, numbers in BUILT_IN.items():
        own = {key: value for key, value in numbers.items() if key != "fp32_tflops"}
        assert numbers["fp32_tflops"] < numbers["peak_tflops"], name
        Machine.model_validate(own)
    given = {name: 1 for name, field in Machine.model_fields.items() if field.is_required()}
    defaults = Machine.model_validate(given).model_dump(mode="json")
    assert {key: defaults[key] for key in DEFAULTS} == DEFAULTS
    assert set(defaults) - set(given) - set(DEFAULTS) == {"label", "study"}
