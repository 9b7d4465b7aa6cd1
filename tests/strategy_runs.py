"""What each rank does in the tests of strategies, and what one process does in their place."""

import datetime
from collections import Counter

import torch
from tiny_runs import CPU, Trainee, simmim_recipe, tiny_recipe
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from workflow_scripts.pretrain.parallel import blocks

STEPS = 3
RECIPES = {
    "mae": tiny_recipe(),
    "simmim": simmim_recipe(),
    "gfm": {**simmim_recipe(), "objective": "gfm", "gfm": {"alpha": 1.0}},
}
CHECKPOINTING = {"activation_checkpointing": True}
# Of a trainee, and of its steps.
VARIANTS = {
    "plain": ({}, {}),
    "bf16": ({"precision": "bf16"}, {}),
    "clip": ({}, {"clip": 0.1}),
    "lean": (CHECKPOINTING, {"clip": 0.1, "accumulate": 2}),
    "compiled": (CHECKPOINTING | {"compile": True}, {"clip": 0.1, "accumulate": 2}),
}
TIMEOUT_S = 137


def trained(index, strategy, ranks, objective="mae", variant="plain", teacher=None):
    """Initial weights, losses and gradient norms of a few steps, and the state after them."""
    layout, how = VARIANTS[variant]
    layout = dict(layout)
    recipe = {**RECIPES[objective], "precision": layout.pop("precision", "fp32")}
    if objective != "gfm":
        teacher = None
    blocks.BACKEND = "aot_eager"  # no compiler needed, and quick
    one = Trainee(index, strategy, ranks, recipe, teacher=teacher, **layout)
    if teacher:
        check_teacher(one, strategy)
    initial, frozen = one.tensors(), teacher_weights(one)
    losses = one.steps(0, STEPS, **how)
    assert all(map(torch.equal, teacher_weights(one), frozen))
    return {"initial": initial, "losses": losses, "norms": one.norms, "final": one.tensors()}


def teacher_weights(one):
    teacher = getattr(one.objective, "teacher", None)
    return [p.detach().clone() for p in teacher.parameters()] if teacher else []


def check_teacher(one, strategy):
    """It is whole and frozen on each rank, and in no list, while the student is cut."""
    for parameter in one.objective.teacher.parameters():
        assert not isinstance(parameter, DTensor)
        assert not parameter.requires_grad
    assert not any("teacher" in name for name in one.objective.state_dict())
    cut = {isinstance(parameter, DTensor) for parameter in one.objective.parameters()}
    assert cut == {strategy != "ddp" and one.ranks.world > 1}


def run_all(ranks, folder, index, cases):
    """Train each (strategy, objective, variant) and keep what rank 0 has."""
    for strategy, objective, variant in cases:
        found = trained(index, strategy, ranks, objective, variant, folder / "teacher")
        if ranks.is_first:
            torch.save(found, folder / f"{ranks.world}-{strategy}-{objective}-{variant}.pt")


class Counted(TorchDispatchMode):
    """Counts operations by name, the messages between ranks among them."""

    def __init__(self):
        super().__init__()
        self.counts = Counter()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        self.counts[str(func)] += 1
        return func(*args, **(kwargs or {}))


def messages(ranks, index, strategy, accumulate):
    """How often a step gathers, cuts and adds up gradients, after a first step."""
    one = Trainee(index, strategy, ranks)
    one.steps(0, 1, accumulate=accumulate)
    with Counted() as seen:
        one.steps(1, 2, accumulate=accumulate)
    return {
        kind: sum(n for name, n in seen.counts.items() if f"c10d.{kind}" in name)
        for kind in ("_allgather_base_", "_reduce_scatter_base_", "allreduce_")
    }


def check_timeout(ranks, index):
    """Groups of a mesh wait as long as the ranks were told to when they joined."""
    one = Trainee(index, "hybrid_shard_2", ranks)
    mesh = next(one.objective.parameters()).device_mesh
    for name in ("replicate", "shard"):
        options = mesh.get_group(name)._get_backend(CPU).options
        assert options._timeout == datetime.timedelta(seconds=TIMEOUT_S)
