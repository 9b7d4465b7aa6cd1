"""Steps whose loss or gradient is not finite: skipped on every rank, counted, in the end named."""

import json
import math

import pytest
import torch
from tiny_runs import (
    CPU,
    Trainee,
    assert_same,
    run_ranks,
    simmim_recipe,
    start,
    tensors,
    tiny_batches,
    tiny_images,
    tiny_recipe,
    train_here,
)

from workflow_scripts.errors import UserError
from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain import step as step_module
from workflow_scripts.pretrain.step import NORM, Step


def stepper(trainee, *, clip=None, accumulate=1):
    share = trainee.recipe["batch"] // trainee.ranks.world
    return Step(
        trainee.model, trainee.optimizer, Normalise(trainee.corpus.index, CPU), clip=clip,
        precision="fp32", samples=share, accumulate=accumulate,
    )  # fmt: skip


class Poisoned(Normalise):
    """Images with one value that is not finite, in the batches asked for."""

    def __init__(self, corpus, value, calls):
        super().__init__(corpus.index, CPU)
        self.value, self.calls, self.called = value, calls, 0

    def __call__(self, batch):
        seen = super().__call__(batch)
        if self.called in self.calls:
            # Everywhere: some value is certainly in a place that the loss looks at.
            seen["images"] = torch.full_like(seen["images"], self.value)
        self.called += 1
        return seen


@pytest.mark.parametrize("value", [math.nan, math.inf])
@pytest.mark.parametrize("recipe", [tiny_recipe(), simmim_recipe()], ids=["mae", "simmim"])
@pytest.mark.parametrize("clip", [None, 0.5])
def test_a_bad_step_changes_nothing_and_the_next_goes_on(tmp_path, recipe, value, clip):
    index = tiny_images(tmp_path / "c")
    one, other = Trainee(index, recipe=recipe), Trainee(index, recipe=recipe)
    batches = tiny_batches(one.corpus, recipe, cells=one.objective.cells)
    poisoned, clean = stepper(one, clip=clip), stepper(other, clip=clip)
    poisoned.normalise = Poisoned(one.corpus, value, calls={1})
    for number in (0, 1, 2):
        before = one.tensors()
        terms = poisoned(tensors(batches[number]), 1e-3)
        if number == 1:
            assert not terms[NORM].isfinite()
            assert_same(one.tensors(), before)
        else:
            assert terms[NORM].isfinite()
            clean(tensors(batches[number]), 1e-3)
    assert_same(one.tensors(), other.tensors())


def test_an_infinite_loss_with_a_finite_gradient_is_a_bad_step(tmp_path):
    # |x - inf| has the gradient -1: only the loss tells.
    trainee = Trainee(tiny_images(tmp_path / "c"), recipe=simmim_recipe())
    forward = trainee.objective.forward
    trainee.objective.forward = lambda batch: {"loss": forward(batch)["loss"] + math.inf}
    before = trainee.tensors()
    batches = tiny_batches(trainee.corpus, trainee.recipe, cells=trainee.objective.cells)
    terms = stepper(trainee)(tensors(batches[0]), 1e-3)
    assert terms["loss"].isinf()
    assert not terms[NORM].isfinite()
    assert not any(name.endswith(".step") and value for name, value in trainee.tensors().items())
    assert_same({n: v for n, v in trainee.tensors().items() if n in before}, before)


def test_clipping_is_torchs(tmp_path):
    trainee = Trainee(tiny_images(tmp_path / "c"))
    batch = tensors(tiny_batches(trainee.corpus, trainee.recipe, cells=trainee.objective.cells)[0])
    trainee.model(Normalise(trainee.corpus.index, CPU)(batch))["loss"].backward()
    expected = torch.nn.utils.clip_grad_norm_(trainee.model.parameters(), 0.3)
    assert expected > 0.3, "nothing to clip"
    clipped = {n: p.grad.clone() for n, p in trainee.objective.named_parameters()}
    trainee.optimizer.zero_grad()
    assert float(stepper(trainee, clip=0.3)(batch, 1e-3)[NORM]) == pytest.approx(float(expected))
    # After one step the first moment is a share of the gradient.
    share = 1 - trainee.recipe["optim"]["betas"][0]
    for name, gradient in clipped.items():
        moment = trainee.tensors()[f"{name}.exp_avg"]
        torch.testing.assert_close(moment / share, gradient, rtol=1e-4, atol=1e-8)


@pytest.mark.parametrize("recipe", [tiny_recipe(), simmim_recipe()], ids=["mae", "simmim"])
def test_parts_of_a_batch_add_up_to_the_whole(tmp_path, recipe):
    index = tiny_images(tmp_path / "c")
    whole, parts = Trainee(index, recipe=recipe), Trainee(index, recipe=recipe)
    assert parts.steps(0, 4, accumulate=4) == pytest.approx(whole.steps(0, 4), rel=1e-5)
    assert parts.norms == pytest.approx(whole.norms, rel=1e-5)


def one_rank_is_bad(ranks, folder):
    parallel.join(ranks, timeout_s=300)
    trainee = Trainee(folder / "c" / "index.json", "full_shard", ranks)
    step = stepper(trainee)
    if ranks.rank == 1:
        step.normalise = Poisoned(trainee.corpus, math.nan, calls={1})
    batches = tiny_batches(
        trainee.corpus, trainee.recipe, cells=trainee.objective.cells, rank=ranks.rank, ranks=2
    )
    step(tensors(batches[0]), 1e-3)
    before = trainee.tensors()
    terms = step(tensors(batches[1]), 1e-3)
    assert terms["loss"].isfinite() == (ranks.rank == 0)
    assert not terms[NORM].isfinite()
    assert_same(trainee.tensors(), before)
    assert step(tensors(batches[2]), 1e-3)[NORM].isfinite()
    parallel.leave()


@pytest.mark.distributed
def test_one_bad_rank_skips_the_step_on_all(tmp_path):
    tiny_images(tmp_path / "c")
    run_ranks(2, one_rank_is_bad, tmp_path)


def poison(monkeypatch, bad):
    """Make the losses of some steps (from 0) NaN, in a run of this process."""
    original, at = step_module.Step.__call__, {"step": -1}

    def call(self, batch, rate):
        at["step"] += 1
        if at["step"] in bad:
            batch = {**batch, "noise": torch.full_like(batch["noise"], math.nan)}
            self.normalise, kept = Poisoned(at["corpus"], math.nan, calls={0}), self.normalise
            try:
                return original(self, batch, rate)
            finally:
                self.normalise = kept
        return original(self, batch, rate)

    monkeypatch.setattr(step_module.Step, "__call__", call)
    return at


def test_a_run_counts_bad_steps_and_goes_on(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("workflow_scripts.logs.log.propagate", True)
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    at = poison(monkeypatch, bad={2, 3, 6})
    at["corpus"] = Trainee(index).corpus
    train_here(tiny_recipe(), index, run, "--log-every", "2", "--bad-steps", "3")
    (path,) = (run / "checkpoints").glob("*/history.jsonl")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    # No line for steps 3 and 4, of which nothing is known.
    assert [(row["step"], row["bad_steps"]) for row in rows] == [(2, 0), (6, 2), (8, 3), (10, 3)]
    assert all(math.isfinite(row["loss"]) and math.isfinite(row["grad_norm"]) for row in rows)
    assert "step 3 is not finite: skipped (1 in a row)" in caplog.text
    assert "step 4 is not finite: skipped (2 in a row)" in caplog.text


def test_too_many_in_a_row_end_the_run_with_the_names_of_the_samples(tmp_path, monkeypatch):
    index, run = tiny_images(tmp_path / "c"), tmp_path / "run"
    at = poison(monkeypatch, bad={4, 5, 6})
    trainee = Trainee(index)
    at["corpus"] = trainee.corpus
    with pytest.raises(UserError, match=r"of 3 steps in a row is not finite.*step 7") as caught:
        train_here(tiny_recipe(), index, run, "--log-every", "7", "--checkpoint-every", "2",
                   "--bad-steps", "3")  # fmt: skip
    batches = tiny_batches(trainee.corpus, trainee.recipe)
    names = [trainee.corpus.name(int(sample)) for sample in batches.order.batch_at(6)]
    assert all(name in str(caught.value) for name in names)
    # What is kept is good: the weights before the first bad step.
    folder = next((run / "checkpoints").iterdir())
    good = Trainee(index)
    good.load(folder, 6)
    assert all(value.isfinite().all() for value in good.tensors().values())


@pytest.mark.distributed
def test_of_several_ranks_one_says_why_the_run_ends(tmp_path):
    optim = {**tiny_recipe()["optim"], "base_lr": 1e30, "warmup_epochs": 0.0}
    job = start(tiny_recipe(optim=optim), tiny_images(tmp_path / "c"), tmp_path / "run",
                "--ranks", "2", "--log-every", "1", "--bad-steps", "2")  # fmt: skip
    text = job.communicate(timeout=300)[1]
    assert job.returncode == 1
    assert text.count("of 2 steps in a row is not finite") == 1
    assert "rank 0 of 2 failed with exit status 1; its message is above" in text
