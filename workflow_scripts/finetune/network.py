"""An encoder with a head for classes: weights, dropped paths, and rates that fall with depth.

MAE (arXiv 2111.06377, its code's models_vit.py and util/lr_decay.py): the head sees the mean of the
patches after a norm of its own, in place of the encoder's last norm, and starts almost at zero.
SimMIM and GFM (arXiv 2302.04476): the mean after the encoder's own norm. Both are what timm builds
with `global_pool="avg"` for a ViT and for a Swin.
"""

import threading
from typing import Any

import timm
import torch
from timm.layers import DropPath
from timm.optim import create_optimizer_v2
from torch import Tensor, nn

from workflow_scripts.errors import UserError
from workflow_scripts.features.encoder import set_image_size
from workflow_scripts.finetune.trial import State
from workflow_scripts.models.linear import use_linear
from workflow_scripts.models.swin_attention import use_window_attention

HEAD_STD = 2e-5  # MAE's code, main_finetune.py
_HEADS = ("head.", "head_dist.")
# Behind the last block: which of them a network has depends on how it pools.
_BEHIND = (*_HEADS, "norm.", "fc_norm.", "attn_pool.")


class PathDraws(threading.local):
    """Numbers (n, paths) in [0, 1) of the samples that this thread is at."""

    numbers: Tensor | None = None


class SampledPath(nn.Module):
    """Stochastic depth (arXiv 1603.09382) whose coins are handed in, a column of them a path.

    timm's draws them from the global generator, where the outcome depends on what was drawn before
    and on which thread comes first; these are functions of (seed, epoch, sample).

    Args:
        rate: Share of samples that skip the path.
        column: Which of the numbers is this path's.
        draws: Where the numbers are.
    """

    def __init__(self, rate: float, column: int, draws: PathDraws) -> None:
        super().__init__()
        self.rate, self.column, self.draws = rate, column, draws

    def forward(self, x: Tensor) -> Tensor:
        """(n, …) with the samples that skip it set to zero and the others scaled up."""
        if not self.training:
            return x
        numbers = self.draws.numbers
        if numbers is None:
            raise RuntimeError("a path is run in training before its numbers are set")
        kept = (numbers[:, self.column] >= self.rate).to(x.dtype) / (1 - self.rate)
        return x * kept.view(-1, *[1] * (x.ndim - 1))


def sample_paths(network: nn.Module) -> tuple[PathDraws, int]:
    """Put a `SampledPath` in the place of each of timm's dropped paths.

    Returns:
        Where their numbers are to be set, and how many each sample needs.
    """
    draws, paths = PathDraws(), 0
    for owner in list(network.modules()):
        for name, part in list(owner.named_children()):
            if isinstance(part, DropPath) and part.drop_prob:
                setattr(owner, name, SampledPath(float(part.drop_prob), paths, draws))
                paths += 1
    return draws, paths


def build(
    model: dict[str, Any],
    state: State,
    *,
    classes: int,
    settings: dict[str, Any],
    size: int,
    seed: int,
) -> nn.Module:
    """The network that is trained: a timm classifier with an encoder's weights and a fresh head.

    Args:
        model: The encoder's `model.json`; its module is imported (`models.encoders`).
        state: The encoder's weights, as its card builds it.
        classes: How many.
        settings: Uses `pooling` and `drop_path`.
        size: Height and width of the input, pixels.
        seed: Of the head.

    Raises:
        UserError: An encoder that cannot be pooled so, or a size that it cannot take.
    """
    kwargs = {
        **model["kwargs"], "num_classes": classes, "drop_path_rate": settings["drop_path"],
    }  # fmt: skip
    if model["family"] == "vit":
        if settings["pooling"] == "class" and "cls_token" not in state:
            raise UserError(
                "finetune: pooling is 'class', but this encoder has no class token; use 'mean'"
            )
        kwargs["global_pool"] = "avg" if settings["pooling"] == "mean" else "token"
    try:
        network: nn.Module = timm.create_model(model["architecture"], **kwargs)
    except AssertionError as error:  # a distilled ViT reads its two tokens
        raise UserError(
            f"finetune: timm cannot pool {model['architecture']} by {settings['pooling']} "
            f"({error}); set finetune.pooling to 'class'"
        ) from None
    _load(network, state)
    _start_head(network, seed)
    set_image_size(network, model, size)
    use_window_attention(network)
    use_linear(network)
    return network


def _load(network: nn.Module, state: State) -> None:
    """Give a network the weights of an encoder; what lies behind the blocks may differ."""
    found = network.load_state_dict(
        {name: value for name, value in state.items() if not name.startswith(_HEADS)}, strict=False
    )
    odd = [n for n in (*found.missing_keys, *found.unexpected_keys) if not n.startswith(_BEHIND)]
    if odd:  # the card was loaded strictly before: timm builds another encoder with a head
        raise RuntimeError(f"the network with a head has other parameters: {', '.join(odd)}")


def _start_head(network: nn.Module, seed: int) -> None:
    """Weights of the classifier near zero, its bias zero; new norms keep one and zero."""
    found: Any = network.get_classifier()  # type: ignore[operator]
    generator = torch.Generator().manual_seed(seed % 2**63)
    with torch.no_grad():
        for head in found if isinstance(found, tuple) else (found,):  # a distilled ViT has two
            nn.init.trunc_normal_(head.weight, std=HEAD_STD, generator=generator)
            nn.init.zeros_(head.bias)


def optimizer_of(network: nn.Module, settings: dict[str, Any]) -> torch.optim.Optimizer:
    """AdamW with a group for each layer and decay, each with its `lr_scale`; by timm.

    The head has 1, the last block `layer_decay`, each block before it once more, embeddings the
    smallest. A Swin's downsampling goes with the block that follows it, and its last norm with its
    last block. The rate is set in each step.

    Args:
        network: What `build` made.
        settings: Uses `layer_decay`, `betas` and `weight_decay` (on matrices; tables that timm
            exempts have none).
    """
    made: torch.optim.Optimizer = create_optimizer_v2(
        network, opt="adamw", lr=0.0, weight_decay=settings["weight_decay"],
        layer_decay=settings["layer_decay"], betas=tuple(settings["betas"]), fused=True,
    )  # fmt: skip
    return made
