"""The models of `train_step.py`: recipes, ours, and the peer with the same weights."""

from collections.abc import Callable
from typing import Any

import torch
import train_peers as peers
from torch import Tensor, nn

from workflow_scripts.objectives import build_objective
from workflow_scripts.objectives.base import Objective
from workflow_scripts.pretrain import parallel
from workflow_scripts.pretrain.construct import adamw
from workflow_scripts.pretrain.launch import Ranks

OPTIM = {"weight_decay": 0.05, "betas": [0.9, 0.95]}
RATE = 1e-5  # small: the losses of a long measurement stay those of the first step
APART = 1e-5  # of the two losses, in float32
APART_BF16 = 2e-2
ALONE = Ranks(rank=0, world=1, local_rank=0, local_world=1, rendezvous="")

Recipe = dict[str, Any]


def mae(
    width: int, depth: int, heads: int, *, patch: int = 16, size: int = 224,
    decoder: tuple[int, int, int] = (512, 8, 16),
) -> Recipe:  # fmt: skip
    """MAE with three quarters masked and, unless told otherwise, the paper's decoder."""
    return {
        "objective": "mae", "gfm": None,
        "encoder": {"family": "vit", "image_size": size, "patch": patch, "width": width,
                    "depths": [depth], "heads": [heads], "mlp_ratio": 4.0, "window": None},
        "decoder": dict(zip(("width", "depth", "heads"), decoder, strict=True)),
        "mask": {"ratio": 0.75, "patch": None, "norm_pix": True},
    }  # fmt: skip


def simmim(
    width: int, depths: list[int], heads: int, *, size: int, window: int, cell: int = 32
) -> Recipe:
    """SimMIM over a SwinV2 whose heads double from stage to stage."""
    return {
        "objective": "simmim", "gfm": None,
        "encoder": {"family": "swinv2", "image_size": size, "patch": 4, "width": width,
                    "depths": depths, "heads": [heads * 2**i for i in range(len(depths))],
                    "mlp_ratio": 4.0, "window": window},
        "decoder": {"kind": "pixelshuffle"},
        "mask": {"ratio": 0.6, "patch": cell, "norm_pix": False},
    }  # fmt: skip


# name: recipe, bands, images of a step
CPU = {
    "vit_b16": (mae(768, 12, 12), 3, 8),
    "vit_tiny": (mae(192, 12, 3, decoder=(192, 4, 3)), 3, 32),
    "swinv2": (simmim(96, [2, 2, 6, 2], 3, size=256, window=8), 3, 8),
}
GPU = {
    "vit_b16": (mae(768, 12, 12), 3, 512),
    "vit_l16": (mae(1024, 24, 16), 3, 256),
    "vit_h14": (mae(1280, 32, 16, patch=14), 3, 128),
    "vit_1b14": (mae(1536, 32, 16, patch=14), 3, 128),
    "swinv2_100m": (simmim(96, [2, 2, 8, 2], 3, size=128, window=8), 6, 512),
    "swinv2_600m": (simmim(270, [2, 2, 18, 2], 6, size=128, window=8), 6, 128),
}
TINY = {  # for trying out the script
    "vit": (mae(64, 2, 2, size=64, decoder=(32, 1, 2)), 3, 4),
    "swinv2": (simmim(16, [2, 2], 2, size=64, window=4, cell=16), 3, 4),
}


def make_batch(recipe: Recipe, bands: int, images: int, cells: int, device: Any) -> dict:
    """Float32 images and noise, in the device's memory."""
    size, draw = recipe["encoder"]["image_size"], torch.Generator().manual_seed(0)
    return {
        "images": torch.randn(images, bands, size, size, generator=draw).to(device),
        "noise": torch.rand(images, cells, generator=draw).to(device),
    }


def bare(recipe: Recipe, bands: int) -> Objective:
    """Our objective on the meta device."""
    with torch.device("meta"):
        return build_objective(
            recipe, channels=bands, mean=[0.0] * bands, std=[1.0] * bands, classes=[], teacher=None
        )


def make_ours(
    recipe: Recipe, bands: int, device: Any, *, precision: str = "fp32", **layout: Any
) -> Objective:
    """Our objective with its first weights, off their special starts, in training mode.

    SwinV2's blocks start with norms of weight zero: losses would not tell whether two agree.
    """
    model = parallel.laid_out(
        bare(recipe, bands), "no_shard", ranks=ALONE, device=torch.device(device),
        precision=precision, seed=0, **layout,
    )  # fmt: skip
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter += 0.02 * torch.randn(parameter.shape, generator=draw).to(device)
    return parallel.plain(model).train()


def make_peer(objective: Objective, recipe: Recipe, bands: int) -> nn.Module:
    """Hugging Face's model with our weights, on our device, in training mode."""
    if recipe["objective"] == "mae":
        peer, names = peers.vit_mae(recipe, channels=bands), peers.mae_names(objective)
    else:
        peer, names = peers.swinv2(recipe, channels=bands), peers.swinv2_names(objective)
    peer.to(objective.mean.device)
    peers.copy_weights(objective, peer, names)
    return peer.train()


def peer_optimizer(peer: nn.Module) -> torch.optim.AdamW:
    """The same fused AdamW in two groups."""
    trained = [p for p in peer.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": OPTIM["weight_decay"]},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=RATE, betas=tuple(OPTIM["betas"]), fused=True)


def our_optimizer(objective: Objective) -> torch.optim.AdamW:
    """What the trainer uses."""
    optimizer = adamw(objective, OPTIM)
    for group in optimizer.param_groups:
        group["lr"] = RATE
    return optimizer


def our_loss(model: nn.Module, batch: dict[str, Tensor]) -> Callable[[], Tensor]:
    """The loss of a batch, as a function."""
    return lambda: model(batch)["loss"]


def peer_loss(
    peer: nn.Module, objective: Objective, batch: dict[str, Tensor]
) -> Callable[[], Tensor]:
    """The peer's, with the same mask (of SimMIM made beforehand, which is in the peer's favour)."""
    images, noise = batch["images"], batch["noise"]
    if isinstance(objective, peers.Mae):
        return lambda: peer(images, noise=noise).loss
    mask = peers.swinv2_mask(objective, noise)
    return lambda: peer(images, bool_masked_pos=mask).loss


def step_of(
    loss_of: Callable[[], Tensor], optimizer: torch.optim.Optimizer, *, bf16: bool, device: str
) -> Callable[[], Tensor]:
    """One training step as a function: forward, backward, AdamW."""

    def step() -> Tensor:
        with torch.autocast(device, torch.bfloat16, enabled=bf16):
            loss = loss_of()
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return loss.detach()

    return step


def check_alike(name: str, losses: dict[str, float], apart: float = APART) -> None:
    """Refuse to time what does not compute the same."""
    least, most = min(losses.values()), max(losses.values())
    if not most - least <= apart * abs(most):
        raise SystemExit(f"{name}: the losses differ: {losses}")
