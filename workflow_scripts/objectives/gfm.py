"""GFM (Mendieta et al., arXiv 2302.04476): SimMIM plus distillation from a frozen teacher.

The teacher sees the whole crop, the student the masked one. Both are read before the last stage's
blocks, after its patch merging (in a four-stage Swin: stages 1 to 3 and stage 3's merging), as the
mean over tokens without a norm. A model of fewer stages is read at the same point of its own last
stage. The loss is L_simmim - alpha * mean cosine(projected student, teacher).

The teacher gets the batch in its own units again. Values that the run's scaling has cut off
(mean_2sigma) it sees cut off, and pixels without a value as the mean, like the student.

The teacher is no submodule: it is in no state dict, no parameter list and no shard, is never
trained, and still moves with the objective.
"""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn import functional

from workflow_scripts.errors import UserError
from workflow_scripts.models.encoders import from_card, widths
from workflow_scripts.models.folder import CARD, WEIGHTS, read_card
from workflow_scripts.models.scaling import by_channel, normalised
from workflow_scripts.objectives.base import Batch
from workflow_scripts.objectives.simmim import Simmim


def late_feature(encoder: Any, x: Tensor) -> tuple[Tensor, Tensor]:
    """Run a Swin's embedded tokens up to its last stage's blocks.

    Args:
        encoder: A timm Swin or SwinV2 with at least two stages.
        x: (B, h, w, D), the output of its patch embedding.

    Returns:
        The tokens that enter the last stage's blocks, and their mean (B, D'), float32.
    """
    *early, last = encoder.layers
    for stage in early:
        x = stage(x)
    x = last.downsample(x)
    return x, x.float().mean(dim=(1, 2))


class Teacher(nn.Module):
    """A finished run's encoder, frozen, with the normalisation it was trained with.

    Args:
        folder: The run's folder, with `model.json` and `weights.safetensors`.
        channels: Bands of the images it is going to see.

    Raises:
        UserError: A file is missing or is not what it should be, another family than Swin, or
            another number of bands.
    """

    encoder: Any
    mean: Tensor
    std: Tensor

    def __init__(self, folder: Path, channels: int) -> None:
        super().__init__()
        card, model = folder / CARD, read_card(folder)
        family, seen, self.size = model["family"], model["channels"], model["image_size"]
        stages = len(model["encoder"]["depths"])
        self.clip = model["normalisation"].get("clip")
        if family not in {"swin", "swinv2"} or stages < 2:
            raise UserError(
                f"{card}: a teacher is a swin or swinv2 of two or more stages, this is a "
                f"{family!r} of {stages}"
            )
        if seen != channels:
            raise UserError(f"{card}: the teacher sees {seen} bands, the corpus has {channels}")
        # Real weights even where the objective is being laid out on "meta".
        with torch.device("cpu"):
            self.encoder = from_card(model)
            for name in ("mean", "std"):
                self.register_buffer(name, by_channel(model["normalisation"][name]))
        self.width: int = self.encoder.num_features
        _load(self.encoder, folder / WEIGHTS)
        self.requires_grad_(False).eval()

    @torch.no_grad()
    def forward(self, images: Tensor) -> Tensor:
        """Feature (B, width) of images in their own units, (B, C, H, W)."""
        if images.shape[-1] != self.size:
            images = functional.interpolate(
                images, size=(self.size, self.size), mode="bilinear", align_corners=True
            )
        images = normalised(images, mean=self.mean, std=self.std, clip=self.clip)
        embedded = self.encoder.patch_embed(images.to(self.encoder.patch_embed.proj.weight.dtype))
        return late_feature(self.encoder, embedded)[1]


def _load(encoder: nn.Module, weights: Path) -> None:
    if not weights.is_file():
        raise UserError(f"{weights}: no such file; the teacher's run has to be exported first")
    try:
        state = load_file(weights, device="cpu")
    except safetensors.SafetensorError as error:
        raise UserError(f"{weights}: not a safetensors file ({error})") from None
    try:
        encoder.load_state_dict(state, strict=True)
    except RuntimeError as error:
        raise UserError(f"{weights}: does not fit its model.json: {error}") from None


class Gfm(Simmim):
    """SimMIM with feature distillation from a frozen teacher.

    Args:
        recipe: As of `Simmim`, and `gfm` (alpha).
        channels: Bands of the input.
        mean: Corpus mean of each band.
        std: Corpus deviation of each band.
        teacher: The teacher's run folder.

    Raises:
        UserError: As of `Simmim` and `Teacher`; or a student of one stage.
    """

    def __init__(
        self,
        recipe: dict[str, Any],
        *,
        channels: int,
        mean: list[float],
        std: list[float],
        teacher: Path,
    ) -> None:
        super().__init__(recipe, channels=channels, mean=mean, std=std)
        if len(recipe["encoder"]["depths"]) < 2:
            raise UserError("objective gfm needs an encoder of two or more stages")
        self.alpha: float = recipe["gfm"]["alpha"]
        # In a tuple, so that nn.Module does not register it.
        self._held = (Teacher(teacher, channels),)
        self.projector = nn.Linear(widths(recipe["encoder"])[-1], self.teacher.width)

    @property
    def teacher(self) -> Teacher:
        """The frozen teacher."""
        return self._held[0]

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        # What .to(), .cuda(), .bfloat16() … go through: the teacher follows.
        super()._apply(fn, recurse)
        for teacher in self._held:
            teacher._apply(fn)
        return self

    def to_empty(self, *, device: Any, recurse: bool = True) -> Self:
        """As in PyTorch, but the teacher keeps its weights and only moves."""
        held, self._held = self._held, ()  # type: ignore[assignment]
        try:
            super().to_empty(device=device, recurse=recurse)
        finally:
            self._held = held
        self.teacher.to(device=device)
        return self

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """`loss`, and its terms `simmim` and `cosine`; see the base class."""
        images, cells = batch["images"], self.mask_cells(batch["noise"])
        x, feature = late_feature(self.encoder, self.embed(images, cells))
        for block in self.encoder.layers[-1].blocks:  # a list in SwinV2, which is not callable
            x = block(x)
        painted = self.paint(x)
        simmim = self.loss(images, painted, cells)
        student = self.projector(feature.to(self.projector.weight.dtype)).float()
        target = self.teacher(images.float() * self.std + self.mean)
        cosine = functional.cosine_similarity(student, target, dim=1).mean()
        return {"loss": simmim - self.alpha * cosine, "simmim": simmim, "cosine": cosine}
