"""Predicted memory against what the allocator hands out in real steps of small models."""

import gc
import json
import math
import re
from dataclasses import replace

import pytest
import timm
import torch
from conftest import ROOT
from objective_cases import write_teacher
from tiny_runs import CPU, run_ranks, simmim_recipe, tiny_recipe
from torch.profiler import ProfilerActivity, profile

from workflow_scripts.errors import UserError
from workflow_scripts.plan import __main__ as command
from workflow_scripts.plan import memory
from workflow_scripts.plan.cases import usual_objective
from workflow_scripts.plan.predict import Case, every_strategy, predicted, remedy
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.construct import adamw
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.step import Step

BOUND = 0.05  # of the measured peak; docs/memory.md says what was found
MAE = tiny_recipe(
    batch=16,
    encoder={"family": "vit", "image_size": 64, "patch": 8, "width": 128, "depths": [4],
             "heads": [2], "mlp_ratio": 4.0, "window": None},
    decoder={"width": 64, "depth": 2, "heads": 2},
)  # fmt: skip
SWIN = {
    **simmim_recipe(batch=8),
    "encoder": {"family": "swinv2", "image_size": 64, "patch": 4, "width": 48, "depths": [2, 2, 2],
                "heads": [2, 4, 8], "window": 8, "mlp_ratio": 4.0},
    "mask": {"ratio": 0.6, "patch": 8, "norm_pix": False},
}  # fmt: skip


def case(recipe, strategy="no_shard", ranks=1, **more):
    recipe = {**recipe, "precision": more.pop("precision", "fp32")}
    return Case(recipe=recipe, channels=3, strategy=strategy, ranks=ranks, gpu=False, **more)


ALONE = {
    "mae": case(MAE),
    "mae, two parts": case(MAE, accumulate=2),
    "mae, bf16, recomputed": case(MAE, precision="bf16", recompute=True),
    "swinv2, bf16": case(SWIN, precision="bf16"),
}
FEW = {**MAE, "batch": 2}  # so that what the strategy holds is most
PAIRS = {
    "ddp, bf16": case(MAE, "ddp", 2, precision="bf16"),
    "no_shard": case(FEW, "no_shard", 2),
    "hybrid_shard_2, bf16": case(MAE, "hybrid_shard_2", 2, precision="bf16"),
    "shard_grad_op": case(FEW, "shard_grad_op", 2),
    "full_shard": case(FEW, "full_shard", 2),
    "full_shard, two parts": case(MAE, "full_shard", 2, accumulate=2),
    "swinv2, full_shard, bf16": case(SWIN, "full_shard", 2, precision="bf16"),
}


class Trained:
    """A laid-out objective and a step of it, in as many parts as the case says."""

    def __init__(self, one, ranks):
        self.case, recipe = one, one.recipe
        self.model = parallel.laid_out(
            one.build(), one.strategy, ranks=ranks, device=CPU, precision=recipe["precision"],
            seed=0, activation_checkpointing=one.recompute,
        )  # fmt: skip
        self.objective = parallel.plain(self.model)
        self.optimizer = adamw(self.objective, recipe["optim"])

        self.step = Step(
            self.model, self.optimizer, lambda batch: batch, clip=1.0,
            precision=recipe["precision"], samples=one.share, accumulate=one.accumulate,
        )  # fmt: skip

    def __call__(self):
        size, count = self.case.recipe["encoder"]["image_size"], self.case.share
        noise = torch.rand(count, self.objective.cells)
        self.step({"images": torch.zeros(count, 3, size, size), "noise": noise}, 1e-3)

    def state_bytes(self):
        """Parameters and moments that this rank holds, and DDP's buckets, which it hides."""
        held = {}
        for parameter in self.objective.parameters():
            for value in (parameter.detach(), *self.optimizer.state[parameter].values()):
                local = value.to_local() if hasattr(value, "to_local") else value
                storage = local.untyped_storage()
                held[storage.data_ptr()] = storage.nbytes()
        total = sum(held.values())
        if self.case.strategy == "ddp":
            total += 4 * sum(p.numel() for p in self.objective.parameters())
        return total


def measured(one, ranks):
    """Bytes at the peak of a step: what the allocator itself tells the profiler.

    The least of ten steps, after two: in some, a thread of gloo lets go of a buffer late.
    """
    step = Trained(one, ranks)
    for _ in range(2):
        step()
    gc.collect()
    return step.state_bytes() + min(most_added(step) for _ in range(10))


def most_added(step):
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as watched:
        step()
    events = [e for e in watched.profiler.kineto_results.events() if e.name() == "[memory]"]
    alive = peak = 0
    for event in sorted(events, key=lambda e: e.start_ns()):
        alive += event.nbytes()
        peak = max(peak, alive)
    return peak


def measure_each(ranks, folder, cases):
    parallel.join(ranks, timeout_s=300)
    found = {name: measured(one, ranks) for name, one in cases.items()}
    if ranks.is_first:
        (folder / "measured.json").write_text(json.dumps(found))
    parallel.leave()


@pytest.fixture(autouse=True)
def _one_thread():
    """Threads change no memory, and would wait for each other in steps as small as these."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.mark.parametrize("name", list(ALONE))
def test_one_rank_needs_what_was_predicted(name):
    assert predicted(ALONE[name]).total == pytest.approx(measured(ALONE[name], Ranks()), rel=BOUND)


@pytest.mark.distributed
def test_two_ranks_need_what_was_predicted_under_every_strategy(tmp_path):
    run_ranks(2, measure_each, tmp_path, PAIRS)
    found = json.loads((tmp_path / "measured.json").read_text())
    for name, one in PAIRS.items():
        assert predicted(one).total == pytest.approx(found[name], rel=BOUND), name


def test_a_teacher_is_counted_whole_on_every_rank(tmp_path):
    folder = write_teacher(tmp_path, channels=3)
    recipe = {**SWIN, "objective": "gfm", "gfm": {"alpha": 1.0}}
    one = case(recipe, teacher=folder)
    told = json.loads((folder / "model.json").read_text())
    encoder = timm.create_model(told["architecture"], **told["kwargs"])
    held = sum(tensor.nbytes for tensor in (*encoder.parameters(), *encoder.buffers()))
    counted = predicted(one).terms["frozen teacher, float32"]
    assert counted == held + 2 * 3 * 4  # and a mean and a deviation of each band
    added = measured(one, Ranks()) + counted  # the teacher is there before the steps
    assert predicted(one).total == pytest.approx(added, rel=BOUND)


def test_each_rank_keeps_its_part_of_every_parameter():
    one = case(MAE, "full_shard", 8)
    shapes = [parameter.shape for parameter in one.build().parameters()]
    part = sum(math.ceil(shape[0] / 8) * math.prod(shape[1:]) for shape in shapes)
    terms = predicted(one).terms
    assert terms["parameters, float32"] == 4 * part
    assert terms["optimizer's moments, float32"] == 8 * part


def test_more_is_held_by_strategies_that_cut_less():
    sizes = [moment.total for moment in every_strategy(case({**MAE, "batch": 8}, ranks=8)).values()]
    ddp, no_shard, two, four, grad_op, full = sizes
    assert ddp > two > four > full
    assert no_shard > grad_op > full


def test_recomputing_and_smaller_parts_hold_less():
    whole = predicted(case(MAE)).total
    assert predicted(case(MAE, recompute=True)).total < whole
    assert predicted(case(MAE, accumulate=4)).total < whole


def test_the_remedy_is_the_first_that_fits():
    wide = {**MAE, "batch": 8, "encoder": {**MAE["encoder"], "width": 384, "heads": [6]}}
    one = case(wide, "no_shard", 8)
    by_name = {name: moment.total for name, moment in every_strategy(one).items()}
    other = remedy(one, by_name["hybrid_shard_4"])
    assert (other.strategy, other.recompute, other.accumulate) == ("hybrid_shard_4", False, 1)
    full = replace(case({**wide, "batch": 64}, "full_shard", 8), recompute=True)
    other = remedy(case({**wide, "batch": 64}, "no_shard", 8), predicted(full).total)
    assert other.recompute
    assert predicted(other).total <= predicted(full).total
    assert remedy(one, 1000) is None


# --- the command ---------------------------------------------------------------------------------


def told(capsys, *options):
    arguments = command.parser().parse_args(["memory", *options])
    arguments.plan(arguments)
    return capsys.readouterr().out


ENCODER = json.dumps({"family": "vit", "image_size": 64, "patch": 8, "width": 192, "depth": 4,
                      "heads": 3})  # fmt: skip


def test_a_plan_that_does_not_fit_names_what_would(capsys):
    options = ("--encoder", ENCODER, "--ranks", "4", "--batch", "4", "--precision", "bf16")
    found = json.loads(told(capsys, *options, "--json"))
    assert found["fits"]
    assert found["would_fit"] is None
    assert sum(found["terms"].values()) == found["total"]
    assert list(found["strategies"]) == [
        "ddp", "no_shard", "hybrid_shard_2", "shard_grad_op", "full_shard",
    ]  # fmt: skip
    half = found["strategies"]["hybrid_shard_2"]["total"]
    assert half < found["strategies"]["no_shard"]["total"]
    small = f"{1.001 * half / 0.9 / 2**20:.4f}MiB"
    text = told(capsys, *options, "--device-memory", small)
    assert "It does not fit. This would: hybrid_shard_2 on 4 ranks, batch 4 (1 at a time" in text
    assert re.search(r"no_shard +0\.\d+ GiB +does not fit", text)
    text = told(capsys, *options, "--device-memory", "1MiB")
    assert "neither does any strategy with activation checkpointing" in text


def test_a_run_is_planned_as_its_configuration_lays_it_out(capsys):
    found = json.loads(told(capsys, "--run", "scenes-mae", "--json"))
    assert found["asked"] == {
        "strategy": "full_shard", "ranks": 2, "batch": 32, "local_batch": 16, "accumulate": 1,
        "precision": "fp32", "activation_checkpointing": False,
    }  # fmt: skip
    chips = json.loads(told(capsys, "--run", "modis-simmim", "--batch", "4", "--json"))
    assert chips["asked"]["local_batch"] == 4


def test_an_encoder_alone_is_planned_under_an_objective_that_takes_it(capsys):
    swin = {"family": "swinv2", "image_size": 64, "patch": 4, "width": 16, "depths": [1, 1],
            "heads": [1, 2], "window": 4}  # fmt: skip
    options = ("--batch", "2", "--json")
    assert json.loads(told(capsys, "--encoder", json.dumps(swin), *options))["fits"]
    assert usual_objective("gfm_swin_base") == usual_objective({"name": "swinv2_base"}) == "simmim"
    assert usual_objective("vit_base") == usual_objective(json.loads(ENCODER)) == "mae"


def test_the_teacher_that_a_plan_needs_is_asked_for():
    arguments = command.parser().parse_args(["memory", "--run", "scenes-gfm"])
    with pytest.raises(UserError, match=r"results/runs/scenes-teacher is not made yet.*--teacher"):
        arguments.plan(arguments)


@pytest.mark.parametrize(
    ("options", "match"),
    [
        ((), "name either --run or --encoder"),
        (("--run", "x", "--encoder", ENCODER), "name either --run or --encoder"),
        (("--run", "mistyped"), "--run mistyped: the configuration has scenes-mae"),
        (("--run", "scenes-mae", "--channels", "6"), "--channels is told by --run scenes-mae"),
        (("--encoder", "{mistyped"), "--encoder is not valid JSON"),
        (("--encoder", ENCODER, "--ranks", "3"), "256 samples cannot be shared evenly by 3 ranks"),
        (("--encoder", ENCODER, "--ranks", "0"), "--ranks is 0; expected 1 or more"),
        (("--encoder", ENCODER, "--strategy", "hybrid_shard_3", "--ranks", "4"), "k may be 1, 2"),
        (("--encoder", ENCODER, "--device-memory", "64"), "expected a size such as 64GiB"),
    ],
)  # fmt: skip
def test_options_that_make_no_sense_are_refused(options, match):
    arguments = command.parser().parse_args(["memory", *options])
    with pytest.raises(UserError, match=re.escape(match)):
        arguments.plan(arguments)


def test_sizes_of_devices():
    assert memory.device_bytes("frontier") == memory.device_bytes("64 GiB") == 64 * 2**30
    assert memory.device_bytes("1.5GB") == 1_500_000_000


# --- the guide -----------------------------------------------------------------------------------


def frontier_rows():
    """(model, strategy, nodes, published, predicted, error %) of the guide's table."""
    page = (ROOT / "docs" / "memory.md").read_text()
    pattern = r"^\| (\w+) \| (\w+) \| (\d+) \| ([\d.]+) \| ([\d.]+) \| ([+−]\d+) % \|"
    return re.findall(pattern, page, re.MULTILINE)


def test_the_guide_states_the_error_of_every_published_row():
    rows = frontier_rows()
    assert len(rows) == 18
    for *_, published, ours, error in rows:
        expected = round(100 * (float(ours) / float(published) - 1))
        assert int(error.replace("−", "-")) == pytest.approx(expected, abs=1)


def test_the_guides_predictions_for_the_base_model_are_those_of_this_code():
    recipe = {
        **tiny_recipe(), "precision": "bf16", "decoder": {"width": 512, "depth": 8, "heads": 16},
        "encoder": {"family": "vit", "image_size": 512, "patch": 16, "width": 768, "depths": [12],
                    "heads": [12], "mlp_ratio": 4.0, "window": None},
    }  # fmt: skip
    rows = [row for row in frontier_rows() if row[0] == "Base"]
    assert len(rows) == 6
    for _, strategy, nodes, _, ours, _ in rows:
        ranks = 8 * int(nodes)
        one = Case(recipe={**recipe, "batch": 32 * ranks}, channels=3, strategy=strategy,
                   ranks=ranks, recompute=True)  # fmt: skip
        assert predicted(one).total / 2**30 == pytest.approx(float(ours), abs=0.006)
