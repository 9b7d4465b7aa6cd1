"""Models of the configuration: fine-tuning a whole encoder on a benchmark."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from workflow_scripts.config_base import Model, Positive
from workflow_scripts.config_runs import Augment, Betas, RisingShares

UpToOne = Annotated[float, Field(gt=0, le=1)]
BelowOne = Annotated[float, Field(ge=0, lt=1)]


class FinetuneAugment(Augment):
    """How training samples are seen, with the larger crops of DeiT, MAE and SimMIM."""

    scale: RisingShares = Field((0.08, 1.0), description="area of the crop over the image's")


class FinetuneSettings(Model):
    """End-to-end training as MAE does it (arXiv 2111.06377, table 9), for smaller batches.

    Where MAE's paper and code differ (base_lr 1e-3 and layer decay 0.75 for all sizes, or by size),
    the rate is that of its code for ViT-B. GFM's values stand in docs/probing.md beside MAE's.
    """

    epochs: Positive = Field(100, description="passes over the training split (MAE: 50 for ViT-L)")
    warmup_epochs: float = Field(5.0, ge=0, description="epochs of linear warm-up (GFM: 20)")
    batch: Positive = Field(
        128, description="samples a step (MAE: 1024, most benchmarks are too small for it)"
    )
    base_lr: float = Field(
        5e-4, gt=0, description="learning rate of the head for `lr_reference_batch` (GFM: 1e-4)"
    )
    lr_reference_batch: Positive = Field(
        256, description="the rate used is base_lr × batch / lr_reference_batch (GFM: 512)"
    )
    min_lr: float = Field(1e-6, ge=0, description="learning rate of the head at the end")
    layer_decay: UpToOne = Field(
        0.75,
        description="what the rate is multiplied by from each layer to the one before it, from the "
        "head down (MAE's code: 0.65 for ViT-B, 0.75 for ViT-L; GFM and SimMIM: 0.9)",
    )
    weight_decay: float = Field(0.05, ge=0, description="on matrices only")
    betas: Betas = Field((0.9, 0.999), description="AdamW's moments")
    clip: float | None = Field(
        None, gt=0, description="largest gradient norm; null: no clipping (GFM: 5)"
    )
    drop_path: BelowOne = Field(
        0.1, description="share of samples that skip the last block, less for each before it"
    )
    label_smoothing: BelowOne = Field(
        0.1, description="share of each target that is spread over the classes"
    )
    mixup: float = Field(0.8, ge=0, description="α of Mixup (arXiv 1710.09412); 0: none")
    cutmix: float = Field(
        1.0, ge=0, description="α of CutMix (arXiv 1905.04899); 0: none; with mixup in turn"
    )
    pooling: Literal["mean", "class"] = Field(
        "mean",
        description="what the head sees: the mean of the patches after a new norm, as MAE, or the "
        "class token after the encoder's norm (a Swin: always the mean after its norm)",
    )
    augment: FinetuneAugment = Field(FinetuneAugment(), description="crop and flips")
    floor: bool = Field(
        True, description="train from random weights too, beside the encoder: twice the time"
    )

    @model_validator(mode="after")
    def _can_be_done(self) -> "FinetuneSettings":
        if (self.mixup or self.cutmix) and self.batch % 2:
            raise ValueError(
                f"batch is {self.batch}; mixup and cutmix pair the samples of a batch: use an even "
                "number, or set both to 0"
            )
        if self.warmup_epochs >= self.epochs:
            raise ValueError(
                f"warmup_epochs is {self.warmup_epochs:g} and epochs {self.epochs}: the learning "
                "rate would rise until the end; lower warmup_epochs"
            )
        return self
