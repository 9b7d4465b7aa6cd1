"""Protocol lars: MAE's linear probing (He et al., arXiv 2111.06377, A.1 and table 10).

Batch norm without affine parameters and a linear layer, trained by LARS (arXiv 1708.03888) with
momentum, warm-up and a half cosine, on features that a frozen encoder gave. The source of each
number is facebookresearch/mae: `main_linprobe.py`, `util/lars.py` and `util/lr_sched.py`. What
differs: arithmetic is in float32 all through; batch norm sees the whole batch, where the reference
sees one GPU's share of it; the last epoch is reported, where the reference reports the best one on
the test set.

The recipe was made for the 1.28 million images of ImageNet. A step changes the weights by
rate × trust × their length, whatever the loss, and the rate grows with the batch as the number of
steps shrinks: how far they can get from their random start grows with samples × epochs × base_lr
alone (`reach`). On a few thousand samples they stay near it, and the result is far below that of
`linear`; ten times the `base_lr` mends that, and is another protocol, to be reported as such.
"""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from timm.optim.lars import Lars
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from workflow_scripts.errors import UserError
from workflow_scripts.logs import log, progress
from workflow_scripts.probe.choose import described
from workflow_scripts.probe.metrics import check_finite
from workflow_scripts.probe.row_blocks import block_rows, blocks, read
from workflow_scripts.probe.samples import one_thread
from workflow_scripts.probe.trial import Features, Outcome, Part, Rows, Trial

EPSILON, INITIAL_STD = 1e-6, 0.01
# A reach below which the random start shows in the result; ImageNet's is 225.
SHORT_REACH = 3.0


def initial_weight(dimensions: int, classes: int, seed: int) -> NDArray[np.float32]:
    """(classes, dimensions) first weights, normal with standard deviation 0.01."""
    drawn = np.random.default_rng(seed).standard_normal((classes, dimensions), np.float32)
    return drawn * np.float32(INITIAL_STD)


def new_head(dimensions: int, classes: int, seed: int) -> nn.Sequential:
    """Batch norm without affine parameters, then a linear layer without bias at first."""
    norm = nn.BatchNorm1d(dimensions, eps=EPSILON, affine=False)
    linear = nn.Linear(dimensions, classes)
    with torch.no_grad():
        linear.weight.copy_(torch.from_numpy(initial_weight(dimensions, classes, seed)))
        linear.bias.zero_()
    return nn.Sequential(norm, linear)


def optimiser(head: nn.Sequential, *, momentum: float, trust: float) -> Lars:
    """LARS as the reference has it: the bias gets no trust ratio, nothing decays."""
    weight, bias = head.parameters()
    groups = [
        {"params": [weight], "always_adapt": True},
        {"params": [bias], "always_adapt": False},
    ]
    return Lars(groups, lr=0.0, momentum=momentum, trust_coeff=trust, weight_decay=0.0, eps=0.0)


def rate(epoch: float, *, peak: float, epochs: int, warmup_epochs: float) -> float:
    """The learning rate at a fractional epoch: linear warm-up from 0, then half a cosine to 0."""
    if epoch < warmup_epochs:
        return peak * epoch / warmup_epochs
    return peak * 0.5 * (1 + math.cos(math.pi * (epoch - warmup_epochs) / (epochs - warmup_epochs)))


def reach(settings: Mapping[str, Any], *, batch: int, count: int) -> float:
    """How many times their length the weights can move in all steps together, about.

    That is the sum of the rates × trust / (1 − momentum); told where it is short.
    """
    steps, epochs = count // batch, settings["epochs"]
    total = sum(
        rate(
            step / steps, peak=settings["base_lr"] * batch / 256, epochs=epochs,
            warmup_epochs=settings["warmup_epochs"],
        )
        for step in range(epochs * steps)
    )  # fmt: skip
    found = total * settings["trust"] / (1 - settings["momentum"])
    if found < SHORT_REACH:
        log.warning(
            "lars: with %d training samples the weights can move by %.2g of their random first "
            "length; raise lars.base_lr or lars.epochs for a result that does not owe to it",
            count, found,
        )  # fmt: skip
    return found


def order(count: int, *, seed: int, epoch: int) -> Rows:
    """The order of an epoch's samples, a pure function of its arguments."""
    return np.random.default_rng([seed, epoch]).permutation(count)


def batch_size(asked: int, count: int) -> int:
    """Samples a step: `asked`, or where there are fewer, a power of two with four steps an epoch.

    The reference drops an epoch's last incomplete batch, so with fewer samples it would do nothing.

    Raises:
        UserError: A batch would be of one sample, of which batch norm leaves zeros.
    """
    if min(asked, count) < 2:
        raise UserError(
            f"probe: lars: a batch of {asked} from {count} training samples; both must be two or "
            "more: enlarge lars.batch or the training share"
        )
    if asked <= count:
        return asked
    found = max(2, 2 ** int(math.log2(max(1, count // 4))))
    log.warning(
        "lars: %d training samples do not fill a batch of %d; a batch is %d", count, asked, found
    )
    return found


def loss_of(logits: Tensor, labels: Tensor) -> Tensor:
    """Cross entropy; for several labels binary cross entropy, mean over samples and classes."""
    if labels.ndim == 2:
        return binary_cross_entropy_with_logits(logits, labels.float())
    return cross_entropy(logits, labels)


def tensor(features: Features, rows: Rows) -> Tensor:
    """(len(rows), dimensions), copied to memory that is aligned alike in every run.

    Some libraries for matrix products round by alignment.
    """
    return torch.from_numpy(read(features, rows, "lars")).clone()


def train(
    head: nn.Sequential,
    views: list[Features],
    part: Part,
    *,
    settings: Mapping[str, Any],
    batch: int,
    seed: int,
) -> None:
    """Train a head for `epochs`, epoch e on view e modulo their number.

    Args:
        head: What `new_head` made.
        views: Features of all samples, as seen in turn.
        part: What is learnt from.
        settings: `epochs`, `warmup_epochs`, `base_lr`, `momentum` and `trust`.
        batch: Samples a step; what is left of an epoch is dropped.
        seed: Of the order.

    Raises:
        UserError: A feature or the loss is not finite.
    """
    epochs, peak = settings["epochs"], settings["base_lr"] * batch / 256
    labels = torch.from_numpy(np.ascontiguousarray(part.labels))
    stepper = optimiser(head, momentum=settings["momentum"], trust=settings["trust"])
    steps = len(part) // batch
    head.train()
    for epoch in progress(range(epochs), what="lars: epochs", total=epochs):
        places, features = order(len(part), seed=seed, epoch=epoch), views[epoch % len(views)]
        for step in range(steps):
            # Sorted, a batch's rows lie in the order of the file.
            own = np.sort(places[step * batch : (step + 1) * batch])
            for group in stepper.param_groups:
                group["lr"] = rate(
                    epoch + step / steps, peak=peak, epochs=epochs,
                    warmup_epochs=settings["warmup_epochs"],
                )  # fmt: skip
            loss = loss_of(head(tensor(features, part.rows[own])), labels[own])
            if not math.isfinite(loss.item()):
                raise UserError(
                    f"probe: lars with base_lr {settings['base_lr']}: the loss is {loss.item()} "
                    f"in epoch {epoch}; lower lars.base_lr, or look at the features"
                )
            stepper.zero_grad()
            loss.backward()
            stepper.step()


@torch.no_grad()
def scored(head: nn.Sequential, features: Features, rows: Rows) -> NDArray[np.float32]:
    """(len(rows), classes) logits by blocks, normalised by the running statistics."""
    head.eval()
    return np.concatenate(
        [
            head(tensor(features, rows[block])).numpy()
            for block in blocks(len(rows), block_rows(features.shape[1]))
        ]
    )


def judge(trial: Trial) -> Outcome:
    """Train a linear layer on the training part by MAE's protocol; nothing is chosen.

    Args:
        trial: Its settings are `epochs`, `warmup_epochs`, `base_lr`, `batch`, `momentum`, `trust`
            and `pooling` (None: the class token, or the mean where the encoder has none). Without
            views every epoch sees the samples' own features, as cropped in the middle.

    Returns:
        Logits after the last epoch; as `chosen` the `pooling`, `batch`, peak rate `lr`, `epochs`,
        `reach` and number of `views`.

    Raises:
        UserError: Too few samples, or features, loss or scores are not finite.
    """
    settings, part = trial.settings, trial.train
    pooling = settings["pooling"] or ("class" if "class" in trial.features else "mean")
    features = trial.features[pooling]
    batch = batch_size(settings["batch"], len(part))
    chosen = {
        "pooling": pooling,
        "normalisation": "batch norm",
        "batch": batch,
        "lr": settings["base_lr"] * batch / 256,
        "epochs": settings["epochs"],
        "reach": float(f"{reach(settings, batch=batch, count=len(part)):.3g}"),
        "views": len(trial.views),
    }
    views = [view[pooling] for view in trial.views] or [features]
    with one_thread():
        head = new_head(features.shape[1], trial.classes, trial.seed)
        train(head, views, part, settings=settings, batch=batch, seed=trial.seed)
        scores = scored(head, features, trial.test.rows)
    check_finite(scores, described("lars", chosen))
    return Outcome(scores, chosen)
