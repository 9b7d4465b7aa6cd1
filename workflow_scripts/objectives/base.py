"""What every pretraining objective offers to the trainer and to the export.

An objective is a module that knows nothing of ranks. The trainer hands it a batch with the noise
that decides the mask, so that masks are functions of (seed, epoch, sample) alone.

Mixed precision: run it under `torch.autocast`, with or without parameters in bfloat16, and leave
the batch in float32 (`cast_forward_inputs=False`): bfloat16 noise has ties, and targets and losses
are computed in float32 here. Without autocast, timm's float32 attention masks and tables would
meet bfloat16 parameters.
"""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from workflow_scripts.models.encoders import encoder_blocks
from workflow_scripts.models.start import Start

Batch = dict[str, Tensor]

# Tables and scales that the references exempt from weight decay although they are not vectors.
NO_DECAY = ("pos_embed", "relative_position_bias_table", "cpb_mlp", "logit_scale", "mask_token")


def split_by_noise(noise: Tensor, kept: int) -> tuple[Tensor, Tensor]:
    """Which tokens or cells stay, which go: those of the smallest noise stay, as in MAE's code.

    Args:
        noise: (B, cells) in [0, 1).
        kept: How many stay in each sample.

    Returns:
        Indices (B, kept) and (B, cells - kept), both in the order of their noise.
    """
    order = noise.argsort(dim=1, stable=True)
    return order[:, :kept], order[:, kept:]


class Objective(nn.Module):
    """Base of the objectives.

    Attributes:
        encoder: What is kept after pretraining.
        cells: Noise values that a sample needs; 0 when nothing is masked.
        mean: (C, 1, 1), the corpus mean the batch was normalised with.
        std: (C, 1, 1), the corpus deviation.
        start: Where the encoder's first weights come from; None: from the seed.
    """

    encoder: Any  # a timm model; its class does not declare the parts we call
    cells: int = 0
    mean: Tensor
    std: Tensor
    start: Start | None = None

    def __init__(self, *, mean: list[float], std: list[float]) -> None:
        super().__init__()
        self._statistics = (mean, std)
        for name, values in (("mean", mean), ("std", std)):
            self.register_buffer(name, torch.empty(len(values), 1, 1), persistent=False)
        self.init_non_persistent_buffers()

    def init_non_persistent_buffers(self) -> None:
        """Fill the buffers that no state dict holds; `initialise` calls it after `to_empty`."""
        for buffer, values in zip((self.mean, self.std), self._statistics, strict=True):
            buffer.copy_(torch.tensor(values, device="cpu").view(-1, 1, 1))

    def start_from(self, folder: Path, encoder: dict[str, Any]) -> None:
        """Let the encoder begin with a model folder's weights; `laid_out` puts them in.

        Args:
            folder: The model folder.
            encoder: The recipe's `encoder`.

        Raises:
            UserError: As of `Start`.
        """
        self.start = Start(folder, self.encoder, expected=encoder)

    def forward(self, batch: Batch) -> dict[str, Tensor]:
        """The loss and its terms.

        Args:
            batch: `images` float32 (B, C, H, W), normalised; `noise` float32 (B, cells) in [0, 1);
                `labels` int64 (B,).

        Returns:
            float32 scalars: `loss`, and each named term of it.
        """
        raise NotImplementedError

    def blank_batch(self, count: int, size: int, device: str) -> Batch:
        """What `forward` takes, its values not set: to count what a step does and holds.

        Args:
            count: Images.
            size: Pixels on a side of them.
            device: Where; `meta` for a batch without memory.
        """
        return {
            "images": torch.empty(count, len(self.mean), size, size, device=device),
            "noise": torch.empty(count, self.cells, device=device),
            "labels": torch.empty(count, dtype=torch.int64, device=device),
        }

    def reconstruct(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """What the model paints into the removed places.

        Returns:
            Prediction float32 (B, C, H, W) in normalised units with the visible pixels pasted, and
            mask bool (B, H, W), true where pixels were removed.
        """
        raise NotImplementedError

    def wrap_blocks(self) -> list[nn.Module]:
        """The modules to shard one by one, innermost first; all else belongs to the root."""
        return encoder_blocks(self.encoder)

    def decay_names(self) -> set[str]:
        """Names of the parameters with weight decay: matrices, but no table and no scale."""
        return {
            name
            for name, parameter in self.named_parameters()
            if parameter.ndim > 1 and not any(word in name for word in NO_DECAY)
        }

    def export_encoder_state(self, state: dict[str, Tensor]) -> dict[str, Tensor]:
        """The encoder's part of a full state dict of this objective, under timm's names.

        Returns:
            What loads strictly into `build_encoder` of the same recipe.
        """
        start = "encoder."
        return {name[len(start) :]: v for name, v in state.items() if name.startswith(start)}
