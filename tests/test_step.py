"""What a training step must not do."""

import pytest
import torch
from tiny_runs import CPU, simmim_recipe, tensors, tiny_batches, tiny_images, tiny_recipe
from torch.utils._python_dispatch import TorchDispatchMode

from workflow_scripts.loader.normalise import Normalise
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.construct import adamw, meta_objective
from workflow_scripts.pretrain.launch import Ranks
from workflow_scripts.pretrain.step import Step
from workflow_scripts.shards.corpus import Corpus

# Operations that wait for the device, because the host needs a value of it or a size that depends
# on values.
WAITING = {
    torch.ops.aten._local_scalar_dense.default,
    torch.ops.aten.item.default,
    torch.ops.aten.is_nonzero.default,
    torch.ops.aten.equal.default,
    torch.ops.aten.nonzero.default,
    torch.ops.aten.masked_select.default,
}


class NoWaiting(TorchDispatchMode):
    """Fails where a value is read."""

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        assert func not in WAITING, f"{func} waits for the device"
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize("read", [float, bool, torch.Tensor.item, torch.nonzero])
def test_the_check_finds_what_waits(read):
    value = torch.ones(())
    with NoWaiting(), pytest.raises(AssertionError, match="waits for the device"):
        read(value)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [tiny_recipe, simmim_recipe])
def test_a_step_reads_no_value_from_the_device(tmp_path, make, precision):
    recipe = make(precision=precision)
    corpus = Corpus(tiny_images(tmp_path), "train")
    model = parallel.laid_out(
        meta_objective(recipe, corpus, None), "no_shard", ranks=Ranks(), device=CPU,
        precision=precision, seed=3,
    )  # fmt: skip
    objective = parallel.plain(model)
    step = Step(
        model, adamw(objective, recipe["optim"]), Normalise(corpus.index, CPU), clip=0.1,
        precision=precision, samples=recipe["batch"], accumulate=2,
    )  # fmt: skip
    batches = tiny_batches(corpus, recipe, cells=objective.cells)
    # The moments are made in the first step.
    for number in range(2):
        batch = tensors(batches[number])
        with NoWaiting():
            terms = step(batch, 1e-3)
    assert terms["loss"].isfinite()
